"""A strict forward reader of zip: local headers first, then the central directory must agree.

A zip read forward and a zip read from its directory can be two different archives; robots and
training tools read the directory, so one whose two halves differ is refused.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from continuon.rlds import codes
from continuon.rlds.episode import EpisodeMember
from continuon.rlds.errors import StopReading
from continuon.rlds.reader import WINDOW_BYTES, ByteReader, truncated

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCAL: Final = b"PK\x03\x04"
_CENTRAL: Final = b"PK\x01\x02"
_END64: Final = b"PK\x06\x06"
_LOCATOR64: Final = b"PK\x06\x07"
_END: Final = b"PK\x05\x06"
_DESCRIPTOR: Final = b"PK\x07\x08"
_STORED, _DEFLATED = 0, 8
_FLAG_DESCRIPTOR: Final = 0x08
_FLAGS_ALLOWED: Final = 0x0806 | _FLAG_DESCRIPTOR
"""Compression level hints, data descriptor, UTF-8 names. Not: encryption, patches."""
_MAX32: Final = 0xFFFFFFFF
_ZIP64_EXTRA: Final = 1
_UNIX: Final = 3
_TYPE_MASK, _REGULAR, _FOLDER = 0o170000, 0o100000, 0o040000


class _Entry(NamedTuple):
    """What the two halves must agree on."""

    name: bytes
    method: int
    crc: int
    packed: int
    size: int
    offset: int


class _Local(NamedTuple):
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    name: bytes
    is64: bool


def read_zip(reader: ByteReader, max_members: int) -> Iterator[EpisodeMember]:
    """Yield the files of a zip archive; each must be consumed before the next.

    Raises:
        StopReading: The archive is malformed, ends early, uses a feature that cannot be read
            forward, holds a link, or its directory disagrees with its members.
    """
    entries: list[_Entry] = []
    while (signature := reader.exactly(4)) == _LOCAL:
        if len(entries) > max_members:
            raise StopReading(codes.LIMITS_MEMBERS, f"more than {max_members} files")
        offset = reader.position - 4
        local = _read_local(reader)
        member = _Member(reader, local)
        yield EpisodeMember(_decode(local.name), None, member.chunks())
        entries.append(member.close(offset))
    _check_directory(reader, signature, entries)


def _read_local(reader: ByteReader) -> _Local:
    fields = struct.unpack("<5H3I2H", reader.exactly(26))
    _, flags, method, _, _, crc, packed, size, name_length, extra_length = fields
    name = reader.exactly(name_length)
    extra = reader.exactly(extra_length)
    if flags & ~_FLAGS_ALLOWED:
        raise StopReading(codes.ARCHIVE_UNSUPPORTED, "zip: encrypted or patched member")
    if method not in {_STORED, _DEFLATED}:
        raise StopReading(codes.ARCHIVE_UNSUPPORTED, f"zip: compression method {method}")
    if flags & _FLAG_DESCRIPTOR and method == _STORED:
        raise StopReading(codes.ARCHIVE_UNSUPPORTED, "zip: stored member of unknown length")
    wide = _zip64(extra)
    if _MAX32 in {packed, size} and wide is None:
        raise StopReading(codes.ARCHIVE_INVALID, "zip: a 64-bit size is missing")
    values = iter(wide or ())
    size = next(values, 0) if size == _MAX32 else size
    packed = next(values, 0) if packed == _MAX32 else packed
    return _Local(flags, method, crc, packed, size, name, wide is not None)


def _zip64(extra: bytes) -> tuple[int, ...] | None:
    """Return the 64-bit numbers of the zip64 extra field, None without one."""
    start = 0
    while start + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, start)
        start += 4
        if start + length > len(extra):
            raise StopReading(codes.ARCHIVE_INVALID, "zip: an extra field is too long")
        if kind == _ZIP64_EXTRA:
            count = min(length // 8, 3)
            return struct.unpack_from(f"<{count}Q", extra, start)
        start += length
    return None


class _Member:
    """The data of one member, and what was really found in it."""

    def __init__(self, reader: ByteReader, local: _Local) -> None:
        self._reader = reader
        self._local = local
        self._crc = 0
        self._size = 0
        self._packed = 0
        self._chunks = self._read()

    def chunks(self) -> Iterator[bytes]:
        """Iterate the unpacked bytes."""
        return self._chunks

    def _read(self) -> Iterator[bytes]:
        source = self._stored() if self._local.method == _STORED else self._inflate()
        for piece in source:
            self._crc = zlib.crc32(piece, self._crc)
            self._size += len(piece)
            yield piece

    def _stored(self) -> Iterator[bytes]:
        self._packed = self._local.packed
        return self._reader.window(self._local.packed)

    def _inflate(self) -> Iterator[bytes]:
        decoder = zlib.decompressobj(-zlib.MAX_WBITS)
        start = self._reader.position
        while not decoder.eof:
            data = decoder.unconsumed_tail or self._reader.some(WINDOW_BYTES)
            try:
                piece = decoder.decompress(data, WINDOW_BYTES)
            except zlib.error as error:
                raise StopReading(codes.ARCHIVE_INVALID, f"zip: {error}") from error
            if piece:
                yield piece
            elif not data:
                raise truncated()
        self._reader.unread(decoder.unused_data)
        self._packed = self._reader.position - start

    def close(self, offset: int) -> _Entry:
        """Read what is left, then compare with the header or the descriptor."""
        for _ in self._chunks:
            pass
        local = self._local
        found = (self._crc, self._packed, self._size)
        if local.flags & _FLAG_DESCRIPTOR:
            self._check_descriptor(found)
        elif found != (local.crc, local.packed, local.size):
            raise StopReading(codes.ARCHIVE_INVALID, "zip: a member's length or CRC is wrong")
        return _Entry(local.name, local.method, *found, offset)

    def _check_descriptor(self, found: tuple[int, int, int]) -> None:
        """Accept the descriptor with or without signature, with 32 or 64 bit lengths."""
        signature = self._reader.exactly(4)
        if signature != _DESCRIPTOR:
            self._reader.unread(signature)
        wide = self._local.is64 or max(found[1:]) > _MAX32
        layout = "<IQQ" if wide else "<3I"
        if struct.unpack(layout, self._reader.exactly(struct.calcsize(layout))) != found:
            raise StopReading(codes.ARCHIVE_INVALID, "zip: a data descriptor is wrong")


def _check_directory(reader: ByteReader, signature: bytes, entries: list[_Entry]) -> None:
    start = reader.position - 4
    listed: set[_Entry] = set()
    count = 0
    while signature == _CENTRAL:
        count += 1
        if count > len(entries):
            raise _disagree()
        listed.add(_read_central(reader))
        signature = reader.exactly(4)
    if count != len(entries) or listed != set(entries):
        raise _disagree()
    size = reader.position - 4 - start
    if signature == _END64:
        signature = _skip_end64(reader, (count, size, start))
    if signature != _END:
        raise StopReading(codes.ARCHIVE_INVALID, "zip: an unknown record")
    _check_end(reader, (count, size, start))


def _disagree() -> StopReading:
    return StopReading(codes.ARCHIVE_INVALID, "zip: the directory disagrees with the members")


def _read_central(reader: ByteReader) -> _Entry:
    fields = struct.unpack("<6H3I5H2I", reader.exactly(42))
    made_by, _, _, method, _, _, crc, packed, size = fields[:9]
    name_length, extra_length, comment_length, _, _, attributes, offset = fields[9:]
    name = reader.exactly(name_length)
    wide = iter(_zip64(reader.exactly(extra_length)) or ())
    reader.exactly(comment_length)
    kind = (attributes >> 16) & _TYPE_MASK if made_by >> 8 == _UNIX else 0
    if kind not in {0, _REGULAR, _FOLDER}:
        message = "links and devices are refused"
        raise StopReading(codes.ARCHIVE_MEMBER_UNSAFE, message, file=_decode(name)[:200])
    size = next(wide, 0) if size == _MAX32 else size
    packed = next(wide, 0) if packed == _MAX32 else packed
    offset = next(wide, 0) if offset == _MAX32 else offset
    return _Entry(name, method, crc, packed, size, offset)


def _skip_end64(reader: ByteReader, found: tuple[int, int, int]) -> bytes:
    (length,) = struct.unpack("<Q", reader.exactly(8))
    if not 44 <= length <= WINDOW_BYTES:  # noqa: PLR2004 - the fixed part of the record
        raise StopReading(codes.ARCHIVE_INVALID, "zip: a 64-bit end record is malformed")
    record = reader.exactly(length)
    _, _, _, _, _, count, size, start = struct.unpack_from("<2H2I4Q", record)
    if (count, size, start) != found:
        raise _disagree()
    if reader.exactly(4) != _LOCATOR64:
        raise StopReading(codes.ARCHIVE_INVALID, "zip: the 64-bit locator is missing")
    reader.exactly(16)
    return reader.exactly(4)


def _check_end(reader: ByteReader, found: tuple[int, int, int]) -> None:
    disk, _, here, count, size, start, comment = struct.unpack("<4H2IH", reader.exactly(18))
    limits = (0xFFFF, _MAX32, _MAX32)
    for value, real, wide in zip((count, size, start), found, limits, strict=True):
        if value not in {real, wide}:
            raise _disagree()
    if disk not in {0, 0xFFFF} or here != count:
        raise StopReading(codes.ARCHIVE_UNSUPPORTED, "zip: a multi-part archive")
    reader.exactly(comment)
    if reader.some(1):
        raise StopReading(codes.ARCHIVE_INVALID, "zip: bytes after the end record")


def _decode(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise StopReading(codes.ARCHIVE_MEMBER_UNSAFE, "zip: a name is not UTF-8") from error
