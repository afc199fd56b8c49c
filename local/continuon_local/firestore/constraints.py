"""What the filters of a query say about the values of single fields: where an index can help.

A constraint describes a superset of the results; the filters still decide. So only filters that
every result must satisfy count, and long values may be compared by their beginning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from continuon_local.firestore.fields import DOCUMENT_ID
from continuon_local.firestore.filters import Operator, is_unary
from continuon_local.firestore.messages import StructuredQuery, Value
from continuon_local.firestore.ordering import encode_value, type_range

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from continuon_local.firestore.messages import Message

__all__ = ["Constraint", "constraints_of"]

_Unary = StructuredQuery.UnaryFilter.Operator
_UNARY_VALUES = {
    _Unary.IS_NULL: Value(null_value=0),
    _Unary.IS_NAN: Value(double_value=float("nan")),
}
_AND = StructuredQuery.CompositeFilter.Operator.AND
_ARRAY = {Operator.ARRAY_CONTAINS, Operator.ARRAY_CONTAINS_ANY}
_POINT = {Operator.EQUAL, Operator.ARRAY_CONTAINS}
_LISTS = {Operator.IN, Operator.ARRAY_CONTAINS_ANY}
_FROM = {Operator.GREATER_THAN, Operator.GREATER_THAN_OR_EQUAL}
_UP_TO = {Operator.LESS_THAN, Operator.LESS_THAN_OR_EQUAL}

Interval = tuple[bytes, bytes]
"""Both ends included."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """The encoded values of one field that a result can have.

    Attributes:
        path: The field path.
        contains: Whether it is about the elements of an array.
        intervals: Disjoint, in order.
    """

    path: str
    contains: bool
    intervals: tuple[Interval, ...]


def _required(condition: Message) -> Iterator[Message]:
    """Yield the leaves that every result must satisfy."""
    kind = condition.WhichOneof("filter_type")
    if kind != "composite_filter":
        yield getattr(condition, str(kind))
        return
    composite = condition.composite_filter
    if composite.op == _AND or len(composite.filters) == 1:
        for part in composite.filters:
            yield from _required(part)


def _points(values: Sequence[Message]) -> tuple[Interval, ...]:
    return tuple((key, key) for key in sorted({encode_value(value) for value in values}))


def _intervals(leaf: Message) -> tuple[Interval, ...]:
    """Return where a leaf's values are, nothing where it does not say."""
    op = leaf.op
    if is_unary(leaf):
        return _points([_UNARY_VALUES[op]]) if op in _UNARY_VALUES else ()
    if op in _LISTS:
        return _points(leaf.value.array_value.values)
    target = encode_value(leaf.value)
    if op in _POINT:
        return ((target, target),)
    low, high = type_range(target)
    if op in _FROM:
        return ((target, high),)
    return ((low, target),) if op in _UP_TO else ()


def _of_leaf(leaf: Message) -> Constraint | None:
    path = leaf.field.field_path
    intervals = _intervals(leaf)
    if path == DOCUMENT_ID or not intervals:
        return None
    return Constraint(path, not is_unary(leaf) and leaf.op in _ARRAY, intervals)


def _merged(one: Constraint, other: Constraint) -> Constraint:
    """Combine two ranges of one field."""
    ((low, high),), ((other_low, other_high),) = one.intervals, other.intervals
    return Constraint(one.path, one.contains, ((max(low, other_low), min(high, other_high)),))


def constraints_of(query: Message) -> Sequence[Constraint]:
    """Return what a ``StructuredQuery`` demands of single fields, at most one per field."""
    found: dict[tuple[str, bool], Constraint] = {}
    for leaf in _required(query.where) if query.HasField("where") else ():
        constraint = _of_leaf(leaf)
        if constraint is None:
            continue
        key = (constraint.path, constraint.contains)
        known = found.get(key)
        if known is None:
            found[key] = constraint
        elif len(known.intervals) == len(constraint.intervals) == 1 and not constraint.contains:
            found[key] = _merged(known, constraint)
    return list(found.values())
