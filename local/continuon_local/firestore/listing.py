"""Pages of documents and of collection ids. No I/O beyond the store."""

from __future__ import annotations

import base64
import binascii
import heapq
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from continuon_local.firestore.errors import invalid_argument
from continuon_local.firestore.messages import Document, StructuredQuery
from continuon_local.firestore.paths import CollectionPath, encode_id
from continuon_local.firestore.query import Bound
from continuon_local.firestore.query_run import run_query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from continuon_local.firestore.messages import Message
    from continuon_local.firestore.query import CompiledQuery
    from continuon_local.firestore.store import DocumentStore, StoredDocument

__all__ = [
    "Page",
    "decode_token",
    "encode_token",
    "list_collection_ids",
    "list_documents",
    "list_ordered",
    "ordered_query",
]

_Direction = StructuredQuery.Direction
_DIRECTIONS = {
    "": _Direction.ASCENDING,
    "asc": _Direction.ASCENDING,
    "desc": _Direction.DESCENDING,
}
_DEFAULT_PAGE = 300
_MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """One page of documents.

    Attributes:
        documents: Serialized documents; a missing one has its name only.
        found: How many of them exist.
        next_page_token: Empty on the last page.
    """

    documents: Sequence[bytes]
    found: int
    next_page_token: str


def encode_token(key: bytes) -> str:
    """Return a page token for the position after ``key``."""
    return base64.urlsafe_b64encode(key).decode()


def decode_token(token: str) -> bytes:
    """Return the position that a page token stands for.

    Raises:
        StatusError: INVALID_ARGUMENT when it is not one of ours.
    """
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_argument("Invalid page token.") from error


def page_length(requested: int) -> int:
    """Return the number of results for a page.

    Raises:
        StatusError: INVALID_ARGUMENT when it is negative.
    """
    if requested < 0:
        raise invalid_argument("The page size must not be negative.")
    return min(requested, _MAX_PAGE) or _DEFAULT_PAGE


def _existing(
    store: DocumentStore, path: CollectionPath, start: bytes, version: int | None
) -> Iterator[tuple[bytes, bytes]]:
    collection = store.find_collection(path)
    if collection is None:
        return
    rows: Iterator[StoredDocument]
    if version is not None and store.changed_since(collection, version):
        rows = (row for row in store.scan_at(collection, version) if row.key >= start)
    else:
        rows = store.scan(collection, start=start)
    for row in rows:
        yield row.key, row.data


def _missing(
    store: DocumentStore, path: CollectionPath, start: bytes
) -> Iterator[tuple[bytes, bytes]]:
    for document_id in store.missing_children(path):
        key = encode_id(document_id)
        if key >= start:
            name = f"{path.database}/documents/{path.path}/{document_id}"
            yield key, Document(name=name).SerializeToString()


def list_documents(
    store: DocumentStore,
    path: CollectionPath,
    *,
    page_size: int,
    page_token: str,
    version: int | None,
    show_missing: bool,
) -> Page:
    """Return one page of a collection in the order of document names.

    Args:
        store: Where the documents are.
        path: The collection.
        page_size: 0 for the default.
        page_token: Empty for the first page.
        version: The snapshot to read, or None for the present.
        show_missing: Whether to include documents that do not exist but have some below them.

    Raises:
        StatusError: INVALID_ARGUMENT for a bad page size or token.
    """
    length = page_length(page_size)
    # The smallest key after the last one of the page before.
    start = decode_token(page_token) + b"\x00" if page_token else b""
    rows = _existing(store, path, start, version)
    missing = list(_missing(store, path, start)) if show_missing else []
    page = list(islice(heapq.merge(rows, missing), length + 1))
    token = encode_token(page[length - 1][0]) if len(page) > length else ""
    absent = {key for key, _ in missing}
    page = page[:length]
    found = sum(key not in absent for key, _ in page)
    return Page([data for _, data in page], found, token)


def ordered_query(collection_id: str, order_by: str) -> Message:
    """Return the query that lists a collection as ``order_by`` says: ``priority desc, name``.

    Raises:
        StatusError: INVALID_ARGUMENT for anything but fields and directions.
    """
    query: Message = StructuredQuery()
    query.from_.add(collection_id=collection_id)
    for part in order_by.split(","):
        path, _, direction = part.strip().partition(" ")
        if not path or direction.strip().lower() not in _DIRECTIONS:
            raise invalid_argument(f'Invalid order_by: "{order_by}".')
        order = query.order_by.add(direction=_DIRECTIONS[direction.strip().lower()])
        order.field.field_path = path
    return query


def list_ordered(
    store: DocumentStore,
    query: CompiledQuery,
    *,
    page_size: int,
    page_token: str,
    version: int | None,
) -> Page:
    """Return one page of a query's results; the token is the sort key of the last.

    Raises:
        StatusError: INVALID_ARGUMENT for a bad page size or token.
    """
    length = page_length(page_size)
    start = Bound(decode_token(page_token), before=False) if page_token else None
    rows = run_query(store, replace(query, start=start, limit=length + 1), version).rows
    token = ""
    if len(rows) > length:
        last = rows[length - 1]
        token = encode_token(query.sort_key(last.name, last.document.fields) or b"")
    page = [row.data for row in rows[:length]]
    return Page(page, len(page), token)


def list_collection_ids(
    store: DocumentStore,
    database: str,
    parent: str,
    *,
    page_size: int,
    page_token: str,
    version: int | None,
) -> tuple[Sequence[str], str]:
    """Return one page of the collections below a document, and the next page's token.

    Raises:
        StatusError: INVALID_ARGUMENT for a bad page size or token.
    """
    length = page_length(page_size)
    after = decode_token(page_token)
    present = store.child_collection_ids(database, parent, version)
    ids = [each for each in present if each.encode() > after]
    token = encode_token(ids[length - 1].encode()) if len(ids) > length else ""
    return ids[:length], token
