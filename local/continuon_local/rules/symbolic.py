"""Documents that a query could return: known only through its filters.

A list is allowed only when the rules hold for every document that the query could ever return.
Such a document is a :class:`SymbolicMap`: the fields that the query pins to one value have that
value, all others are :class:`Unknown`, perhaps with facts such as "greater than 5".

Logic has three values then. An operation on something unknown is unknown, unless facts decide it;
``false && unknown`` is false and ``true || unknown`` is true; and only a condition that is
definitely true grants. So nothing is allowed that a full analysis would refuse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "UNKNOWN",
    "UNKNOWN_SEGMENTS",
    "Fact",
    "SymbolicMap",
    "Unknown",
    "decide",
    "decide_call",
    "decide_type",
]

_ORDERED = ("<", "<=", ">", ">=")
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a query's filter says of a field.

    Attributes:
        operator: ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=`` or ``contains`` (of a list).
        value: A number, string or other plain value; not a list or map.
    """

    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value of which only ``facts`` are known; perhaps it is an error."""

    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class SymbolicMap:
    """A map of which only ``fields`` are known; it may have any others."""

    fields: Mapping[str, Any]

    def read(self, name: str) -> Any:
        """Return the value of a field, :data:`UNKNOWN` for one that is not known."""
        return self.fields.get(name, UNKNOWN)


UNKNOWN = Unknown()
"""A value of which nothing is known."""

UNKNOWN_SEGMENTS = object()
"""In a path: any number of segments, none included."""


def decide(operator: str, left: Any, right: Any) -> bool | None:
    """Return what facts say of ``left operator right``, None when they do not decide it.

    Args:
        operator: A comparison, an equality or ``in``.
        left: A value, perhaps unknown or symbolic.
        right: The same.
    """
    if operator == "in":
        return _decide_in(left, right)
    if isinstance(right, Unknown) and not isinstance(left, Unknown):
        left, right, operator = right, left, _FLIPPED.get(operator, operator)
    if isinstance(left, SymbolicMap) or isinstance(right, SymbolicMap):
        return _decide_presence(operator, left, right)
    if not isinstance(left, Unknown) or isinstance(right, Unknown):
        return None
    answers = {_decide_fact(fact, operator, right) for fact in left.facts} - {None}
    return answers.pop() if len(answers) == 1 else None


def _decide_presence(operator: str, left: Any, right: Any) -> bool | None:
    """A document of a query's result exists, so it is not null."""
    if left is None or right is None:
        return {"==": False, "!=": True}.get(operator)
    return None


def _decide_in(left: Any, right: Any) -> bool | None:
    if isinstance(right, SymbolicMap):
        return True if isinstance(left, str) and left in right.fields else None
    if isinstance(right, Unknown):
        contained = any(
            fact.operator == "contains" and _compare(fact.value, left) == 0 for fact in right.facts
        )
        return True if contained else None
    return None


def _family(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return type(value).__name__


def _compare(one: Any, other: Any) -> int | None:
    """Compare two values of one ordered family; None for others and for NaN."""
    if isinstance(one, Unknown | SymbolicMap) or isinstance(other, Unknown | SymbolicMap):
        return None
    if _family(one) != _family(other):
        return None
    if one == other:
        return 0
    family = _family(one)
    if family == "str":
        one, other = one.encode("utf-16-be", "replace"), other.encode("utf-16-be", "replace")
    elif family in {"Timestamp", "Duration"}:
        one, other = one.nanos, other.nanos
    elif family not in {"number", "bytes"}:
        return None
    if one < other:
        return -1
    return 1 if one > other else None


def _decide_fact(fact: Fact, operator: str, value: Any) -> bool | None:
    """Given ``x fact.operator fact.value``, is ``x operator value``?"""
    if operator not in {"==", "!=", *_ORDERED}:
        return None
    order = _compare(fact.value, value)
    if fact.operator == "!=":
        known = order == 0 and operator in {"==", "!="}
        return operator == "!=" if known else None
    if fact.operator == "contains" or order is None:
        return None
    return _decide_bound(fact.operator, order, operator)


def _decide_bound(bound: str, order: int, operator: str) -> bool | None:
    """Given ``x bound b`` and how ``b`` compares with ``v``, is ``x operator v``?"""
    possible = _possible_orders(bound, order)
    results = {_holds(operator, sign) for sign in possible}
    return results.pop() if len(results) == 1 else None


def _possible_orders(bound: str, order: int) -> set[int]:
    """Return the signs that comparing ``x`` with ``v`` may have."""
    if bound == "==":
        return {order}
    if bound in {"<", "<="}:
        return {1: {-1, 0, 1}, -1: {-1}, 0: {-1} if bound == "<" else {-1, 0}}[order]
    return {-1: {-1, 0, 1}, 1: {1}, 0: {1} if bound == ">" else {0, 1}}[order]


def _holds(operator: str, sign: int) -> bool:
    return {
        "==": sign == 0,
        "!=": sign != 0,
        "<": sign < 0,
        "<=": sign <= 0,
        ">": sign > 0,
        ">=": sign >= 0,
    }[operator]


_TYPE_OF_FAMILY = {
    "str": "string",
    "number": "number",
    "bytes": "bytes",
    "Timestamp": "timestamp",
}


def decide_type(value: Unknown | SymbolicMap, name: str) -> bool | None:
    """Return what is known of ``value is name``; None when it is not decided.

    A filter with an order or an equality returns values of the type it compares with.
    """
    if isinstance(value, SymbolicMap):
        return name == "map"
    families = {_family(fact.value) for fact in value.facts if fact.operator in {"==", *_ORDERED}}
    return True if name in {_TYPE_OF_FAMILY.get(family) for family in families} else None


def decide_call(target: Any, name: str, arguments: list[Any]) -> Any:
    """Return what is known of ``target.name(arguments)``, :data:`UNKNOWN` for most."""
    if isinstance(target, SymbolicMap) and name == "get" and len(arguments) > 1:
        key = arguments[0]
        return target.fields.get(key, UNKNOWN) if isinstance(key, str) else UNKNOWN
    if isinstance(target, Unknown) and arguments and isinstance(arguments[0], list):
        held = [decide("in", item, target) is True for item in arguments[0]]
        if (name == "hasAny" and any(held)) or (name == "hasAll" and held and all(held)):
            return True
    return UNKNOWN
