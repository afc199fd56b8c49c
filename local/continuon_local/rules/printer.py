"""The source text of a syntax tree, in one normal form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.rules import nodes
from continuon_local.rules.literals import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from continuon_local.rules.nodes import Expression

__all__ = ["expression_text", "rules_text"]

_INDENT = "  "
_NUMERIC = "-.0123456789"
_PRINTABLE_ASCII = range(0x20, 0x7F)


def _literal(value: nodes.ScalarLiteral) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bytes):
        return "b'" + "".join(map(_byte, value)) + "'"
    if isinstance(value, float):
        return _plain_float(value)
    return str(value)


def _plain_float(value: float) -> str:
    """Write a float without exponent, which the language does not have."""
    text = repr(value)
    if "e" in text:
        text = f"{value:.340f}".rstrip("0")
    return text if "inf" not in text else "9" * 400 + "."


def _byte(byte: int) -> str:
    if byte in _PRINTABLE_ASCII and chr(byte) not in "'\\":
        return chr(byte)
    return f"\\x{byte:02x}"


def _segments(segments: Iterable[str | nodes.Capture | nodes.Splice]) -> str:
    return "".join(map(_segment, segments))


def _segment(segment: str | nodes.Capture | nodes.Splice) -> str:
    if isinstance(segment, nodes.Capture):
        return f"/{{{segment.name}=**}}" if segment.many else f"/{{{segment.name}}}"
    if isinstance(segment, nodes.Splice):
        return f"/$({expression_text(segment.value)})"
    return f"/{segment}"


def _joined(expressions: Iterable[Expression]) -> str:
    return ", ".join(map(expression_text, expressions))


def _operand(node: Expression) -> str:
    """Write an operand, in parentheses unless it is as tight as a name."""
    compound = nodes.Unary | nodes.Binary | nodes.Logical | nodes.TypeTest | nodes.Conditional
    text = expression_text(node)
    return f"({text})" if isinstance(node, compound | nodes.PathLiteral) else text


def _target(node: Expression) -> str:
    """Write what a member or an index is taken of: a number would swallow the dot."""
    text = _operand(node)
    return f"({text})" if text[0] in _NUMERIC else text


def expression_text(node: Expression) -> str:  # noqa: C901, PLR0911, PLR0912 - one case per node
    """Return the source of an expression."""
    match node:
        case nodes.Literal(_, value):
            return _literal(value)
        case nodes.Variable(_, name):
            return name
        case nodes.ListLiteral(_, items):
            return f"[{_joined(items)}]"
        case nodes.MapLiteral(_, pairs):
            return (
                "{" + ", ".join(f"{_operand(key)}: {_operand(item)}" for key, item in pairs) + "}"
            )
        case nodes.PathLiteral(_, segments):
            return _segments(segments)
        case nodes.Unary(_, operator, operand):
            return operator + _operand(operand)
        case nodes.Binary(_, operator, left, right):
            return f"{_operand(left)} {operator} {_operand(right)}"
        case nodes.Logical(_, operator, operands):
            return f" {operator} ".join(map(_operand, operands))
        case nodes.TypeTest(_, operand, type_name):
            return f"{_operand(operand)} is {type_name}"
        case nodes.Conditional(_, condition, one, two):
            return f"{_operand(condition)} ? {_operand(one)} : {_operand(two)}"
        case nodes.Member(_, target, name):
            return f"{_target(target)}.{name}"
        case nodes.Index(_, target, key):
            return f"{_target(target)}[{expression_text(key)}]"
        case nodes.Slice(_, target, start, end):
            ends = (_operand(one) if one else "" for one in (start, end))
            return f"{_target(target)}[{':'.join(ends)}]"
        case nodes.Call(_, target, name, arguments):
            prefix = f"{_target(target)}." if target else ""
            return f"{prefix}{name}({_joined(arguments)})"


def _function(function: nodes.Function, indent: str) -> str:
    lets = "".join(
        f"{indent}{_INDENT}let {let.name} = {expression_text(let.value)};\n"
        for let in function.lets
    )
    return (
        f"{indent}function {function.name}({', '.join(function.parameters)}) {{\n{lets}"
        f"{indent}{_INDENT}return {expression_text(function.result)};\n{indent}}}\n"
    )


def _allow(allow: nodes.Allow, indent: str) -> str:
    condition = f": if {expression_text(allow.condition)}" if allow.condition else ""
    return f"{indent}allow {', '.join(allow.methods)}{condition};\n"


def _match(match: nodes.Match, indent: str) -> str:
    inner = indent + _INDENT
    parts = (
        *(_function(function, inner) for function in match.functions),
        *(_allow(allow, inner) for allow in match.allows),
        *(_match(nested, inner) for nested in match.matches),
    )
    return f"{indent}match {_segments(match.segments)} {{\n{''.join(parts)}{indent}}}\n"


def _service(service: nodes.ServiceBlock) -> str:
    parts = (
        *(_function(function, _INDENT) for function in service.functions),
        *(_match(match, _INDENT) for match in service.matches),
    )
    return f"service {service.name} {{\n{''.join(parts)}}}\n"


def rules_text(rules: nodes.RulesFile) -> str:
    """Return the source of a whole ruleset; parsing it gives the same tree but for positions."""
    functions = "".join(_function(function, "") for function in rules.functions)
    services = "".join(map(_service, rules.services))
    return f"rules_version = '{rules.version}';\n{functions}{services}"
