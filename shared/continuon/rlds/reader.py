"""Reading a stream of chunks forward only: measured, bounded, never unpacked."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING, Final, Protocol

from continuon.rlds import codes
from continuon.rlds.errors import StopReading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WINDOW_BYTES: Final = 64 * 1024
"""Most bytes handed on at once: the memory an archive member takes."""


class Hash(Protocol):
    """The part of a hashlib object that is used here."""

    def update(self, data: bytes, /) -> None:
        """Take bytes."""

    def hexdigest(self) -> str:
        """Return the digest."""


class Measured:
    """Passes the chunks of an object on while counting and hashing them.

    Errors of the byte source itself pass through unchanged.

    Attributes:
        size: Bytes so far.
        exhausted: The source was read to its end.
    """

    def __init__(self, chunks: Iterable[bytes], limit: int) -> None:
        self._chunks = iter(chunks)
        self._limit = limit
        self._hash = hashlib.sha256()
        self.size = 0
        self.exhausted = False

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.size += len(chunk)
            if self.size > self._limit:
                message = f"the object is larger than {self._limit} bytes"
                raise StopReading(codes.ARCHIVE_TOO_LARGE, message)
            self._hash.update(chunk)
            yield chunk
        self.exhausted = True

    def drain(self) -> None:
        """Read the rest, so that the digest covers the whole object."""
        try:
            for _ in self:
                pass
        except StopReading:
            return

    def hexdigest(self) -> str | None:
        """Return the SHA-256 of the whole object, None when it was not read to its end."""
        return self._hash.hexdigest() if self.exhausted else None


class ByteReader:
    """Reads exact numbers of bytes from chunks of any size.

    Attributes:
        position: Bytes taken so far.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._chunk = b""
        self._start = 0
        self.position = 0

    def some(self, most: int) -> bytes:
        """Return between 1 and `most` bytes, or b"" at the end."""
        while self._start >= len(self._chunk):
            following = next(self._chunks, None)
            if following is None:
                return b""
            self._chunk, self._start = following, 0
        piece = self._chunk[self._start : self._start + most]
        self._start += len(piece)
        self.position += len(piece)
        return piece

    def up_to(self, count: int) -> bytes:
        """Return `count` bytes, fewer only at the end."""
        piece = self.some(count)
        if len(piece) == count or not piece:
            return piece
        pieces = [piece]
        missing = count - len(piece)
        while missing and (piece := self.some(missing)):
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def exactly(self, count: int) -> bytes:
        """Return `count` bytes.

        Raises:
            StopReading: The stream ends before.
        """
        data = self.up_to(count)
        if len(data) < count:
            raise truncated()
        return data

    def unread(self, data: bytes) -> None:
        """Put bytes back in front."""
        self._chunk = data + self._chunk[self._start :]
        self._start = 0
        self.position -= len(data)

    def window(self, count: int) -> Iterator[bytes]:
        """Iterate exactly `count` bytes in pieces.

        Raises:
            StopReading: The stream ends before.
        """
        while count:
            piece = self.some(min(count, WINDOW_BYTES))
            if not piece:
                raise truncated()
            count -= len(piece)
            yield piece


def truncated() -> StopReading:
    """Build the error of a stream that ends too early."""
    return StopReading(codes.ARCHIVE_TRUNCATED, "the archive ends too early")


def gunzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress a gzip stream of one or more members, in pieces of at most a window.

    Raises:
        StopReading: The stream is not gzip, ends early or has other bytes after it.
    """
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    started = False
    for chunk in chunks:
        data = chunk
        while data:
            if decoder.eof:
                decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
            started = True
            try:
                piece = decoder.decompress(data, WINDOW_BYTES)
            except zlib.error as error:
                raise StopReading(codes.ARCHIVE_INVALID, f"gzip: {error}") from error
            data = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
            if piece:
                yield piece
    while not decoder.eof and (piece := _rest(decoder)):
        yield piece
    if not started or not decoder.eof:
        raise truncated()


def _rest(decoder: zlib._Decompress) -> bytes:
    """Take output the decoder still holds after its last input."""
    try:
        return decoder.decompress(b"", WINDOW_BYTES)
    except zlib.error as error:
        raise StopReading(codes.ARCHIVE_INVALID, f"gzip: {error}") from error
