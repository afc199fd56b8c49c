"""One local cloud per data folder."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from continuon_local.errors import AlreadyRunningError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DataFolderLock"]


class DataFolderLock:
    """Held while a local cloud runs; the kernel lets go of it whatever way the process ends."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            AlreadyRunningError: Another process has it.
        """
        # The folder holds a signing key and everybody's data: its owner's business only.
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise AlreadyRunningError(
                f"another local cloud uses {self._path.parent}; stop it, or choose another folder"
                " with --data-dir"
            ) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go of the lock. Safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
