"""Documents that a query could return: known only through its filters.

A list is allowed only when the rules hold for every document that the query could ever return.
Such a document is a :class:`SymbolicMap`: the fields that the query pins to one value have that
value, all others are :class:`Unknown`, perhaps with facts such as "greater than 5".

Logic has three values then. An operation on something unknown is unknown, unless facts prove it;
``false && unknown`` is false and ``true || unknown`` is true; and only a condition that is
definitely true grants. So nothing is allowed that a full analysis would refuse.

Facts prove, they never disprove: with ``n > 5`` in the query ``n != 2`` is true, ``!(n == 2)`` is
unknown. This is what Google's evaluator does. Where it takes a field without a filter for missing
(``!('other' in resource.data)`` is true there), this one says unknown.
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
    "proves",
    "proves_call",
]

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "!=": "!="}


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a query's filter says of a field.

    Attributes:
        operator: ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``contains`` (of a list), or ``key`` (of the
            keys of a map).
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


def proves(operator: str, left: Any, right: Any) -> bool:
    """Tell whether facts prove ``left operator right``.

    Args:
        operator: Of two operands.
        left: A value, perhaps unknown or symbolic.
        right: The same.
    """
    if operator == "in":
        return _proves_in(left, right)
    if isinstance(left, SymbolicMap) or isinstance(right, SymbolicMap):
        # A document of a query's result exists, so it is not null.
        return operator == "!=" and (left is None or right is None)
    if isinstance(right, Unknown) and not isinstance(left, Unknown):
        left, right, operator = right, left, _FLIPPED.get(operator, "")
    if not isinstance(left, Unknown) or isinstance(right, Unknown):
        return False
    return any(_proves_fact(fact, operator, right) for fact in left.facts)


def proves_call(target: Any, name: str, arguments: list[Any]) -> Any:
    """Return what is known of ``target.name(arguments)``, :data:`UNKNOWN` for most."""
    if isinstance(target, SymbolicMap) and name == "keys" and not arguments:
        return Unknown(tuple(Fact("key", field) for field in target.fields))
    if isinstance(target, SymbolicMap) and name == "get" and len(arguments) > 1:
        key = arguments[0]
        return target.fields.get(key, UNKNOWN) if isinstance(key, str) else UNKNOWN
    if isinstance(target, Unknown) and len(arguments) == 1 and isinstance(arguments[0], list):
        held = [_proves_in(item, target) for item in arguments[0]]
        keys = all(fact.operator == "key" for fact in target.facts)
        if (name == "hasAny" and any(held)) or (name == "hasAll" and keys and held and all(held)):
            return True
    return UNKNOWN


def _proves_in(left: Any, right: Any) -> bool:
    if isinstance(right, SymbolicMap):
        return isinstance(left, str) and left in right.fields
    return isinstance(right, Unknown) and any(
        fact.operator in {"contains", "key"} and _compare(fact.value, left) == 0
        for fact in right.facts
    )


def _family(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return type(value).__name__


def _compare(one: Any, other: Any) -> int | None:
    """Compare two values of one ordered family; None for others and for NaN."""
    family = _family(one)
    if family in {"Unknown", "SymbolicMap"} or family != _family(other):
        return None
    if one == other:
        return 0
    if family == "str":
        one, other = (text.encode("utf-16-be", "surrogatepass") for text in (one, other))
    elif family in {"Timestamp", "Duration"}:
        one, other = one.nanos, other.nanos
    elif family not in {"number", "bytes"}:
        return None
    if one < other:
        return -1
    return 1 if one > other else None


def _proves_fact(fact: Fact, operator: str, value: Any) -> bool:
    """Given ``x fact.operator fact.value``, is ``x operator value`` certain?"""
    order = _compare(fact.value, value)
    if order is None:
        return False
    if fact.operator in {"<", "<="}:
        # The mirror image of a lower bound.
        return _proves_above(_FLIPPED[fact.operator], -order, _FLIPPED.get(operator, ""))
    if fact.operator in {">", ">="}:
        return _proves_above(fact.operator, order, operator)
    return fact.operator == "!=" and operator == "!=" and order == 0


def _proves_above(bound: str, order: int, operator: str) -> bool:
    """Given ``x bound b`` and how ``b`` compares with ``v``, is ``x operator v`` certain?"""
    above = order > 0 or (order == 0 and bound == ">")
    if operator in {">", "!="}:
        return above
    return operator == ">=" and (above or order == 0)
