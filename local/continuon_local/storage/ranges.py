"""Byte ranges: of downloads (``Range``) and of resumable uploads (``Content-Range``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from continuon_local.storage.errors import StorageError, invalid

__all__ = ["ByteRange", "ContentRange", "parse_content_range", "parse_range"]

_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]+)-([0-9]+)|\*)/([0-9]+|\*)", re.ASCII)


@dataclass(frozen=True)
class ByteRange:
    """``length`` bytes from offset ``start``."""

    start: int
    length: int


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Read a ``Range`` header against a body of ``size`` bytes.

    None means the whole body: there is no header, or one that RFC 9110 says to ignore (another
    unit, a malformed range) or that the service does not honour (several ranges).

    Raises:
        StorageError: No byte of the body is in the range (416).
    """
    match = _RANGE.fullmatch((header or "").strip().replace(" ", ""))
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        length = min(int(match[2]), size)
        start, end = size - length, size - 1
    else:
        start = int(match[1])
        end = min(int(match[2]) if match[2] else size - 1, size - 1)
        if match[2] and int(match[2]) < start:
            return None
    if start > end:
        raise StorageError(
            416,
            "requestedRangeNotSatisfiable",
            "InvalidRange",
            "The requested range cannot be satisfied.",
            headers={"content-range": f"bytes */{size}"},
        )
    return ByteRange(start, end - start + 1)


@dataclass(frozen=True)
class ContentRange:
    """What an upload request carries.

    Attributes:
        start: The offset of its first byte, or None for a question about the state.
        end: One past the offset of its last byte, or None likewise.
        total: The size of the whole object, or None while it is not known.
    """

    start: int | None
    end: int | None
    total: int | None


def parse_content_range(header: str) -> ContentRange:
    """Read a ``Content-Range`` header.

    Raises:
        StorageError: It is malformed or contradicts itself (400).
    """
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None:
        raise invalid(f"Failed to parse Content-Range header: {header}")
    total = None if match[3] == "*" else int(match[3])
    if match[1] is None:
        return ContentRange(None, None, total)
    start, end = int(match[1]), int(match[2]) + 1
    if end <= start or (total is not None and end > total):
        raise invalid(f"Invalid Content-Range header: {header}")
    return ContentRange(start, end, total)
