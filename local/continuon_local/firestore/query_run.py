"""Runs compiled queries over the store.

What is read is a superset of the results, from an index or a whole collection; filters, sort
orders and cursors decide. Where documents arrive in the query's first order, reading stops as
soon as the limit is full.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from continuon_local.firestore.fields import DOCUMENT_ID
from continuon_local.firestore.messages import Document
from continuon_local.firestore.paths import CollectionPath, decode_id

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from continuon_local.firestore.messages import Message
    from continuon_local.firestore.query import CompiledQuery
    from continuon_local.firestore.store import Collection, DocumentStore
    from continuon_local.firestore.vectors import Nearest

    _Steps = Generator[None, None, "QueryResult"]

__all__ = ["QueryResult", "Row", "run_query", "run_query_in_turns"]

_FEW_CANDIDATES = 1_000
"""So many documents are sorted faster than found in order by another index."""

_MANY_CANDIDATES = 5_000
"""So many are worth avoiding when a limit can end a scan early."""

_PRUNE_BEYOND = 4_096
"""How many results over the limit are kept before the last ones are dropped."""

_STEP = 64
"""Documents between two looks at the clock."""

_TURN_S = 0.02
"""How long a query works before others get their turn."""

_PIECE = 512
"""Documents of an earlier version read at once."""

_EVERYTHING = ((b"", b"\xff"),)


@dataclass(frozen=True, slots=True)
class Row:
    """One result.

    Attributes:
        name: The document's name.
        version: Its update time.
        data: The serialized document as stored.
    """

    name: str
    version: int
    data: bytes

    @property
    def document(self) -> Message:
        """The document, parsed anew."""
        return Document.FromString(self.data)


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The results after offset and limit.

    Attributes:
        rows: In the query's order.
        skipped: How many results the offset left out.
        searched: How many documents a vector search looked at.
    """

    rows: Sequence[Row]
    skipped: int
    searched: int = 0


@dataclass(frozen=True, slots=True)
class _Read:
    """One document read.

    Attributes:
        group: Documents of a later group sort after those of this one; None where that is unknown.
        version: Its update time.
        data: As stored.
    """

    group: bytes | None
    version: int
    data: bytes


def _collections(store: DocumentStore, query: CompiledQuery) -> Sequence[Collection]:
    if query.all_descendants:
        return store.find_group(query.database, query.parent, query.collection_id)
    if query.collection_id is None:
        below = store.find_group(query.database, query.parent, None)
        return [each for each in below if each.path.parent == query.parent]
    path = f"{query.parent}/{query.collection_id}" if query.parent else query.collection_id
    found = store.find_collection(CollectionPath(query.database, path))
    return [] if found is None else [found]


def _by_index(
    store: DocumentStore, query: CompiledQuery, collection: Collection, *, alone: bool
) -> Iterator[_Read] | None:
    """Return the candidates that an index finds, or None where no index helps."""
    number = collection.number
    chosen = store.indexes.choose(number, query.constraints)
    first = query.orders[0]
    limited = query.limit is not None and alone
    if limited and first.path != DOCUMENT_ID and (not chosen or chosen.count > _FEW_CANDIDATES):
        index = store.indexes.index_for(number, first.path, contains=False)
        if index is not None:
            own = [each for each in query.constraints if each.path == first.path]
            intervals = own[0].intervals if own and not own[0].contains else _EVERYTHING
            rows = store.indexes.candidates(index, intervals, descending=first.descending)
            return (_Read(value, version, data) for value, version, data in rows)
    if chosen is None or (limited and chosen.count >= _MANY_CANDIDATES):
        return None
    return _unordered(store, chosen.index, chosen.constraint.intervals)


def _unordered(
    store: DocumentStore, index: int, intervals: Sequence[tuple[bytes, bytes]]
) -> Iterator[_Read]:
    seen: set[bytes] = set()
    repeats = len(intervals) > 1
    for _, version, data in store.indexes.candidates(index, intervals):
        # An array may hold several of the values asked for.
        if repeats:
            if data in seen:
                continue
            seen.add(data)
        yield _Read(None, version, data)


def _at_version(store: DocumentStore, collection: Collection, version: int) -> Iterator[_Read]:
    """Yield a collection as it was, in pieces: commits between two of them change nothing."""
    start = b""
    while True:
        piece = list(store.scan_at(collection, version, after=start, limit=_PIECE))
        for stored in piece:
            yield _Read(None, stored.version, stored.data)
        if len(piece) < _PIECE:
            return
        start = piece[-1].key


def _read(
    store: DocumentStore, query: CompiledQuery, version: int | None, *, pinned: bool
) -> Iterator[_Read]:
    collections = _collections(store, query)
    alone = len(collections) == 1
    for collection in collections:
        if version is not None and (pinned or store.changed_since(collection, version)):
            yield from _at_version(store, collection, version)
            continue
        candidates = _by_index(store, query, collection, alone=alone)
        if candidates is not None:
            yield from candidates
            continue
        by_name = alone and query.orders[0].path == DOCUMENT_ID
        descending = by_name and query.orders[0].descending
        for stored in store.scan(collection, descending=descending):
            yield _Read(stored.key if by_name else None, stored.version, stored.data)


