"""Queries as security rules see them: the documents that their filters leave possible.

A query with ``or``, ``in`` or ``array-contains-any`` is a choice of queries without; the rules must
allow each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from continuon_local.firestore.errors import invalid_argument
from continuon_local.firestore.fields import DOCUMENT_ID, parse_field_path
from continuon_local.firestore.messages import StructuredQuery
from continuon_local.firestore.paths import parse_parent
from continuon_local.firestore.rules_values import to_rules
from continuon_local.rules.symbolic import (
    UNKNOWN,
    UNKNOWN_SEGMENTS,
    Fact,
    SymbolicMap,
    Unknown,
)
from continuon_local.rules.values import Path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from continuon_local.firestore.messages import Message

__all__ = ["QueriedDocuments", "queried_documents", "query_value"]

_MAX_CHOICES = 100
"""More than Firestore accepts in any query (30), so that nothing unbounded is built first."""

_Operator = StructuredQuery.FieldFilter
_Unary = StructuredQuery.UnaryFilter
_Composite = StructuredQuery.CompositeFilter

_ORDERED = {
    _Operator.LESS_THAN: "<",
    _Operator.LESS_THAN_OR_EQUAL: "<=",
    _Operator.GREATER_THAN: ">",
    _Operator.GREATER_THAN_OR_EQUAL: ">=",
    _Operator.NOT_EQUAL: "!=",
    _Operator.ARRAY_CONTAINS: "contains",
}
_CHOICES = {
    _Operator.IN: _Operator.EQUAL,
    _Operator.ARRAY_CONTAINS_ANY: _Operator.ARRAY_CONTAINS,
}


@dataclass(frozen=True, slots=True)
class QueriedDocuments:
    """The documents of one alternative of a query.

    Attributes:
        path: The segments to match, unknown where the query leaves them open.
        resource: What is known of the document.
    """

    path: tuple[Any, ...]
    resource: SymbolicMap


@dataclass(frozen=True, slots=True)
class _Condition:
    """One filter on one field."""

    path: str
    operator: int
    value: Message | None


@dataclass(slots=True)
class _Known:
    """What filters say of a field and of the fields inside it."""

    pinned: bool = False
    value: Any = None
    facts: list[Fact] = field(default_factory=list)
    inner: dict[str, _Known] = field(default_factory=dict)

    def result(self) -> Any:
        if self.pinned:
            return self.value
        if self.inner:
            return SymbolicMap({name: known.result() for name, known in self.inner.items()})
        return Unknown(tuple(self.facts))


def query_value(query: Message) -> dict[str, Any]:
    """Return ``request.query`` of a structured query."""
    orders = {
        order.field.field_path: "DESC" if order.direction == StructuredQuery.DESCENDING else "ASC"
        for order in query.order_by
    }
    limit = query.limit.value if query.HasField("limit") else None
    return {"limit": limit, "offset": query.offset, "orderBy": orders}


def queried_documents(parent: str, query: Message) -> Sequence[QueriedDocuments]:
    """Return what a query could find, one entry for each alternative.

    Raises:
        StatusError: INVALID_ARGUMENT for a parent that is none, or far too many alternatives.
    """
    database, parent_path = parse_parent(parent)
    root = ("databases", database.rpartition("/")[2], "documents")
    above = tuple(parent_path.split("/")) if parent_path else ()
    selector = query.from_[0] if query.from_ else None
    collection: Any = selector.collection_id if selector and selector.collection_id else UNKNOWN
    deep = selector is None or selector.all_descendants
    base = (*root, *above, *((UNKNOWN_SEGMENTS,) if deep else ()), collection)
    choices = _choices(query.where) if query.HasField("where") else [[]]
    return [_documents(base, conditions) for conditions in choices]


def _choices(where: Message) -> list[list[_Condition]]:
    """Return the disjunctive normal form of a filter."""
    kind = where.WhichOneof("filter_type")
    if kind == "composite_filter":
        parts = [_choices(part) for part in where.composite_filter.filters]
        if where.composite_filter.op == _Composite.OR:
            return _bounded([choice for part in parts for choice in part])
        combined: list[list[_Condition]] = [[]]
        for part in parts:
            combined = _bounded([[*one, *other] for one, other in product(combined, part)])
        return combined
    if kind == "unary_filter":
        leaf = where.unary_filter
        operator = _Operator.EQUAL if leaf.op == _Unary.IS_NULL else 0
        return [[_Condition(leaf.field.field_path, operator, None)]]
    return _bounded(list(_leaf_choices(where.field_filter)))


def _bounded(choices: list[list[_Condition]]) -> list[list[_Condition]]:
    if len(choices) > _MAX_CHOICES:
        raise invalid_argument("The query has too many disjunctions.")
    return choices


def _leaf_choices(leaf: Message) -> Iterator[list[_Condition]]:
    path, single = leaf.field.field_path, _CHOICES.get(leaf.op)
    if single is None:
        yield [_Condition(path, leaf.op, leaf.value)]
    else:
        for value in leaf.value.array_value.values:
            yield [_Condition(path, single, value)]


def _documents(base: tuple[Any, ...], conditions: Sequence[_Condition]) -> QueriedDocuments:
    root = _Known()
    name: Any = UNKNOWN
    for condition in conditions:
        if condition.path != DOCUMENT_ID:
            _learn(root, condition)
        elif condition.operator == _Operator.EQUAL and condition.value is not None:
            name = to_rules(condition.value)
    data = SymbolicMap({key: known.result() for key, known in root.inner.items()})
    path: tuple[Any, ...] = (*base, UNKNOWN)
    document_id: Any = UNKNOWN
    if isinstance(name, Path) and UNKNOWN_SEGMENTS not in base and len(name.segments) == len(path):
        path, document_id = name.segments, name.segments[-1]
    fields: Mapping[str, Any] = {"data": data, "id": document_id, "__name__": name}
    return QueriedDocuments(path, SymbolicMap(fields))


def _learn(root: _Known, condition: _Condition) -> None:
    known = root
    for name in parse_field_path(condition.path):
        known = known.inner.setdefault(name, _Known())
    if condition.operator == _Operator.EQUAL:
        known.pinned, known.value = True, condition.value and to_rules(condition.value)
    elif condition.operator == _Operator.NOT_IN and condition.value is not None:
        for value in condition.value.array_value.values:
            _add_fact(known, "!=", value)
    elif condition.operator in _ORDERED and condition.value is not None:
        _add_fact(known, _ORDERED[condition.operator], condition.value)


def _add_fact(known: _Known, operator: str, value: Message) -> None:
    converted = to_rules(value)
    if converted is not None and not isinstance(converted, list | dict):
        known.facts.append(Fact(operator, converted))
