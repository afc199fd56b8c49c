"""A strict forward reader of tar (POSIX ustar and pax, GNU long names).

The standard library's reader accepts an archive without its end mark, holds headers of any size in
memory and follows links; a robot's upload may be any of these on purpose or by accident.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from continuon.rlds import codes
from continuon.rlds.episode import EpisodeMember
from continuon.rlds.errors import StopReading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from continuon.rlds.reader import ByteReader

BLOCK: Final = 512
MAX_EXTENSION_BYTES: Final = 64 * 1024
"""A pax or long-name header; it only has to hold one name."""
_FILE_TYPES: Final = b"0\x007"
_FOLDER: Final = b"5"
_OCTAL: Final = re.compile(rb" *([0-7]*)[ \x00]*")
_PAX_RECORD: Final = re.compile(rb"(\d{1,9}) ([^=\n]+)=")


class _Header(NamedTuple):
    kind: bytes
    name: bytes
    size: int


class _Overrides:
    """Name and size that extension headers give to the next file."""

    def __init__(self) -> None:
        self.name: bytes | None = None
        self.size: int | None = None


def read_tar(reader: ByteReader) -> Iterator[EpisodeMember]:
    """Yield the regular files of a tar archive; each must be consumed before the next.

    Raises:
        StopReading: The archive is malformed, ends early, or holds a link or device.
    """
    overrides = _Overrides()
    while (header := _next_header(reader)) is not None:
        if header.kind in {b"x", b"L"}:
            _extend(reader, header, overrides)
        elif header.kind == b"g":
            _skip_extension(reader, header)
        else:
            yield from _member(reader, header, overrides)
            overrides = _Overrides()
    _check_padding(reader)


def _next_header(reader: ByteReader) -> _Header | None:
    block = reader.exactly(BLOCK)
    if not any(block):
        if any(reader.exactly(BLOCK)):
            raise StopReading(codes.ARCHIVE_INVALID, "tar: a lone zero block")
        return None
    _check_sum(block)
    name = block[:100].split(b"\x00", 1)[0]
    if block[257:263] == b"ustar\x00" and (prefix := block[345:500].split(b"\x00", 1)[0]):
        name = prefix + b"/" + name
    return _Header(block[156:157], name, _number(block[124:136]))


def _check_sum(block: bytes) -> None:
    expected = _number(block[148:156])
    if sum(block[:148]) + sum(block[156:]) + 8 * ord(" ") != expected:
        raise StopReading(codes.ARCHIVE_INVALID, "tar: a header's checksum is wrong")


def _number(field: bytes) -> int:
    if field[0] == 0x80:  # noqa: PLR2004 - base-256, for sizes beyond 8 GiB
        return int.from_bytes(field[1:])
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise StopReading(codes.ARCHIVE_INVALID, "tar: a number is malformed")
    return int(match[1] or b"0", 8)


def _extension(reader: ByteReader, header: _Header) -> bytes:
    if header.size > MAX_EXTENSION_BYTES:
        raise StopReading(codes.ARCHIVE_UNSUPPORTED, "tar: an extension header is too large")
    data = reader.exactly(header.size)
    reader.exactly(-header.size % BLOCK)
    return data


def _skip_extension(reader: ByteReader, header: _Header) -> None:
    if {b"path", b"size", b"linkpath"} & _pax(_extension(reader, header)).keys():
        raise StopReading(codes.ARCHIVE_UNSUPPORTED, "tar: a global header renames files")


def _extend(reader: ByteReader, header: _Header, overrides: _Overrides) -> None:
    data = _extension(reader, header)
    if header.kind == b"L":
        overrides.name = data.split(b"\x00", 1)[0]
        return
    records = _pax(data)
    overrides.name = records.get(b"path", overrides.name)
    if any(key.startswith(b"GNU.sparse") for key in records):
        raise StopReading(codes.ARCHIVE_UNSUPPORTED, "tar: sparse files are not supported")
    if b"size" in records:
        if not records[b"size"].isdigit() or len(records[b"size"]) > 20:  # noqa: PLR2004 - 2^64
            raise StopReading(codes.ARCHIVE_INVALID, "tar: a pax size is malformed")
        overrides.size = int(records[b"size"])


def _pax(data: bytes) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    start = 0
    while start < len(data):
        match = _PAX_RECORD.match(data, start)
        end = start + int(match[1]) if match else 0
        if match is None or end > len(data) or end <= match.end() or data[end - 1 : end] != b"\n":
            raise StopReading(codes.ARCHIVE_INVALID, "tar: a pax record is malformed")
        records[match[2]] = data[match.end() : end - 1]
        start = end
    return records


def _member(reader: ByteReader, header: _Header, overrides: _Overrides) -> Iterator[EpisodeMember]:
    name = overrides.name if overrides.name is not None else header.name
    size = header.size if overrides.size is None else overrides.size
    path = _decode(name)
    if header.kind == _FOLDER or (header.kind in {b"0", b"\x00"} and path.endswith("/")):
        if size:
            raise StopReading(codes.ARCHIVE_INVALID, "tar: a folder with content")
        yield EpisodeMember(path.removesuffix("/") + "/", 0, ())
        return
    if header.kind not in {b"0", b"\x00", b"7"}:
        message = "links and devices are refused"
        raise StopReading(codes.ARCHIVE_MEMBER_UNSAFE, message, file=path[:200])
    window = reader.window(size)
    yield EpisodeMember(path, size, window)
    for _ in window:
        pass
    reader.exactly(-size % BLOCK)


def _decode(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise StopReading(codes.ARCHIVE_MEMBER_UNSAFE, "tar: a name is not UTF-8") from error


def _check_padding(reader: ByteReader) -> None:
    """After the end mark only zeros may follow, up to the writer's record size."""
    while piece := reader.some(BLOCK):
        if any(piece):
            raise StopReading(codes.ARCHIVE_INVALID, "tar: bytes after the end mark")
