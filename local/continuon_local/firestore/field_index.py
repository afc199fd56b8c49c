"""Single-field indexes, made when a query first wants one and kept up to date from then on.

They narrow down which documents a query has to look at. An entry holds the beginning of the
encoded value, so equal beginnings are candidates and the filters decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from continuon_local.database import transaction
from continuon_local.firestore.fields import get_field, parse_field_path
from continuon_local.firestore.messages import Document
from continuon_local.firestore.ordering import encode_value

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from continuon_local.firestore.constraints import Constraint, Interval
    from continuon_local.firestore.messages import Message

__all__ = ["Choice", "FieldIndexes"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS field_indexes (
    id INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    path TEXT NOT NULL,
    contains INTEGER NOT NULL,
    UNIQUE (collection, path, contains)
);
CREATE TABLE IF NOT EXISTS field_entries (
    field INTEGER NOT NULL,
    value BLOB NOT NULL,
    document INTEGER NOT NULL,
    PRIMARY KEY (field, value, document)
) WITHOUT ROWID;
"""
_VALUE_BYTES = 128
"""How much of an encoded value an entry holds."""

_WORTH_INDEXING_DOCUMENTS = 500
"""Smaller collections are read as a whole."""

_MAX_INDEXES_PER_COLLECTION = 24
"""Each costs an entry per write."""

_WORTH_COUNTING_ENTRIES = 5_000
"""Beyond this, it does not matter how much larger a candidate set is."""

_Field = tuple[str, bool]


def _keys(document: Message | None, path: str, *, contains: bool) -> set[bytes]:
    """Return the values under which a document is entered."""
    value = None if document is None else get_field(document.fields, parse_field_path(path))
    if value is None:
        return set()
    if not contains:
        return {encode_value(value)[:_VALUE_BYTES]}
    return {encode_value(element)[:_VALUE_BYTES] for element in value.array_value.values}


def _cut(intervals: Iterable[Interval]) -> Sequence[Interval]:
    """Return intervals of the values' beginnings, each once."""
    return list(dict.fromkeys((low[:_VALUE_BYTES], high[:_VALUE_BYTES]) for low, high in intervals))


@dataclass(frozen=True, slots=True)
class Choice:
    """An index to use.

    Attributes:
        index: Its number.
        constraint: What to look for in it.
        count: How many candidates that leaves, as far as counted.
    """

    index: int
    constraint: Constraint
    count: int


class FieldIndexes:
    """The indexes of all collections, on the connection of the store."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.executescript(_SCHEMA)
        self._connection = connection
        self._by_collection: dict[int, dict[_Field, int]] = {}
        rows = connection.execute("SELECT collection, path, contains, id FROM field_indexes")
        for collection, path, contains, number in rows:
            self._by_collection.setdefault(collection, {})[path, bool(contains)] = number

    def update(
        self, collection: int, document_id: int, old: Message | None, new: Message | None
    ) -> None:
        """Enter a document's change, in the transaction that stores it."""
        for (path, contains), number in self._by_collection.get(collection, {}).items():
            before = _keys(old, path, contains=contains)
            after = _keys(new, path, contains=contains)
            for value in before - after:
                self._connection.execute(
                    "DELETE FROM field_entries WHERE field = ? AND value = ? AND document = ?",
                    (number, value, document_id),
                )
            for value in after - before:
                self._connection.execute(
                    "INSERT INTO field_entries VALUES (?, ?, ?)", (number, value, document_id)
                )

    def clear(self, collection: int) -> None:
        """Remove all entries of a collection, in the transaction that removes its documents."""
        self._connection.execute(
            "DELETE FROM field_entries WHERE field IN"
            " (SELECT id FROM field_indexes WHERE collection = ?)",
            (collection,),
        )

    def index_for(self, collection: int, path: str, *, contains: bool) -> int | None:
        """Return the index of a field, made now if need be, or None where it is not worth it."""
        fields = self._by_collection.get(collection, {})
        number = fields.get((path, contains))
        if number is None and self._is_worth_it(collection, fields):
            number = self._build(collection, path, contains=contains)
        return number

    def _is_worth_it(self, collection: int, fields: Mapping[_Field, int]) -> bool:
        if len(fields) >= _MAX_INDEXES_PER_COLLECTION or self._connection.in_transaction:
            return False
        row = self._connection.execute(
            "SELECT 1 FROM documents WHERE collection = ? LIMIT 1 OFFSET ?",
            (collection, _WORTH_INDEXING_DOCUMENTS),
        ).fetchone()
        return row is not None

    def _build(self, collection: int, path: str, *, contains: bool) -> int:
        with transaction(self._connection) as connection:
            cursor = connection.execute(
                "INSERT INTO field_indexes (collection, path, contains) VALUES (?, ?, ?)",
                (collection, path, contains),
            )
            number = int(cursor.lastrowid or 0)
            rows = connection.execute(
                "SELECT id, data FROM documents WHERE collection = ?", (collection,)
            )
            connection.executemany(
                "INSERT INTO field_entries VALUES (?, ?, ?)",
                (
                    (number, value, document_id)
                    for document_id, data in rows
                    for value in _keys(Document.FromString(data), path, contains=contains)
                ),
            )
        self._by_collection.setdefault(collection, {})[path, contains] = number
        return number

    def choose(self, collection: int, constraints: Sequence[Constraint]) -> Choice | None:
        """Return the index and the constraint that leave the fewest candidates."""
        best: Choice | None = None
        for constraint in constraints:
            number = self.index_for(collection, constraint.path, contains=constraint.contains)
            if number is None:
                continue
            count = sum(self._count(number, each) for each in _cut(constraint.intervals))
            if best is None or count < best.count:
                best = Choice(number, constraint, count)
        return best

    def _count(self, number: int, interval: Interval) -> int:
        low, high = interval
        row = self._connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM field_entries WHERE field = ? AND value >= ?"
            " AND value <= ? LIMIT ?)",
            (number, low, high, _WORTH_COUNTING_ENTRIES),
        ).fetchone()
        return int(row[0])

    def candidates(
        self, number: int, intervals: Iterable[Interval], *, descending: bool = False
    ) -> Iterator[tuple[bytes, int, bytes]]:
        """Yield the index value, version and data of each document in range, by value."""
        order = "DESC" if descending else "ASC"
        cut = _cut(intervals)
        for low, high in reversed(cut) if descending else cut:
            yield from self._connection.execute(
                "SELECT e.value, d.version, d.data FROM field_entries AS e"  # noqa: S608
                " CROSS JOIN documents AS d ON d.id = e.document"
                f" WHERE e.field = ? AND e.value >= ? AND e.value <= ? ORDER BY e.value {order}",
                (number, low, high),
            )
