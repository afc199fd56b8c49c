"""Evaluates expressions: one evaluator for one request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from continuon_local.rules import nodes
from continuon_local.rules.access import PathText, resource_value
from continuon_local.rules.conversions import to_string
from continuon_local.rules.errors import EvaluationError
from continuon_local.rules.functions import FUNCTION_ARITIES, NAMESPACES, call_function
from continuon_local.rules.limits import MAX_EVALUATION_DEPTH, MAX_EXPRESSIONS
from continuon_local.rules.methods import call_method
from continuon_local.rules.operators import binary, index, is_type, member, slice_of, unary
from continuon_local.rules.printer import expression_text
from continuon_local.rules.scopes import Deferred
from continuon_local.rules.symbolic import (
    UNKNOWN,
    SymbolicMap,
    Unknown,
    proves,
    proves_call,
)
from continuon_local.rules.trace import TraceEntry, describe
from continuon_local.rules.values import BoundSegment, Path, Value, type_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from continuon_local.rules.access import AccessBudget, DocumentReader
    from continuon_local.rules.nodes import Expression
    from continuon_local.rules.scopes import Scope

__all__ = ["Evaluator"]

_FREE = nodes.Literal | nodes.Variable
_ACCESS = frozenset(("exists", "get", "existsAfter", "getAfter"))


def _symbolic(*values: Value) -> bool:
    return any(isinstance(value, Unknown | SymbolicMap) for value in values)


class Evaluator:
    """Evaluates the conditions of one request within its limits.

    Args:
        service: ``cloud.firestore`` or ``firebase.storage``.
        path: The segments of the request's path.
        reader: Reads other documents.
        budget: How many it may read.
    """

    def __init__(
        self, service: str, path: tuple[Any, ...], reader: DocumentReader, budget: AccessBudget
    ) -> None:
        self.trace: list[TraceEntry] = []
        self._service = service
        self._path = path
        self._reader = reader
        self._budget = budget
        self._expressions = 0
        self._depth = 0
        self._handlers: dict[type, Callable[[Any, Scope], Value]] = {
            nodes.Literal: lambda node, _: node.value,
            nodes.Variable: lambda node, scope: scope.read(node.name),
            nodes.ListLiteral: self._list,
            nodes.MapLiteral: self._map,
            nodes.PathLiteral: self._path_literal,
            nodes.Unary: self._unary,
            nodes.Binary: self._binary,
            nodes.Logical: self._logical,
            nodes.TypeTest: self._type_test,
            nodes.Conditional: self._conditional,
            nodes.Member: self._member,
            nodes.Index: self._index,
            nodes.Slice: self._slice,
            nodes.Call: self._call,
        }

    def grants(self, condition: Expression, scope: Scope) -> bool:
        """Evaluate the condition of an ``allow``: true only when it is definitely true."""
        try:
            return self._traced(condition, scope) is True
        except EvaluationError:
            return False
        except RecursionError:
            self._record(condition, error="Expressions nest too deep.")
            return False

    def _traced(self, node: Expression, scope: Scope) -> Value:
        """Evaluate a condition or an operand of one, and keep what came out."""
        try:
            value = self._evaluate(node, scope)
        except EvaluationError as error:
            self._record(node, error=str(error))
            raise
        self._record(node, value=value)
        return value

    def _record(self, node: Expression, *, value: Value = None, error: str | None = None) -> None:
        outcome = describe(value) if error is None else error
        at = node.at
        self.trace.append(
            TraceEntry(at.line, at.column, expression_text(node), outcome, error is not None)
        )

    def _evaluate(self, node: Expression, scope: Scope) -> Value:
        if not isinstance(node, _FREE):
            self._expressions += 1
            if self._expressions > MAX_EXPRESSIONS:
                raise EvaluationError(f"More than {MAX_EXPRESSIONS} expressions evaluated.")
        if self._depth >= MAX_EVALUATION_DEPTH:
            raise EvaluationError("Expressions nest too deep.")
        self._depth += 1
        try:
            return self._handlers[type(node)](node, scope)
        finally:
            self._depth -= 1

    def _list(self, node: nodes.ListLiteral, scope: Scope) -> Value:
        items = [self._evaluate(item, scope) for item in node.items]
        return UNKNOWN if _symbolic(*items) else items

    def _map(self, node: nodes.MapLiteral, scope: Scope) -> Value:
        fields: dict[str, Value] = {}
        for key_node, item_node in node.pairs:
            key, item = self._evaluate(key_node, scope), self._evaluate(item_node, scope)
            if _symbolic(key, item):
                return UNKNOWN
            if not isinstance(key, str):
                raise EvaluationError(
                    f"Type error. Received: [{type_name(key)}] Expected: [string]."
                )
            fields[key] = item
        return fields

    def _path_literal(self, node: nodes.PathLiteral, scope: Scope) -> Value:
        segments: list[str | BoundSegment] = []
        for part in node.segments:
            if isinstance(part, str):
                segments.append(part)
            elif isinstance(part, nodes.Capture):
                segments.append(BoundSegment(part.name))
            else:
                value = self._evaluate(part.value, scope)
                if _symbolic(value):
                    return UNKNOWN
                segments += value.segments if isinstance(value, Path) else (to_string(value),)
        return Path(tuple(segments))

    def _unary(self, node: nodes.Unary, scope: Scope) -> Value:
        value = self._evaluate(node.operand, scope)
        return UNKNOWN if _symbolic(value) else unary(node.operator, value)

    def _binary(self, node: nodes.Binary, scope: Scope) -> Value:
        left, right = self._evaluate(node.left, scope), self._evaluate(node.right, scope)
        if _symbolic(left, right):
            return True if proves(node.operator, left, right) else UNKNOWN
        return binary(node.operator, left, right)

    def _logical(self, node: nodes.Logical, scope: Scope) -> Value:
        """Decide as soon as one operand decides; an error only when none does."""
        deciding = node.operator == "||"
        failure: EvaluationError | None = None
        unknown = False
        for operand in node.operands:
            try:
                value = self._traced(operand, scope)
                if value is deciding:
                    return deciding
                unknown = unknown or self._is_unknown(value)
            except EvaluationError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return UNKNOWN if unknown else not deciding

    def _is_unknown(self, value: Value) -> bool:
        """Tell whether an operand of logic is unknown.

        Raises:
            EvaluationError: It is known, and no boolean.
        """
        if _symbolic(value):
            return True
        if not isinstance(value, bool):
            raise EvaluationError(f"Type error. Received: [{type_name(value)}] Expected: [bool].")
        return False

    def _conditional(self, node: nodes.Conditional, scope: Scope) -> Value:
        condition = self._evaluate(node.condition, scope)
        if self._is_unknown(condition):
            return UNKNOWN
        return self._evaluate(node.when_true if condition else node.when_false, scope)

    def _type_test(self, node: nodes.TypeTest, scope: Scope) -> Value:
        value = self._evaluate(node.operand, scope)
        if isinstance(value, Unknown | SymbolicMap):
            is_map = isinstance(value, SymbolicMap) and node.type_name == "map"
            return True if is_map else UNKNOWN
        return is_type(value, node.type_name)

    def _member(self, node: nodes.Member, scope: Scope) -> Value:
        return self._property(self._evaluate(node.target, scope), node.name)

    def _property(self, target: Value, name: str) -> Value:
        if isinstance(target, SymbolicMap):
            return target.read(name)
        return UNKNOWN if isinstance(target, Unknown) else member(target, name)

    def _index(self, node: nodes.Index, scope: Scope) -> Value:
        target, key = self._evaluate(node.target, scope), self._evaluate(node.key, scope)
        if isinstance(target, SymbolicMap) and isinstance(key, str):
            return target.read(key)
        return UNKNOWN if _symbolic(target, key) else index(target, key)

    def _slice(self, node: nodes.Slice, scope: Scope) -> Value:
        target = self._evaluate(node.target, scope)
        ends = [one and self._evaluate(one, scope) for one in (node.start, node.end)]
        return UNKNOWN if _symbolic(target, *ends) else slice_of(target, *ends)

    def _call(self, node: nodes.Call, scope: Scope) -> Value:
        target = node.target
        if target is None:
            return self._plain_call(node, scope)
        if isinstance(target, nodes.Variable) and not scope.has(target.name):
            name = f"{target.name}.{node.name}"
            if name in {"firestore.get", "firestore.exists"}:
                return self._firestore_call(node, scope)
            if target.name in NAMESPACES:
                return self._builtin(name, node, scope)
        value = self._evaluate(target, scope)
        arguments = self._arguments(node, scope)
        if _symbolic(value, *arguments):
            return proves_call(value, node.name, arguments)
        return call_method(value, node.name, arguments)

    def _arguments(self, node: nodes.Call, scope: Scope) -> list[Value]:
        return [self._evaluate(argument, scope) for argument in node.arguments]

    def _plain_call(self, node: nodes.Call, scope: Scope) -> Value:
        found = scope.function(node.name)
        if found is not None:
            return self._user_call(node, scope, *found)
        if node.name in _ACCESS and self._service == "cloud.firestore":
            return self._access(node.name, node, scope)
        if node.name == "debug" and node.arguments:
            return self._arguments(node, scope)[0]
        if node.name in FUNCTION_ARITIES:
            return self._builtin(node.name, node, scope)
        raise EvaluationError(f"Function not found error: Name: [{node.name}].")

    def _builtin(self, name: str, node: nodes.Call, scope: Scope) -> Value:
        arguments = self._arguments(node, scope)
        return UNKNOWN if _symbolic(*arguments) else call_function(name, arguments)

    def _user_call(
        self, node: nodes.Call, scope: Scope, function: nodes.Function, home: Scope
    ) -> Value:
        if len(node.arguments) != len(function.parameters):
            raise EvaluationError(
                f"Incorrect number of arguments. Received: {len(node.arguments)}. "
                f"Expected: {len(function.parameters)} for {function.name}."
            )
        inner = home.inner(
            {
                name: self._deferred(argument, scope)
                for name, argument in zip(function.parameters, node.arguments, strict=True)
            }
        )
        for let in function.lets:
            # Each binding sees those before it only.
            inner = inner.inner({let.name: self._deferred(let.value, inner)})
        return self._evaluate(function.result, inner)

    def _deferred(self, node: Expression, scope: Scope) -> Deferred:
        return Deferred(lambda: self._evaluate(node, scope))

    def _firestore_call(self, node: nodes.Call, scope: Scope) -> Value:
        """Call ``firestore.get`` or ``firestore.exists``, which only storage rules have."""
        if self._service != "firebase.storage":
            raise EvaluationError(f"Function not found error: Name: [firestore.{node.name}].")
        return self._access(node.name, node, scope)

    def _access(self, name: str, node: nodes.Call, scope: Scope) -> Value:
        arguments = self._arguments(node, scope)
        if len(arguments) != 1:
            raise EvaluationError(f"Incorrect number of arguments. Expected: 1 for {name}.")
        if _symbolic(*arguments):
            return UNKNOWN
        asked = PathText.of(arguments[0], name)
        self._check_database(asked, name)
        own = self._path == ("databases", asked.database, "documents", *asked.segments)
        after = name.endswith("After")
        fields = self._budget.read(self._reader, asked.segments, after=after, own=own)
        if name.startswith("exists"):
            return fields is not None
        if fields is None and not own:
            raise EvaluationError(
                f"Service call error. Function: [{name}], Argument: [{arguments[0].text()}]."
            )
        return None if fields is None else resource_value(asked.database, asked.segments, fields)

    def _check_database(self, asked: PathText, name: str) -> None:
        own = self._path[1] if self._service == "cloud.firestore" else "(default)"
        if asked.database != own:
            raise EvaluationError(f"Service call error. Function: [{name}]: another database.")
