"""Which queries need a composite index, and whether ``firestore.indexes.json`` defines it.

Single-field indexes exist by themselves for queries on a collection; equalities on several fields
are answered by merging them. Everything else needs a composite index: the equality fields in any
order, then the sort orders. See https://firebase.google.com/docs/firestore/query-data/index-overview.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from continuon_local.firestore.errors import failed_precondition
from continuon_local.firestore.fields import DOCUMENT_ID
from continuon_local.firestore.filters import Operator, disjunctions, is_unary
from continuon_local.firestore.filters import inequality_fields as inequalities
from continuon_local.firestore.index_messages import (
    VECTOR,
    missing_index_message,
    missing_vector_message,
)
from continuon_local.firestore.messages import StructuredQuery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from continuon_local.firestore.messages import Message

__all__ = ["CompositeIndex", "IndexChecker", "IndexNeed", "load_indexes", "needs_of"]

_COLLECTION = "COLLECTION"
_GROUP = "COLLECTION_GROUP"
_ASCENDING = "ASCENDING"
_DESCENDING = "DESCENDING"
_CONTAINS = "CONTAINS"
_ARRAY_OPERATORS = {Operator.ARRAY_CONTAINS, Operator.ARRAY_CONTAINS_ANY}

_BY_THEMSELVES = frozenset((_COLLECTION, kind) for kind in (_ASCENDING, _DESCENDING, _CONTAINS))
"""The single-field indexes of a field without an override."""

Entry = tuple[str, str]
"""A field path, and ``ASCENDING``, ``DESCENDING``, ``CONTAINS`` or ``VECTOR_`` and a dimension."""


@dataclass(frozen=True, slots=True)
class CompositeIndex:
    """One entry of ``indexes``: its collection id, its scope, its fields without ``__name__``."""

    collection_id: str
    scope: str
    fields: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class IndexNeed:
    """What one disjunction of a query asks of the indexes.

    Attributes:
        equalities: Fields compared for equality, ``ASCENDING``, or array membership, ``CONTAINS``.
        orders: The sort orders that remain.
    """

    equalities: frozenset[Entry]
    orders: tuple[Entry, ...]


def _composite(entry: Mapping[str, Any]) -> CompositeIndex:
    fields = [(field["fieldPath"], _kind(field)) for field in entry["fields"]]
    if fields and fields[-1][0] == DOCUMENT_ID:
        name = fields.pop()
        if fields and name[1] != _direction_after(fields[-1]):
            fields.append(name)
    return CompositeIndex(
        entry["collectionGroup"], entry.get("queryScope", _COLLECTION), tuple(fields)
    )


def _kind(field: Mapping[str, Any]) -> str:
    """Return the order or array configuration of an index's field, or its vector's dimension."""
    if "vectorConfig" in field:
        return f"{VECTOR}{int(field['vectorConfig']['dimension'])}"
    return str(field.get("order") or field.get("arrayConfig") or _ASCENDING)


def _direction_after(last: Entry) -> str:
    return _DESCENDING if last[1] == _DESCENDING else _ASCENDING


def load_indexes(path: Path) -> IndexChecker:
    """Read ``firestore.indexes.json``.

    Raises:
        ValueError: The file is not of that form.
        OSError: The file cannot be read.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        composites = [_composite(entry) for entry in document.get("indexes", [])]
        singles = {
            (override["collectionGroup"], override["fieldPath"]): frozenset(
                (
                    index.get("queryScope", _COLLECTION),
                    index.get("order") or index.get("arrayConfig") or _ASCENDING,
                )
                for index in override.get("indexes", [])
            )
            for override in document.get("fieldOverrides", [])
        }
        lifetimes = [
            (override["collectionGroup"], override["fieldPath"])
            for override in document.get("fieldOverrides", [])
            if override.get("ttl") is True
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a file of Firestore indexes: {error!r}") from error
    return IndexChecker(composites, singles, lifetimes)


def _equality(leaf: Message, unequal: Sequence[str]) -> Entry | None:
    path = leaf.field.field_path
    if path == DOCUMENT_ID or path in unequal:
        return None
    if not is_unary(leaf) and leaf.op in _ARRAY_OPERATORS:
        return path, _CONTAINS
    return path, _ASCENDING


def _order_entries(query: Message, unequal: Sequence[str]) -> list[Entry]:
    descending = StructuredQuery.Direction.DESCENDING
    entries = [
        (order.field.field_path, _DESCENDING if order.direction == descending else _ASCENDING)
        for order in query.order_by
    ]
    direction = entries[-1][1] if entries else _ASCENDING
    present = {path for path, _ in entries}
    entries += [(path, direction) for path in unequal if path not in present]
    if entries and entries[-1][0] == DOCUMENT_ID:
        name = entries.pop()
        if name[1] != (_direction_after(entries[-1]) if entries else _ASCENDING):
            entries.append(name)
    return entries


def needs_of(query: Message) -> Sequence[IndexNeed]:
    """Return what each disjunction of a ``StructuredQuery`` asks of the indexes."""
    where = query.where
    unequal = list(inequalities(where)) if query.HasField("where") else []
    orders = _order_entries(query, unequal)
    parts = list(disjunctions(where)) if query.HasField("where") else [[]]
    needs = []
    for disjunction in parts:
        found = (_equality(leaf, unequal) for leaf in disjunction)
        equalities = frozenset(entry for entry in found if entry is not None)
        fixed = {path for path, kind in equalities if kind == _ASCENDING}
        # An equality leaves nothing to sort by that field.
        remaining = tuple(entry for entry in orders if entry[0] not in fixed)
        needs.append(IndexNeed(equalities, remaining))
    return needs


class IndexChecker:
    """Knows the defined indexes.

    Args:
        composites: The composite indexes.
        singles: For a collection id and field path with an override, the scopes and kinds of
            its single-field indexes.
        lifetimes: Collection ids and the paths of the fields after whose time documents expire.

    Attributes:
        lifetimes: The same.
    """

    def __init__(
        self,
        composites: Sequence[CompositeIndex],
        singles: Mapping[tuple[str, str], frozenset[tuple[str, str]]],
        lifetimes: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.lifetimes = tuple(lifetimes)
        self._composites = tuple(composites)
        self._singles = dict(singles)

    def check(self, database: str, query: Message) -> None:
        """Refuse a ``StructuredQuery`` that the defined indexes cannot answer.

        Args:
            database: ``projects/P/databases/D``.
            query: The query.

        Raises:
            StatusError: FAILED_PRECONDITION with the index to add.
        """
        selector = query.from_[0] if query.from_ else None
        if selector is None or not selector.collection_id:
            return
        scope = _GROUP if selector.all_descendants else _COLLECTION
        if query.HasField("find_nearest"):
            self._check_vector(database, selector.collection_id, scope, query)
            return
        for need in needs_of(query):
            missing = self.missing(selector.collection_id, scope, need)
            if missing is not None:
                raise failed_precondition(missing_index_message(database, missing))

    def _check_vector(self, database: str, collection_id: str, scope: str, query: Message) -> None:
        search = query.find_nearest
        dimension = len(search.query_vector.map_value.fields["value"].array_value.values)
        vector = (search.vector_field.field_path, f"{VECTOR}{dimension}")
        for need in needs_of(query):
            required = IndexNeed(need.equalities, (*need.orders, vector))
            if not self._served(collection_id, scope, required):
                fields = (*sorted(need.equalities), *required.orders)
                raise failed_precondition(
                    missing_vector_message(database, collection_id, scope, fields)
                )

    def is_exempt(self, collection_id: str, path: str) -> bool:
        """Tell whether a field has no single-field index at all."""
        return not self._singles_of(collection_id, path)

    def missing(self, collection_id: str, scope: str, need: IndexNeed) -> dict[str, Any] | None:
        """Return the definition to add for ``need``, or None when it is met."""
        equalities = need.equalities
        singles = equalities if not need.orders else frozenset(need.orders)
        if not need.orders or (len(need.orders) == 1 and not equalities):
            absent = [each for each in singles if not self._has_single(collection_id, scope, each)]
            if not absent:
                return None
            if not self._served(collection_id, scope, need):
                return _override(collection_id, scope, absent[0])
            return None
        if self._served(collection_id, scope, need):
            return None
        return _definition(collection_id, scope, need)

    def _has_single(self, collection_id: str, scope: str, entry: Entry) -> bool:
        path, kind = entry
        if path == DOCUMENT_ID:
            return kind == _ASCENDING
        return (scope, kind) in self._singles_of(collection_id, path)

    def _singles_of(self, collection_id: str, path: str) -> frozenset[tuple[str, str]]:
        # A map's override holds for what is inside it, unless that has its own.
        segments = path.split(".")
        above = [".".join(segments[:length]) for length in range(len(segments), 0, -1)]
        for field_path in (*above, "*"):
            override = self._singles.get((collection_id, field_path))
            if override is not None:
                return override
        return _BY_THEMSELVES

    def _served(self, collection_id: str, scope: str, need: IndexNeed) -> bool:
        """Tell whether composite indexes, merged if need be, cover everything asked."""
        covered: set[Entry] = set()
        served = False
        for index in self._composites:
            if (index.collection_id, index.scope) != (collection_id, scope):
                continue
            split = len(index.fields) - len(need.orders)
            prefix = {_as_equality(entry) for entry in index.fields[: max(split, 0)]}
            if split < 0 or index.fields[split:] != need.orders or not prefix <= need.equalities:
                continue
            covered |= prefix
            served = True
        return served and covered == need.equalities


def _as_equality(entry: Entry) -> Entry:
    """An equality does not care about an index's direction."""
    return entry if entry[1] == _CONTAINS else (entry[0], _ASCENDING)


def _field(entry: Entry) -> dict[str, str]:
    path, kind = entry
    return {"fieldPath": path, "arrayConfig" if kind == _CONTAINS else "order": kind}


def _definition(collection_id: str, scope: str, need: IndexNeed) -> dict[str, Any]:
    fields = [*sorted(need.equalities), *need.orders]
    return {
        "collectionGroup": collection_id,
        "queryScope": scope,
        "fields": [_field(entry) for entry in fields],
    }


def _override(collection_id: str, scope: str, entry: Entry) -> dict[str, Any]:
    definition = {"queryScope": scope, **_field(entry)}
    path = definition.pop("fieldPath")
    return {
        "fieldOverrides": [
            {"collectionGroup": collection_id, "fieldPath": path, "indexes": [definition]}
        ]
    }
