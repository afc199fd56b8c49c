"""The operators on known values. Wrong types, overflow and bad indexes raise EvaluationError."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from continuon_local.rules.errors import EvaluationError
from continuon_local.rules.text import cut, order_key, units
from continuon_local.rules.values import (
    BoundSegment,
    Duration,
    Path,
    RulesSet,
    Timestamp,
    Value,
    check_size,
    equal,
    loose_key,
    strict_key,
    type_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TYPE_NAMES", "as_int64", "binary", "index", "is_type", "member", "slice_of", "unary"]

_INT64 = 1 << 63

TYPE_NAMES = frozenset(
    (
        "bool",
        "bytes",
        "constraint",
        "duration",
        "float",
        "int",
        "latlng",
        "list",
        "map",
        "map_diff",
        "number",
        "path",
        "set",
        "string",
        "timestamp",
    )
)
"""What may stand after ``is``."""


def as_int64(number: int) -> int:
    """Return ``number`` when it fits.

    Raises:
        EvaluationError: It does not.
    """
    if not -_INT64 <= number < _INT64:
        raise EvaluationError(f"Integer value is out of the [{-_INT64}, {_INT64 - 1}] range.")
    return number


def _wrapped(number: int) -> int:
    return (number + _INT64) % (2 * _INT64) - _INT64


def _unsupported(left: Value, operator: str, right: Value) -> EvaluationError:
    received = f"{type_name(left)} {operator} {type_name(right)}"
    return EvaluationError(f"Unsupported operation error. Received: {received}.")


def unary(operator: str, value: Value) -> Value:
    """Apply ``!`` or ``-``.

    Raises:
        EvaluationError: The value has no such operation.
    """
    if operator == "!" and isinstance(value, bool):
        return not value
    if operator == "-" and not isinstance(value, bool):
        if isinstance(value, int):
            return as_int64(-value)
        if isinstance(value, float):
            return -value
        if isinstance(value, Duration):
            return Duration(-value.nanos)
    raise EvaluationError(f"Unsupported operation error. Received: {operator}{type_name(value)}.")


def binary(operator: str, left: Value, right: Value) -> Value:
    """Apply an operator with two operands that are both evaluated.

    Raises:
        EvaluationError: The operands have no such operation, or its result does not fit.
    """
    if operator == "==":
        return equal(left, right)
    if operator == "!=":
        return not equal(left, right)
    if operator == "in":
        return _contained(left, right)
    if operator in _ORDERINGS:
        one, other = _comparable(operator, left, right)
        return _ORDERINGS[operator](one, other)
    return _arithmetic(operator, left, right)


_ORDERINGS: dict[str, Callable[[Value, Value], bool]] = {
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


def _comparable(operator: str, left: Value, right: Value) -> tuple[Value, Value]:
    types = {type(left), type(right)}
    if types in ({int}, {bytes}):
        return left, right
    if types <= {int, float}:
        return float(left), float(right)
    if types == {str}:
        return order_key(left), order_key(right)
    if types in ({Timestamp}, {Duration}):
        return left.nanos, right.nanos
    raise _unsupported(left, operator, right)


def _contained(left: Value, right: Value) -> bool:
    if isinstance(right, list):
        wanted = strict_key(left)
        return any(strict_key(item) == wanted for item in right)
    if isinstance(right, RulesSet):
        return loose_key(left) in right.items
    if isinstance(right, dict):
        if not isinstance(left, str):
            raise EvaluationError(
                f"Unsupported operation error. Received: map.in({type_name(left)})."
            )
        return left in right
    raise EvaluationError("Function not found error: Name: [in].")


def _arithmetic(operator: str, left: Value, right: Value) -> Value:
    types = (type(left), type(right))
    if types == (int, int):
        return _INTEGER[operator](left, right)
    if set(types) <= {int, float}:
        return _FLOAT[operator](float(left), float(right))
    if types == (str, str) and operator == "+":
        check_size(len(left) + len(right))
        return left + right
    moved = _TIMES.get((operator, *types))
    if moved is None:
        raise _unsupported(left, operator, right)
    return moved(left.nanos, right.nanos)


_TIMES: dict[tuple[str, type, type], Callable[[int, int], Value]] = {
    ("+", Duration, Duration): lambda one, other: Duration(one + other),
    ("-", Duration, Duration): lambda one, other: Duration(one - other),
    ("+", Timestamp, Duration): lambda one, other: Timestamp(one + other),
    ("+", Duration, Timestamp): lambda one, other: Timestamp(one + other),
    ("-", Timestamp, Duration): lambda one, other: Timestamp(one - other),
    ("-", Timestamp, Timestamp): lambda one, other: Duration(one - other),
}


def _divide(left: int, right: int) -> int:
    """Divide towards zero, as int64 does in Java."""
    if right == 0:
        raise EvaluationError("Divide by zero error.")
    quotient = abs(left) // abs(right)
    return _wrapped(quotient if (left < 0) == (right < 0) else -quotient)


def _remainder(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("Divide by zero error.")
    return abs(left) % abs(right) * (1 if left > 0 else -1)


def _divide_floats(left: float, right: float) -> float:
    if right:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1, right)


def _remainder_floats(left: float, right: float) -> float:
    if right == 0 or math.isinf(left):
        return math.nan
    return math.fmod(left, right)


_INTEGER: dict[str, Callable[[int, int], int]] = {
    "+": lambda left, right: as_int64(left + right),
    "-": lambda left, right: as_int64(left - right),
    "*": lambda left, right: as_int64(left * right),
    "/": _divide,
    "%": _remainder,
}
_FLOAT: dict[str, Callable[[float, float], float]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": _divide_floats,
    "%": _remainder_floats,
}


def is_type(value: Value, name: str) -> bool:
    """Tell whether ``value is name``; ``null`` is of no type.

    ``is set`` is false for every value, as measured at Google's.
    """
    if name == "number":
        return type_name(value) in {"int", "float"}
    return name != "set" and value is not None and type_name(value) == name


def member(value: Value, name: str) -> Value:
    """Return ``value.name``.

    Raises:
        EvaluationError: The value has no properties, or not this one.
    """
    if value is None:
        raise EvaluationError("Null value error.")
    if isinstance(value, Path):
        return _path_property(value, name)
    if not isinstance(value, dict):
        raise EvaluationError(f"Type error. Received: [{type_name(value)}] Expected: [map,path].")
    if name not in value:
        raise EvaluationError(f"Property {name} is undefined on object.")
    return value[name]


def _path_property(path: Path, name: str) -> str:
    for segment in path.segments:
        if isinstance(segment, BoundSegment) and segment.name == name and segment.value is not None:
            return segment.value
    raise EvaluationError(f"Property {name} is undefined on object.")


def index(value: Value, key: Value) -> Value:
    """Return ``value[key]``.

    Raises:
        EvaluationError: The value has no elements, or not this one.
    """
    if value is None:
        raise EvaluationError("Null value error.")
    if isinstance(value, dict | Path) and isinstance(key, str):
        return member(value, key)
    if isinstance(value, str | list | Path):
        return _element(value, key)
    if isinstance(value, dict):
        raise EvaluationError(
            f"Unsupported operation error. Received: map[{type_name(key)}]. Expected: map[string]."
        )
    raise EvaluationError("Function not found error: Name: [[]].")


def _length(value: str | list[Value] | Path) -> int:
    if isinstance(value, str):
        return units(value)
    return len(value if isinstance(value, list) else value.segments)


def _element(value: str | list[Value] | Path, key: Value) -> Value:
    if not isinstance(key, int) or isinstance(key, bool):
        kind = type_name(value)
        raise EvaluationError(
            f"Unsupported operation error. Received: {kind}[{type_name(key)}]. "
            f"Expected: {kind}[int]."
        )
    _check_index(key, _length(value))
    if isinstance(value, str):
        return cut(value, key, key + 1)
    if isinstance(value, list):
        return value[key]
    segment = value.segments[key]
    return segment if isinstance(segment, str) else segment.value


def _check_index(position: int, size: int) -> None:
    if not 0 <= position < size:
        raise EvaluationError(f"Index out of bound error. Index: [{position}] , size: [{size}].")


def slice_of(value: Value, start: Value, end: Value) -> Value:
    """Return ``value[start:end]``; None for an end that was left out.

    Raises:
        EvaluationError: The value has no ranges, or the range is not inside it.
    """
    if not isinstance(value, str | list | Path):
        raise EvaluationError("Function not found error: Name: [@range].")
    if start is None and end is None:
        return value
    size = _length(value)
    first, last = (0 if start is None else start), (size if end is None else end)
    if type(first) is not int or type(last) is not int:
        raise EvaluationError("Unsupported operation error. A range needs integers.")
    _check_index(first, size)
    _check_index(last - 1, size)
    if first > last:
        raise EvaluationError(f"Illegal range error. From index: [{first}] , To index: [{last}].")
    if isinstance(value, str):
        return cut(value, first, last)
    return value[first:last] if isinstance(value, list) else Path(value.segments[first:last])
