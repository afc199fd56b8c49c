"""Runs compiled queries over the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from continuon_local.firestore.messages import Document
from continuon_local.firestore.paths import CollectionPath

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from continuon_local.firestore.messages import Message
    from continuon_local.firestore.query import CompiledQuery
    from continuon_local.firestore.store import Collection, DocumentStore, StoredDocument

__all__ = ["QueryResult", "Row", "run_query"]


@dataclass(frozen=True, slots=True)
class Row:
    """One result.

    Attributes:
        name: The document's name.
        version: Its update time.
        data: The serialized document as stored.
        document: The parsed document.
    """

    name: str
    version: int
    data: bytes
    document: Message


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The results after offset and limit.

    Attributes:
        rows: In the query's order.
        skipped: How many results the offset left out.
    """

    rows: Sequence[Row]
    skipped: int


def _collections(store: DocumentStore, query: CompiledQuery) -> Sequence[Collection]:
    if query.all_descendants:
        return store.find_group(query.database, query.parent, query.collection_id)
    if query.collection_id is None:
        below = store.find_group(query.database, query.parent, None)
        return [each for each in below if each.path.parent == query.parent]
    path = f"{query.parent}/{query.collection_id}" if query.parent else query.collection_id
    found = store.find_collection(CollectionPath(query.database, path))
    return [] if found is None else [found]


def _documents(
    store: DocumentStore, query: CompiledQuery, version: int | None
) -> Iterator[StoredDocument]:
    for collection in _collections(store, query):
        if version is not None and store.changed_since(collection, version):
            yield from store.scan_at(collection, version)
        else:
            yield from store.scan(collection)


def run_query(store: DocumentStore, query: CompiledQuery, version: int | None) -> QueryResult:
    """Return the documents that ``query`` asks for.

    Args:
        store: Where the documents are.
        query: What to look for.
        version: The snapshot to read, or None for the present.
    """
    found: list[tuple[bytes, Row]] = []
    for stored in _documents(store, query, version):
        document = Document.FromString(stored.data)
        if not query.predicate(document.name, document.fields):
            continue
        key = query.sort_key(document.name, document.fields)
        if key is not None and query.is_within(key):
            found.append((key, Row(document.name, stored.version, stored.data, document)))
    found.sort(key=lambda pair: pair[0])
    rows = [row for _, row in found]
    end = None if query.limit is None else query.offset + query.limit
    return QueryResult(rows[query.offset : end], min(query.offset, len(rows)))
