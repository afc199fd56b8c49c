"""Protobuf framing by hand, for answers that contain documents already serialized.

Stored documents go to the client as they are: no parsing, no copying field by field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.firestore.times import to_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["embed", "found_document", "missing_document", "query_response"]

_CONTINUES = 0x80
_LENGTH_DELIMITED = 2


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= _CONTINUES:
        out.append(number & 0x7F | _CONTINUES)
        number >>= 7
    out.append(number)
    return bytes(out)


def embed(field_number: int, payload: bytes) -> bytes:
    """Return ``payload`` as the length-delimited field with a number."""
    return _varint(field_number << 3 | _LENGTH_DELIMITED) + _varint(len(payload)) + payload


def _time_field(field_number: int, microseconds: int) -> bytes:
    return embed(field_number, to_timestamp(microseconds).SerializeToString())


def _joined(parts: Iterable[bytes]) -> bytes:
    return b"".join(parts)


def found_document(data: bytes, read_time: int, transaction: bytes) -> bytes:
    """Return a ``BatchGetDocumentsResponse`` with a document."""
    opened = embed(3, transaction) if transaction else b""
    return _joined((embed(1, data), opened, _time_field(4, read_time)))


def missing_document(name: str, read_time: int, transaction: bytes) -> bytes:
    """Return a ``BatchGetDocumentsResponse`` for a document that does not exist."""
    opened = embed(3, transaction) if transaction else b""
    return _joined((embed(2, name.encode()), opened, _time_field(4, read_time)))


def query_response(data: bytes, read_time: int) -> bytes:
    """Return a ``RunQueryResponse`` with a document."""
    return _joined((embed(1, data), _time_field(3, read_time)))
