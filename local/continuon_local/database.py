"""How every service of the local cloud opens its SQLite file.

One service owns one database file and one connection. Write-ahead logging with a full fsync on
commit means that whatever a service has acknowledged is still there after ``kill -9``.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["open_database", "transaction"]


def open_database(path: Path | None) -> sqlite3.Connection:
    """Open ``path`` durably, or a private in-memory database where ``path`` is None.

    The connection is in autocommit mode: writes belong inside :func:`transaction`.
    """
    connection = sqlite3.connect(
        ":memory:" if path is None else path, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA busy_timeout = 5000")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Run a block as one immediate write transaction; roll back when it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        # A full disk may fail the commit itself; SQLite has rolled back by itself or has not.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
