"""One process at a time."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from continuon_cloud.errors import QueueError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Lock", "QueueBusyError"]


class QueueBusyError(QueueError):
    """Another process of this home works on the queue."""

    code = "queue.busy"


class Lock:
    """A lock between processes that the operating system frees when its holder dies.

    It is SQLite's own file lock on an empty database, which works alike on every platform.
    """

    def __init__(self, path: Path, *, timeout_s: float = 0.0) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> None:
        connection = sqlite3.connect(self._path, timeout=self._timeout_s, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            connection.close()
            raise QueueBusyError(
                "another process of this home works on the queue",
                hint="Wait for it, or look with: continuon queue list",
            ) from error
        self._connection = connection

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
