"""What a ruleset that parses may still have wrong.

As at Google's, some findings refuse the ruleset (a function defined twice, recursion, a limit) and
some are warnings (an unknown function or variable, a wrong number of arguments): such an expression
has no value and never grants.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from continuon_local.rules import nodes
from continuon_local.rules.builder import is_too_large
from continuon_local.rules.errors import EvaluationError, RulesError
from continuon_local.rules.functions import FUNCTION_ARITIES, NAMESPACES
from continuon_local.rules.limits import (
    MAX_CALL_DEPTH,
    MAX_LETS,
    MAX_MATCH_NESTING,
    MAX_PARAMETERS,
)
from continuon_local.rules.methods import METHOD_ARITIES
from continuon_local.rules.operators import TYPE_NAMES
from continuon_local.rules.scopes import Scope
from continuon_local.rules.text import compile_pattern
from continuon_local.rules.walk import walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from continuon_local.rules.nodes import Expression, Function, Match, Position, RulesFile

__all__ = ["METHODS", "SERVICES", "Issue", "check_rules"]

SERVICES = frozenset(("cloud.firestore", "firebase.storage"))
"""The services that have rules."""

METHODS = frozenset(("read", "get", "list", "write", "create", "update", "delete"))
"""What may stand after ``allow``."""

_ACCESS_CALLS = frozenset(("exists", "get", "existsAfter", "getAfter"))
_PATTERN_METHODS = frozenset(("matches", "split"))


@dataclass(frozen=True, slots=True)
class Issue:
    """A warning about a ruleset that loads nevertheless."""

    at: Position
    message: str


def check_rules(rules: RulesFile) -> tuple[Issue, ...]:
    """Return the warnings about a ruleset.

    Raises:
        RulesError: The first finding that refuses it.
    """
    checker = _Checker(rules.version)
    checker.check_file(rules)
    return tuple(checker.issues)


@dataclass(slots=True)
class _Checker:
    version: int
    issues: list[Issue] = field(default_factory=list)
    depths: dict[int, int] = field(default_factory=dict)

    def check_file(self, rules: RulesFile) -> None:
        known = dict.fromkeys(("request", "resource"))
        root = Scope(None, known).inner({}, rules.functions)
        self.check_functions(rules.functions, root)
        names: set[str] = set()
        for service in rules.services:
            if service.name in names:
                _refuse("Duplicate service name declaration.", service.at)
            names.add(service.name)
            if service.name not in SERVICES:
                self.warn(f"Invalid service name: {service.name}.", service.at)
            scope = root.inner({}, service.functions)
            self.check_functions(service.functions, scope)
            for match in service.matches:
                self.check_match(match, scope, ())

    def warn(self, message: str, at: Position) -> None:
        self.issues.append(Issue(at, message))

    def check_match(
        self, match: Match, outer: Scope, around: tuple[tuple[str | nodes.Capture, ...], ...]
    ) -> None:
        if len(around) >= MAX_MATCH_NESTING:
            _refuse(
                f"Maximum allowed resource rule depth of {MAX_MATCH_NESTING} is reached.", match.at
            )
        declared = (*around, match.segments)
        self.check_pattern(match, declared)
        captures = [one.name for one in match.segments if isinstance(one, nodes.Capture)]
        scope = outer.inner(dict.fromkeys(captures), match.functions)
        self.check_functions(match.functions, scope)
        for allow in match.allows:
            self.check_allow(allow, scope)
        for inner in match.matches:
            self.check_match(inner, scope, declared)

    def check_pattern(
        self, match: Match, declared: tuple[tuple[str | nodes.Capture, ...], ...]
    ) -> None:
        captures = [one for one in match.segments if isinstance(one, nodes.Capture)]
        if repeated := _repeated([capture.name for capture in captures]):
            _refuse(f"Variable {repeated} already exists in the PathTemplate.", match.at)
        every = [one for pattern in declared for one in pattern]
        globs = [one for one in every if isinstance(one, nodes.Capture) and one.many]
        if len(globs) > 1:
            _refuse("Invalid glob match expression. Only one glob match is permitted.", match.at)
        if self.version == 1 and any(one.many for one in captures) and every[-1] not in globs:
            _refuse("Invalid glob match expression. A glob is the last segment.", match.at)

    def check_allow(self, allow: nodes.Allow, scope: Scope) -> None:
        for method in allow.methods:
            if method not in METHODS:
                self.warn(f"Invalid method name: {method}.", allow.at)
        if allow.condition is not None:
            self.check_expression(allow.condition, scope)

    def check_functions(self, functions: Sequence[Function], scope: Scope) -> None:
        if repeated := _repeated([function.name for function in functions]):
            last = [function for function in functions if function.name == repeated][-1]
            _refuse(f"Function {repeated} is already defined.", last.at)
        for function in functions:
            self.check_function(function, scope)
            self.call_depth(function, scope, ())

    def check_function(self, function: Function, scope: Scope) -> None:
        if len(function.parameters) > MAX_PARAMETERS:
            _refuse(f"Maximum allowed function arguments of {MAX_PARAMETERS}.", function.at)
        if len(function.lets) > MAX_LETS:
            _refuse(f"Maximum allowed let bindings of {MAX_LETS}.", function.at)
        if function.lets and self.version == 1:
            _refuse("Let bindings are not allowed in rules_version = '1'.", function.lets[0].at)
        if repeated := _repeated(function.parameters):
            _refuse(f"Variable {repeated} is already defined.", function.at)
        bound = dict.fromkeys(function.parameters)
        for let in function.lets:
            if let.name in bound:
                _refuse(
                    f"The identifier [{let.name}] is already bound in the current scope.", let.at
                )
            self.check_expression(let.value, scope.inner(dict(bound)))
            bound[let.name] = None
        self.check_expression(function.result, scope.inner(bound))

    def call_depth(self, function: Function, scope: Scope, callers: tuple[Function, ...]) -> int:
        """Return how deep calls go from here; refuse cycles and too long chains."""
        if any(function is caller for caller in callers):
            names = ",".join(caller.name for caller in callers)
            _refuse(f"Detected a call cycle between [{names}] functions.", function.at)
        if len(callers) > MAX_CALL_DEPTH:
            _refuse(f"Maximum allowed call depth of {MAX_CALL_DEPTH} is reached.", function.at)
        if id(function) not in self.depths:
            chain = (*callers, function)
            called = _called_functions(function, scope)
            below = [1 + self.call_depth(inner, home, chain) for inner, home in called]
            self.depths[id(function)] = max(below, default=0)
        if self.depths[id(function)] > MAX_CALL_DEPTH:
            _refuse(f"Maximum allowed call depth of {MAX_CALL_DEPTH} is reached.", function.at)
        return self.depths[id(function)]

    def check_expression(self, expression: Expression, scope: Scope) -> None:
        # A namespace before a dot is no variable.
        namespaces: set[int] = set()
        for node in walk(expression):
            if isinstance(node, nodes.Call):
                self.check_call(node, scope, namespaces)
            elif isinstance(node, nodes.Variable):
                if id(node) not in namespaces and not scope.has(node.name):
                    self.warn(f"Invalid variable name: {node.name}.", node.at)
            elif isinstance(node, nodes.Literal) and is_too_large(node):
                _refuse(f"Invalid number literal {node.value!r}.", node.at)
            elif isinstance(node, nodes.TypeTest) and node.type_name not in TYPE_NAMES:
                _refuse(
                    "An unsupported type identifier was used with the 'is' operator. "
                    f"Received {node.type_name}.",
                    node.at,
                )

    def check_call(self, call: nodes.Call, scope: Scope, namespaces: set[int]) -> None:
        given = len(call.arguments)
        target = call.target
        if target is None:
            self.check_arity(call, self.plain_arity(call, scope), given)
        elif isinstance(target, nodes.Variable) and _is_namespace(target, scope):
            namespaces.add(id(target))
            name = f"{target.name}.{call.name}"
            firestore = {"firestore.get": 1, "firestore.exists": 1}
            arity = {**FUNCTION_ARITIES, **firestore}.get(name)
            self.check_arity(call, None if arity is None else {arity}, given)
        else:
            self.check_arity(call, METHOD_ARITIES.get(call.name), given)
            _check_patterns(call)

    def plain_arity(self, call: nodes.Call, scope: Scope) -> set[int] | None:
        found = scope.function(call.name)
        if found is not None:
            return {len(found[0].parameters)}
        if call.name in _ACCESS_CALLS:
            return {1}
        if call.name == "debug":
            return {1, len(call.arguments) or 1}
        return {FUNCTION_ARITIES[call.name]} if call.name in FUNCTION_ARITIES else None

    def check_arity(self, call: nodes.Call, accepted: set[int] | None, given: int) -> None:
        if accepted is None:
            self.warn(f"Invalid function name: {call.name}.", call.at)
        elif given not in accepted:
            self.warn(f"Incorrect number of arguments supplied to function: {call.name}.", call.at)


def _refuse(message: str, at: Position) -> NoReturn:
    raise RulesError(message, line=at.line, column=at.column)


def _repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _is_namespace(variable: nodes.Variable, scope: Scope) -> bool:
    return variable.name in NAMESPACES | {"firestore"} and not scope.has(variable.name)


def _check_patterns(call: nodes.Call) -> None:
    """A regular expression that is written out is checked at once."""
    if call.name not in _PATTERN_METHODS or len(call.arguments) != 1:
        return
    pattern = call.arguments[0]
    if isinstance(pattern, nodes.Literal) and isinstance(pattern.value, str):
        try:
            compile_pattern(pattern.value)
        except EvaluationError as error:
            _refuse(str(error), pattern.at)


def _called_functions(function: Function, scope: Scope) -> list[tuple[Function, Scope]]:
    expressions = [*(let.value for let in function.lets), function.result]
    calls = (
        node.name
        for expression in expressions
        for node in walk(expression)
        if isinstance(node, nodes.Call) and node.target is None
    )
    found = (scope.function(name) for name in dict.fromkeys(calls))
    return [one for one in found if one is not None]
