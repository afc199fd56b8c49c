"""A body that grows over several requests."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from continuon_local.storage.bodies import Digests, Hasher

__all__ = ["PartialBody", "catch_up"]

_BLOCK_BYTES = 1 << 20


class PartialBody:
    """Appends to the body of a resumable session.

    Args:
        path: The file; made when it does not exist.
        size: How many of its bytes count; what is behind them is overwritten.
        hasher: Fed as well where it has seen exactly these bytes, else left alone.
    """

    def __init__(self, path: Path, size: int, hasher: Hasher) -> None:
        self._path = path
        self._start = size
        self._hasher = hasher if hasher.size == size else None
        self._file: BinaryIO | None = None
        self._pending = bytearray()
        # A cancelled request leaves its worker thread running; the next step waits for it here.
        self._turn = threading.Lock()
        self._written = size
        self.size = size
        self.unsynchronised = 0

    async def write(self, data: bytes) -> None:
        """Append ``data``."""
        self._pending += data
        self.size += len(data)
        self.unsynchronised += len(data)
        if len(self._pending) >= _BLOCK_BYTES:
            await asyncio.to_thread(self._flush)

    async def synchronise(self) -> int:
        """Force everything to the disk and return the size that is now safe."""
        return await asyncio.to_thread(self._synchronise)

    async def close(self) -> int:
        """Synchronise, close the file, and return its size."""
        return await asyncio.to_thread(self._close)

    def _flush(self) -> None:
        with self._turn:
            self._write_pending()

    def _write_pending(self) -> None:
        pending, self._pending = self._pending, bytearray()
        file = self._opened()
        view = memoryview(pending)
        while view:
            view = view[file.write(view) or 0 :]
        view.release()
        self._written += len(pending)
        if self._hasher is not None:
            self._hasher.update(pending)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            self._file = os.fdopen(descriptor, "r+b", buffering=0)
            self._file.truncate(self._start)
            self._file.seek(self._start)
        return self._file

    def _synchronise(self) -> int:
        with self._turn:
            self._write_pending()
            os.fsync(self._opened().fileno())
            self.unsynchronised = 0
            return self._written

    def _close(self) -> int:
        try:
            return self._synchronise()
        finally:
            if self._file is not None:
                self._file.close()


def catch_up(hasher: Hasher, path: Path, size: int) -> Digests:
    """Hash what ``hasher`` has not seen of the first ``size`` bytes of a file.

    Raises:
        OSError: The file is shorter than that.
    """
    path.touch()
    with path.open("rb") as file:
        file.seek(hasher.size)
        while hasher.size < size:
            block = file.read(min(_BLOCK_BYTES, size - hasher.size))
            if not block:
                raise OSError(f"{path} is shorter than its session")
            hasher.update(block)
    return hasher.digests()
