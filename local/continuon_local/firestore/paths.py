"""Resource names, and their order as bytes.

A document name is ``projects/P/databases/D/documents/`` and then collection and document ids in
turn. Ids sort as UTF-8 bytes, except that numeric ids (``__id7__``) come first, by number.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import lru_cache

from continuon_local.firestore.errors import invalid_argument
from continuon_local.firestore.limits import MAX_ID_BYTES, MAX_PATH_BYTES, MAX_PATH_DOCUMENTS

__all__ = [
    "CollectionPath",
    "DocumentName",
    "check_collection_id",
    "check_database",
    "decode_id",
    "encode_id",
    "encode_segment",
    "parse_document_name",
    "parse_parent",
    "split_name",
]

_NUMERIC_ID = re.compile(r"__id(-?\d{1,19})__", re.ASCII)
_RESERVED = re.compile(r"__.*__", re.DOTALL)
_DATABASE = re.compile(r"projects/[^/]+/databases/[^/]+")
_ROOT_PARTS = 5  # projects, P, databases, D, documents
_NUMERIC = b"\x01"
_TEXT = b"\x02"
_INT64_BIAS = 1 << 63


@dataclass(frozen=True, slots=True)
class CollectionPath:
    """One collection: its database and its path below ``documents/``.

    Attributes:
        database: ``projects/P/databases/D``.
        path: For example ``users`` or ``users/u1/notes``.
    """

    database: str
    path: str

    @property
    def collection_id(self) -> str:
        """The last segment, as collection groups name it."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> str:
        """The path of the document above, empty for a root collection."""
        return self.path.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class DocumentName:
    """One document: its collection and its id."""

    collection: CollectionPath
    document_id: str

    @property
    def path(self) -> str:
        """The path below ``documents/``."""
        return f"{self.collection.path}/{self.document_id}"

    @property
    def full(self) -> str:
        """The resource name."""
        return f"{self.collection.database}/documents/{self.path}"


def check_database(database: str) -> str:
    """Return ``database`` when it has the form ``projects/P/databases/D``.

    Raises:
        StatusError: INVALID_ARGUMENT for any other form.
    """
    if not _DATABASE.fullmatch(database):
        raise invalid_argument(f'Invalid database name: "{database}".')
    return database


def split_name(name: str) -> tuple[str, list[str]]:
    """Split a resource name into its database and the segments below ``documents``.

    Raises:
        StatusError: INVALID_ARGUMENT when it is no Firestore name or an id is not allowed.
    """
    parts = name.split("/")
    if (
        len(parts) < _ROOT_PARTS
        or parts[0] != "projects"
        or parts[2] != "databases"
        or parts[4] != "documents"
        or not parts[1]
        or not parts[3]
    ):
        raise invalid_argument(f'Document name "{name}" lacks "projects" at index 0.')
    segments = parts[_ROOT_PARTS:]
    for segment in segments:
        check_id(segment, name)
    for collection in segments[::2]:
        check_collection_id(collection)
    if len(segments) > 2 * MAX_PATH_DOCUMENTS:
        raise invalid_argument(
            f"Key path is too long. Cannot exceed {MAX_PATH_DOCUMENTS} elements."
        )
    if len(name.encode()) > MAX_PATH_BYTES:
        raise invalid_argument(f"Document name is longer than {MAX_PATH_BYTES} bytes.")
    return "/".join(parts[:4]), segments


def check_id(segment: str, name: str) -> None:
    """Refuse ids that Firestore does not allow; ``name`` is for the message.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if not segment:
        raise invalid_argument(f'Document name "{name}" has invalid empty segment.')
    if segment in {".", ".."}:
        raise invalid_argument(f'Resource id "{segment}" is invalid in "{name}".')
    if segment.startswith("__") and _RESERVED.fullmatch(segment):
        if not _NUMERIC_ID.fullmatch(segment):
            raise invalid_argument(f'Resource id "{segment}" is invalid because it is reserved.')
    elif len(segment) * 4 > MAX_ID_BYTES and len(segment.encode()) > MAX_ID_BYTES:
        raise invalid_argument(f"Resource id is longer than {MAX_ID_BYTES} bytes.")


def check_collection_id(collection_id: str) -> None:
    """Refuse ids that only documents may have, and ids that are paths.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if "/" in collection_id:
        raise invalid_argument(
            f'Collection id "{collection_id}" is invalid because it contains "/".'
        )
    if collection_id.startswith("__") and _RESERVED.fullmatch(collection_id):
        raise invalid_argument(
            f'Collection id "{collection_id}" is invalid because it is reserved.'
        )


@lru_cache(maxsize=16384)
def parse_document_name(name: str) -> DocumentName:
    """Parse the name of a document.

    Raises:
        StatusError: INVALID_ARGUMENT when it is not one.
    """
    database, segments = split_name(name)
    if not segments or len(segments) % 2:
        raise invalid_argument(
            f'Document name "{name}" must have an even number of segments below "documents".'
        )
    path = "/".join(segments[:-1])
    return DocumentName(CollectionPath(database, path), segments[-1])


@lru_cache(maxsize=4096)
def parse_parent(parent: str) -> tuple[str, str]:
    """Parse the parent of a collection: the database, and a document path or nothing.

    Raises:
        StatusError: INVALID_ARGUMENT when it names a collection or nothing at all.
    """
    database, segments = split_name(parent)
    if len(segments) % 2:
        raise invalid_argument(f'Parent "{parent}" does not name a document or the root.')
    return database, "/".join(segments)


def encode_id(segment: str) -> bytes:
    """Return bytes that sort as the id sorts and from which :func:`decode_id` restores it."""
    if segment.startswith("__") and (match := _NUMERIC_ID.fullmatch(segment)):
        return _NUMERIC + struct.pack(">Q", (int(match[1]) + _INT64_BIAS) & (2 * _INT64_BIAS - 1))
    return _TEXT + segment.encode()


def decode_id(key: bytes) -> str:
    """Return the id that :func:`encode_id` encoded."""
    if key[:1] == _NUMERIC:
        return f"__id{struct.unpack('>Q', key[1:])[0] - _INT64_BIAS}__"
    return key[1:].decode()


def encode_segment(segment: str) -> bytes:
    """Like :func:`encode_id`, and no encoding is the beginning of another's."""
    key = encode_id(segment)
    if key[:1] == _NUMERIC:
        return key
    if b"\x00" in key:
        key = key.replace(b"\x00", b"\x00\xff")
    return key + b"\x00\x01"
