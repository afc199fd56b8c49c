"""XML multipart uploads: rows of uploads and of their parts, which survive a restart.

https://cloud.google.com/storage/docs/multipart-uploads
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from continuon_local.database import transaction
from continuon_local.storage.errors import StorageError
from continuon_local.storage.records import timestamp

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from continuon_local.clock import Clock
    from continuon_local.storage.bodies import Digests

__all__ = ["Part", "Upload", "UploadParts", "no_such_upload"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS multipart_uploads (
    id TEXT PRIMARY KEY,
    bucket TEXT NOT NULL,
    name TEXT NOT NULL,
    created TEXT NOT NULL,
    fields TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS multipart_parts (
    upload_id TEXT NOT NULL REFERENCES multipart_uploads (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    body_id TEXT NOT NULL,
    size INTEGER NOT NULL,
    md5 BLOB NOT NULL,
    created TEXT NOT NULL,
    PRIMARY KEY (upload_id, number)
);
"""


@dataclass(frozen=True)
class Upload:
    """An upload that is under way; ``fields`` are those of the object it will be."""

    id: str
    bucket: str
    name: str
    created: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """One part; ``size`` is in bytes."""

    number: int
    body_id: str
    size: int
    md5: bytes
    created: str

    @property
    def entity_tag(self) -> str:
        """What the client repeats to complete the upload."""
        return f'"{self.md5.hex()}"'


def no_such_upload() -> StorageError:
    """Return the refusal of a request that names no upload."""
    message = "The requested upload was not found."
    return StorageError(404, "notFound", "NoSuchUpload", message)


class UploadParts:
    """All XML multipart uploads of the service."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        connection.executescript(_SCHEMA)

    def body_ids(self) -> set[str]:
        """Return the files that belong to parts."""
        return {row[0] for row in self._connection.execute("SELECT body_id FROM multipart_parts")}

    def begin(self, bucket: str, name: str, fields: Mapping[str, Any]) -> Upload:
        """Open an upload."""
        created = timestamp(self._clock.now())
        upload = Upload(secrets.token_urlsafe(48), bucket, name, created, fields)
        with transaction(self._connection):
            self._connection.execute(
                "INSERT INTO multipart_uploads VALUES (?, ?, ?, ?, ?)",
                (upload.id, bucket, name, created, json.dumps(dict(fields))),
            )
        return upload

    def get(self, upload_id: str, bucket: str, name: str) -> Upload:
        """Return an upload.

        Raises:
            StorageError: There is none of this object (404).
        """
        row = self._connection.execute(
            "SELECT * FROM multipart_uploads WHERE id = ? AND bucket = ? AND name = ?",
            (upload_id, bucket, name),
        ).fetchone()
        if row is None:
            raise no_such_upload()
        return _upload(row)

    def of_bucket(self, bucket: str, prefix: str = "") -> list[Upload]:
        """Return the uploads to a bucket, by name and then by age."""
        rows = self._connection.execute(
            "SELECT * FROM multipart_uploads WHERE bucket = ? AND substr(name, 1, ?) = ?"
            " ORDER BY name, created",
            (bucket, len(prefix), prefix),
        )
        return [_upload(row) for row in rows]

    def parts(self, upload_id: str) -> list[Part]:
        """Return the parts of an upload in order."""
        rows = self._connection.execute(
            "SELECT number, body_id, size, md5, created FROM multipart_parts"
            " WHERE upload_id = ? ORDER BY number",
            (upload_id,),
        )
        return [Part(*row) for row in rows]

    def put(self, upload: Upload, number: int, body_id: str, digests: Digests) -> list[str]:
        """Store a part, or replace it; return the bodies that are not needed any more.

        Raises:
            StorageError: The upload ended meanwhile (404).
        """
        created = timestamp(self._clock.now())
        with transaction(self._connection):
            self.get(upload.id, upload.bucket, upload.name)
            old = [part.body_id for part in self.parts(upload.id) if part.number == number]
            self._connection.execute(
                "INSERT OR REPLACE INTO multipart_parts VALUES (?, ?, ?, ?, ?, ?)",
                (upload.id, number, body_id, digests.size, digests.md5, created),
            )
        return old

    def end(self, upload: Upload) -> list[str]:
        """Forget an upload; return the bodies of its parts."""
        with transaction(self._connection):
            return self.end_within(upload)

    def end_within(self, upload: Upload) -> list[str]:
        """Forget an upload in the transaction that is open; return the bodies of its parts.

        Raises:
            StorageError: It ended meanwhile (404).
        """
        bodies = [part.body_id for part in self.parts(upload.id)]
        ended = self._connection.execute(
            "DELETE FROM multipart_uploads WHERE id = ?", (upload.id,)
        ).rowcount
        if not ended:
            raise no_such_upload()
        return bodies


def _upload(row: tuple[Any, ...]) -> Upload:
    return Upload(row[0], row[1], row[2], row[3], json.loads(row[4]))