def _all_of_one(store: DocumentStore, query: CompiledQuery) -> _Steps:
    """Return the documents of one collection by name, without looking into them."""
    rows: list[Row] = []
    end = None if query.limit is None else query.offset + query.limit
    for collection in _collections(store, query):
        prefix = f"{query.database}/documents/{collection.path.path}/"
        descending = query.orders[0].descending
        for stored in store.scan(collection, descending=descending, limit=end):
            rows.append(Row(prefix + decode_id(stored.key), stored.version, stored.data))
            if not len(rows) % _STEP:
                yield
    return QueryResult(rows[query.offset : end], min(query.offset, len(rows)))


def run_query(store: DocumentStore, query: CompiledQuery, version: int | None) -> QueryResult:
    """Return the documents that ``query`` asks for, at once.

    Args:
        store: Where the documents are.
        query: What to look for.
        version: The snapshot to read, or None for the present.
    """
    steps = _steps(store, query, version, pinned=False)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: QueryResult = done.value
            return result


async def run_query_in_turns(
    store: DocumentStore, query: CompiledQuery, version: int | None, now: int
) -> QueryResult:
    """Do the same while others get their turns; the result is that of one moment.

    A commit in between makes the query begin again, once, from the versions of ``now``.

    Args:
        store: Where the documents are.
        query: What to look for.
        version: The snapshot to read, or None for the present.
        now: The version of the present.
    """
    steps = _steps(store, query, version, pinned=False)
    pinned, before = False, store.last_version
    turn_began = time.monotonic()
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: QueryResult = done.value
            return result
        if time.monotonic() - turn_began < _TURN_S:
            continue
        await asyncio.sleep(0)
        if not pinned and store.last_version != before:
            # What an open cursor shows after a commit is anybody's guess.
            steps.close()
            pinned = True
            steps = _steps(store, query, now if version is None else version, pinned=True)
        turn_began = time.monotonic()


def _steps(
    store: DocumentStore, query: CompiledQuery, version: int | None, *, pinned: bool
) -> _Steps:
    """Run a query, pausing after every few documents."""
    if query.nearest is not None:
        return (yield from _nearest(store, query, query.nearest, version, pinned=pinned))
    present = version is None or version >= store.last_version
    if query.is_whole_collection and present and not pinned:
        return (yield from _all_of_one(store, query))
    end = None if query.limit is None else query.offset + query.limit
    found: list[tuple[bytes, Row]] = []
    group: bytes | None = None
    for count, read in enumerate(_read(store, query, version, pinned=pinned), 1):
        if not count % _STEP:
            yield
        if end is not None and len(found) >= end:
            if read.group is not None and read.group != group:
                break
            if len(found) > end + _PRUNE_BEYOND:
                found.sort(key=_sort_key)
                del found[end:]
        group = read.group
        document = Document.FromString(read.data)
        name = document.name
        if not query.predicate(name, document.fields):
            continue
        key = query.sort_key(name, document.fields)
        if key is not None and query.is_within(key):
            found.append((key, Row(name, read.version, read.data)))
    found.sort(key=_sort_key)
    rows = [row for _, row in found]
    return QueryResult(rows[query.offset : end], min(query.offset, len(rows)))


def _sort_key(pair: tuple[bytes, Row]) -> bytes:
    return pair[0]


def _nearest(
    store: DocumentStore,
    query: CompiledQuery,
    nearest: Nearest,
    version: int | None,
    *,
    pinned: bool,
) -> _Steps:
    """Rank what the filters leave by its distance; equal distances keep the order of names."""
    filtered = replace(query, nearest=None, limit=None, offset=0)
    candidates = yield from _steps(store, filtered, version, pinned=pinned)
    ranked: list[tuple[float, float, Row]] = []
    for count, row in enumerate(candidates.rows, 1):
        if not count % _STEP:
            yield
        distance = nearest.distance(row.document.fields)
        if distance is not None:
            ranked.append((nearest.rank(distance), distance, row))
    ranked.sort(key=lambda entry: entry[0])
    limit = nearest.limit if query.limit is None else min(nearest.limit, query.limit)
    rows = [
        _with_distance(nearest, row, distance)
        for _, distance, row in ranked[query.offset : query.offset + limit]
    ]
    return QueryResult(rows, min(query.offset, len(ranked)), searched=len(candidates.rows))


def _with_distance(nearest: Nearest, row: Row, distance: float) -> Row:
    if nearest.result is None:
        return row
    document = row.document
    nearest.with_distance(document, distance)
    return replace(row, data=document.SerializeToString())
