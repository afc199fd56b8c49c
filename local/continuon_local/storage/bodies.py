"""Object bodies: one file each, written and hashed as the bytes arrive, in constant memory.

A body file is complete and synchronised before the metadata transaction that makes it visible.
A file that no row refers to is the trace of a crash and is swept when the service starts.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import google_crc32c

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Container, Iterable, Sequence
    from pathlib import Path

__all__ = ["Bodies", "BodyWriter", "Digests", "Hasher", "read_slice"]

# Bytes gathered before they go to a worker thread: large enough to make the hand-over cheap,
# small enough that a hundred transfers at once stay under 200 MB.
_BLOCK_BYTES = 1 << 20

# Bytes read at a time for a download.
_READ_BYTES = 512 << 10


@dataclass(frozen=True, kw_only=True)
class Digests:
    """The size in bytes and the checksums of a body; None is "not computed"."""

    size: int
    md5: bytes | None
    crc32c: int
    sha256: str | None = None


class Hasher:
    """Size, MD5, CRC32C and, where asked, SHA-256 of bytes that are fed in order."""

    def __init__(self, *, sha256: bool = False) -> None:
        self._sha256 = hashlib.sha256() if sha256 else None
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32c = 0

    def update(self, data: bytes | bytearray) -> None:
        """Take the next bytes."""
        self._md5.update(data)
        self._crc32c = google_crc32c.extend(self._crc32c, bytes(data))
        if self._sha256 is not None:
            self._sha256.update(data)
        self.size += len(data)

    def digests(self) -> Digests:
        """Return what was computed so far."""
        sha256 = None if self._sha256 is None else self._sha256.hexdigest()
        return Digests(size=self.size, md5=self._md5.digest(), crc32c=self._crc32c, sha256=sha256)


class BodyWriter:
    """A body that is being received. Close it with :meth:`finish` or :meth:`abandon`."""

    def __init__(self, body_id: str, path: Path, hasher: Hasher, *, durable: bool) -> None:
        self.body_id = body_id
        self._path = path
        self._durable = durable
        self._file: BinaryIO | None = None
        self._pending = bytearray()
        self._hasher = hasher
        # A cancelled request leaves its worker thread running; the next step waits for it here.
        self._turn = threading.Lock()
        self.received = 0

    async def write(self, data: bytes) -> None:
        """Append ``data``."""
        self._pending += data
        self.received += len(data)
        if len(self._pending) >= _BLOCK_BYTES:
            await asyncio.to_thread(self._flush)

    async def finish(self) -> Digests:
        """Write what is left, synchronise the file to the disk, and return its checksums."""
        return await asyncio.to_thread(self._finish)

    async def abandon(self) -> None:
        """Remove the file."""
        await asyncio.to_thread(self._abandon)

    def _flush(self) -> None:
        with self._turn:
            self._write_pending()

    def _write_pending(self) -> None:
        if self._file is None:
            self._file = self._path.open("xb", buffering=0)
        view = memoryview(self._pending)
        while view:
            written = self._file.write(view)
            view = view[written or 0 :]
        view.release()
        self._hasher.update(self._pending)
        self._pending = bytearray()

    def _finish(self) -> Digests:
        self._flush()
        if self._file is not None:
            if self._durable:
                os.fsync(self._file.fileno())
            self._file.close()
        if self._durable:
            _sync_folder(self._path.parent)
        return self._hasher.digests()

    def _abandon(self) -> None:
        with self._turn:
            if self._file is not None:
                self._file.close()
            self._path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Bodies:
    """The folder of body files."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._folder = folder
        self._durable = durable

    def prepare(self, known: Container[str]) -> None:
        """Make the folder and remove files that ``known`` does not name."""
        for digit in "0123456789abcdef":
            (self._folder / digit).mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob("?/*"):
            if path.name not in known:
                path.unlink(missing_ok=True)

    def path(self, body_id: str) -> Path:
        """Return the file of ``body_id``."""
        return self._folder / body_id[0] / body_id

    @property
    def durable(self) -> bool:
        """Whether files outlive the process, and are therefore synchronised."""
        return self._durable

    def new_id(self) -> str:
        """Return an unused, unguessable name."""
        return uuid.uuid4().hex

    def create(self, *, sha256: bool = False) -> BodyWriter:
        """Begin a new body; ``sha256`` has that digest computed as well."""
        body_id = self.new_id()
        hasher = Hasher(sha256=sha256)
        return BodyWriter(body_id, self.path(body_id), hasher, durable=self._durable)

    def open(self, body_id: str) -> BinaryIO:
        """Open a body to read; it stays readable even when the object is deleted meanwhile."""
        return self.path(body_id).open("rb")

    async def discard(self, body_ids: Iterable[str]) -> None:
        """Remove files that no row refers to any more."""
        doomed = list(body_ids)
        if doomed:
            await asyncio.to_thread(self._unlink, doomed)

    def _unlink(self, body_ids: Iterable[str]) -> None:
        for body_id in body_ids:
            self.path(body_id).unlink(missing_ok=True)

    async def concatenate(self, sources: Sequence[BinaryIO]) -> tuple[str, Digests]:
        """Write the bytes of ``sources`` one after the other as a new body; close them."""
        writer = self.create()
        try:
            for source in sources:
                while block := await asyncio.to_thread(source.read, _BLOCK_BYTES):
                    await writer.write(block)
            return writer.body_id, await writer.finish()
        except BaseException:
            await writer.abandon()
            raise
        finally:
            for source in sources:
                source.close()


async def read_slice(file: BinaryIO, start: int, length: int) -> AsyncIterator[bytes]:
    """Yield ``length`` bytes of ``file`` from ``start``, and close it."""
    try:
        file.seek(start)
        while length > 0:
            block = await asyncio.to_thread(file.read, min(_READ_BYTES, length))
            if not block:
                raise OSError(f"{file.name} is shorter than its object")
            length -= len(block)
            yield block
    finally:
        file.close()
