"""The grammar of security rules.

Precedence, from loose to tight, as Google's compiler parses: ``?:``, ``||``, ``&&``, ``in`` and
``is``, ``== !=``, ``< <= > >=``, ``+ -``, ``* / %``, ``! -``, then member, index and call. (The
reference page lists ``in`` and ``is`` above equality; the compiler does not: ``1 in [1] == true``
reads ``1 in ([1] == true)``. After ``is`` and its type an equality
may follow: ``a is int == true`` reads ``(a is int) == true``.)

A slash that is directly followed by a name begins a path segment, also where a division was
meant: ``1 / 2`` divides, ``1/2`` does not parse. So it is at Google's.
"""

from __future__ import annotations

__all__ = ["GRAMMAR"]

GRAMMAR = r"""
    start: version? (function | service)+
    version: _RULES_VERSION "=" STRING ";"?
    service: _SERVICE NAME ("." NAME)* "{" (function | match)+ "}"
    match: _MATCH (SEGMENT | CAPTURE)+ "{" (function | match | allow)+ "}"
    allow: _ALLOW NAME ("," NAME)* condition? ";"?
    condition: ":" _IF expression
    function: _FUNCTION NAME "(" parameters ")" "{" let* _RETURN expression ";"? "}"
    parameters: (NAME ("," NAME)*)?
    let: _LET NAME "=" expression ";"

    ?expression: any_of
        | any_of "?" expression ":" expression -> conditional
    ?any_of: all_of
        | all_of ("||" all_of)+ -> logical_or
    ?all_of: membership
        | membership ("&&" membership)+ -> logical_and
    ?membership: equality
        | membership _IN equality -> contained
        | tested
        | tested (EQUALITY comparison)+ -> chain
    ?tested: membership _IS NAME -> type_test
    ?equality: comparison
        | comparison (EQUALITY comparison)+ -> chain
    ?comparison: sum
        | sum (COMPARISON sum)+ -> chain
    ?sum: product
        | product ((PLUS | MINUS) product)+ -> chain
    ?product: unary
        | unary ((TIMES | DIVIDE | MODULO) unary)+ -> chain
    ?unary: postfix
        | (NOT | MINUS) unary -> prefixed
    ?postfix: primary
        | postfix "." NAME -> member
        | postfix "." NAME "(" arguments ")" -> method_call
        | postfix "[" expression "]" -> index
        | postfix "[" lower? ":" upper? "]" -> slice
    lower: expression
    upper: expression
    ?primary: "(" expression ")"
        | NAME "(" arguments ")" -> call
        | NAME -> variable
        | _TRUE -> true
        | _FALSE -> false
        | _NULL -> null
        | INTEGER -> integer
        | FLOAT -> float_literal
        | STRING -> string
        | BYTES -> bytes_literal
        | "[" arguments "]" -> list_literal
        | "{" pairs "}" -> map_literal
        | path
    path: (SEGMENT | CAPTURE | spliced)+
    spliced: SPLICE expression ")"
    arguments: (expression ("," expression)* ","?)?
    pairs: (pair ("," pair)* ","?)?
    pair: expression ":" expression

    _RULES_VERSION.2: /rules_version(?![A-Za-z0-9_])/
    _SERVICE.2: /service(?![A-Za-z0-9_])/
    _MATCH.2: /match(?![A-Za-z0-9_])/
    _ALLOW.2: /allow(?![A-Za-z0-9_])/
    _FUNCTION.2: /function(?![A-Za-z0-9_])/
    _RETURN.2: /return(?![A-Za-z0-9_])/
    _LET.2: /let(?![A-Za-z0-9_])/
    _IF.2: /if(?![A-Za-z0-9_])/
    _IN.2: /in(?![A-Za-z0-9_])/
    _IS.2: /is(?![A-Za-z0-9_])/
    _TRUE.2: /true(?![A-Za-z0-9_])/
    _FALSE.2: /false(?![A-Za-z0-9_])/
    _NULL.2: /null(?![A-Za-z0-9_])/
    NAME: /[A-Za-z_][A-Za-z0-9_]*/
    SEGMENT: /\/(\([A-Za-z0-9_-]+\)|[A-Za-z0-9_.~@-]+)/
    CAPTURE: /\/\{[ \t]*[A-Za-z_][A-Za-z0-9_]*[ \t]*(=[ \t]*\*\*?[ \t]*)?\}/
    SPLICE: /\/\$\(/
    INTEGER: /0(?![0-9])|[1-9][0-9]*/
    FLOAT.2: /[0-9]+\.[0-9]*|\.[0-9]+/
    STRING: /'([^'\\\n]|\\.)*'|"([^"\\\n]|\\.)*"/
    BYTES.2: /b'([^'\\\n]|\\.)*'|b"([^"\\\n]|\\.)*"/
    EQUALITY: "==" | "!="
    COMPARISON: "<=" | ">=" | "<" | ">"
    PLUS: "+"
    MINUS: "-"
    TIMES: "*"
    DIVIDE: /\/(?![A-Za-z0-9_.~@($\/*-])/
    MODULO: "%"
    NOT: "!"
    COMMENT: /\/\/[^\n]*|\/\*[\s\S]*?\*\//
    %ignore COMMENT
    %ignore /[ \t\r\n\f]+/
"""
