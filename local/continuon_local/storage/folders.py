"""Managed folders: names in a bucket that listings may show as prefixes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.database import transaction
from continuon_local.storage.errors import StorageError
from continuon_local.storage.fields import check_name
from continuon_local.storage.records import timestamp

if TYPE_CHECKING:
    import sqlite3

    from continuon_local.clock import Clock

__all__ = ["Folders"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS managed_folders (
    bucket TEXT NOT NULL,
    name TEXT NOT NULL,
    created TEXT NOT NULL,
    PRIMARY KEY (bucket, name)
)
"""


class Folders:
    """The managed folders of all buckets; a folder is its name, with a slash at the end."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        connection.execute(_SCHEMA)

    def under(self, bucket: str, prefix: str) -> list[tuple[str, str]]:
        """Return the folders whose names begin with ``prefix``, and when they were made."""
        rows = self._connection.execute(
            "SELECT name, created FROM managed_folders"
            " WHERE bucket = ? AND substr(name, 1, ?) = ? ORDER BY name",
            (bucket, len(prefix), prefix),
        )
        return [(row[0], row[1]) for row in rows]

    def get(self, bucket: str, name: str) -> tuple[str, str]:
        """Return one folder.

        Raises:
            StorageError: There is none (404).
        """
        row = self._connection.execute(
            "SELECT name, created FROM managed_folders WHERE bucket = ? AND name = ?",
            (bucket, _complete(name)),
        ).fetchone()
        if row is None:
            message = "The specified managed folder does not exist."
            raise StorageError(404, "notFound", "NotFound", message)
        return row[0], row[1]

    def add(self, bucket: str, name: str) -> tuple[str, str]:
        """Make a folder.

        Raises:
            StorageError: The name is not valid (400) or taken (409).
        """
        check_name(name)
        created = timestamp(self._clock.now())
        with transaction(self._connection):
            added = self._connection.execute(
                "INSERT OR IGNORE INTO managed_folders VALUES (?, ?, ?)",
                (bucket, _complete(name), created),
            ).rowcount
        if not added:
            message = "The managed folder you tried to create already exists."
            raise StorageError(409, "conflict", "FolderAlreadyExists", message)
        return _complete(name), created

    def remove(self, bucket: str, name: str) -> None:
        """Delete a folder.

        Raises:
            StorageError: There is none (404).
        """
        with transaction(self._connection):
            self.get(bucket, name)
            self._connection.execute(
                "DELETE FROM managed_folders WHERE bucket = ? AND name = ?",
                (bucket, _complete(name)),
            )

    def forget_bucket(self, bucket: str) -> None:
        """Forget what a deleted bucket had; runs in the caller's transaction."""
        self._connection.execute("DELETE FROM managed_folders WHERE bucket = ?", (bucket,))


def _complete(name: str) -> str:
    return name if name.endswith("/") else f"{name}/"
