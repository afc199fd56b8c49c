"""The rows of buckets and object generations in SQLite.

Everything here runs inside the caller's transaction or is one read; decisions are made above.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from continuon_local.storage.records import BucketRecord, ObjectRecord

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator
    from datetime import datetime

__all__ = ["Store"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    metageneration INTEGER NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL,
    fields TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL REFERENCES buckets (name),
    name TEXT NOT NULL,
    generation INTEGER NOT NULL,
    metageneration INTEGER NOT NULL,
    size INTEGER NOT NULL,
    md5 BLOB,
    crc32c INTEGER NOT NULL,
    body_id TEXT NOT NULL,
    component_count INTEGER,
    fields TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL,
    class_updated TEXT NOT NULL,
    deleted TEXT,
    PRIMARY KEY (bucket, name, generation)
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS live_objects ON objects (bucket, name) WHERE deleted IS NULL;
CREATE INDEX IF NOT EXISTS object_bodies ON objects (body_id);
CREATE TABLE IF NOT EXISTS soft_deleted (
    bucket TEXT NOT NULL,
    name TEXT NOT NULL,
    generation INTEGER NOT NULL,
    metageneration INTEGER NOT NULL,
    size INTEGER NOT NULL,
    md5 BLOB,
    crc32c INTEGER NOT NULL,
    body_id TEXT NOT NULL,
    component_count INTEGER,
    fields TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL,
    class_updated TEXT NOT NULL,
    deleted TEXT,
    hard_delete TEXT NOT NULL,
    PRIMARY KEY (bucket, name, generation)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS soft_deleted_bodies ON soft_deleted (body_id);
CREATE TABLE IF NOT EXISTS last_generation (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    value INTEGER NOT NULL
);
INSERT OR IGNORE INTO last_generation VALUES (1, 0);
"""

_BUCKET_COLUMNS = "name, project_id, generation, metageneration, created, updated, fields"
_OBJECT_COLUMNS = (
    "bucket, name, generation, metageneration, size, md5, crc32c, body_id, component_count,"
    " fields, created, updated, class_updated, deleted"
)


def _bucket(row: tuple[Any, ...]) -> BucketRecord:
    return BucketRecord(
        name=row[0],
        project_id=row[1],
        generation=row[2],
        metageneration=row[3],
        created=row[4],
        updated=row[5],
        fields=json.loads(row[6]),
    )


def _object(row: tuple[Any, ...]) -> ObjectRecord:
    return ObjectRecord(
        bucket=row[0],
        name=row[1],
        generation=row[2],
        metageneration=row[3],
        size=row[4],
        md5=row[5],
        crc32c=row[6],
        body_id=row[7],
        component_count=row[8],
        fields=json.loads(row[9]),
        created=row[10],
        updated=row[11],
        class_updated=row[12],
        deleted=row[13],
    )


def _object_values(record: ObjectRecord) -> tuple[Any, ...]:
    return (
        record.bucket,
        record.name,
        record.generation,
        record.metageneration,
        record.size,
        record.md5,
        record.crc32c,
        record.body_id,
        record.component_count,
        json.dumps(dict(record.fields)),
        record.created,
        record.updated,
        record.class_updated,
        record.deleted,
    )


class Store:
    """Typed access to the service's tables."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        connection.executescript(_SCHEMA)

    def next_generation(self, now: datetime) -> int:
        """Return a number in microseconds that is larger than every one before it."""
        row = self.connection.execute(
            "UPDATE last_generation SET value = max(value + 1, ?) RETURNING value",
            (int(now.timestamp() * 1_000_000),),
        ).fetchone()
        return int(row[0])

    def bucket(self, name: str) -> BucketRecord | None:
        """Return a bucket, or None."""
        row = self.connection.execute(
            f"SELECT {_BUCKET_COLUMNS} FROM buckets WHERE name = ?",  # noqa: S608 - constants
            (name,),
        ).fetchone()
        return None if row is None else _bucket(row)

    def buckets(self, project_id: str, prefix: str, after: str, limit: int) -> list[BucketRecord]:
        """Return up to ``limit`` buckets of a project, by name, behind ``after``."""
        rows = self.connection.execute(
            f"SELECT {_BUCKET_COLUMNS} FROM buckets"  # noqa: S608 - constants
            " WHERE project_id = ? AND name > ? AND substr(name, 1, ?) = ? ORDER BY name LIMIT ?",
            (project_id, after, len(prefix), prefix, limit),
        )
        return [_bucket(row) for row in rows]

    def put_bucket(self, bucket: BucketRecord) -> None:
        """Insert or replace a bucket."""
        self.connection.execute(
            f"INSERT INTO buckets ({_BUCKET_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
            " ON CONFLICT (name) DO UPDATE SET metageneration = excluded.metageneration,"
            " updated = excluded.updated, fields = excluded.fields",
            (
                bucket.name,
                bucket.project_id,
                bucket.generation,
                bucket.metageneration,
                bucket.created,
                bucket.updated,
                json.dumps(dict(bucket.fields)),
            ),
        )

    def delete_bucket(self, name: str) -> None:
        """Remove an empty bucket."""
        self.connection.execute("DELETE FROM buckets WHERE name = ?", (name,))

    def has_objects(self, bucket: str) -> bool:
        """Say whether the bucket holds any version of any object."""
        row = self.connection.execute(
            "SELECT 1 FROM objects WHERE bucket = ? LIMIT 1", (bucket,)
        ).fetchone()
        return row is not None

    def live(self, bucket: str, name: str) -> ObjectRecord | None:
        """Return the live version of an object, or None."""
        row = self.connection.execute(
            f"SELECT {_OBJECT_COLUMNS} FROM objects"  # noqa: S608 - constants
            " WHERE bucket = ? AND name = ? AND deleted IS NULL",
            (bucket, name),
        ).fetchone()
        return None if row is None else _object(row)

    def version(self, bucket: str, name: str, generation: int) -> ObjectRecord | None:
        """Return one generation of an object, live or not, or None."""
        row = self.connection.execute(
            f"SELECT {_OBJECT_COLUMNS} FROM objects"  # noqa: S608 - constants
            " WHERE bucket = ? AND name = ? AND generation = ?",
            (bucket, name, generation),
        ).fetchone()
        return None if row is None else _object(row)

    def put_object(self, record: ObjectRecord) -> None:
        """Insert a generation, or replace what was stored about it."""
        self.connection.execute(
            f"INSERT OR REPLACE INTO objects ({_OBJECT_COLUMNS})"  # noqa: S608 - constants
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            _object_values(record),
        )

    def put_soft_deleted(self, record: ObjectRecord, hard_delete: str) -> None:
        """Keep a generation that can be restored until ``hard_delete`` (RFC 3339)."""
        self.connection.execute(
            f"INSERT OR REPLACE INTO soft_deleted ({_OBJECT_COLUMNS}, hard_delete)"  # noqa: S608
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*_object_values(record), hard_delete),
        )

    def soft_deleted(self, bucket: str, name: str, generation: int) -> ObjectRecord | None:
        """Return a generation that can be restored, or None."""
        row = self.connection.execute(
            f"SELECT {_OBJECT_COLUMNS} FROM soft_deleted"  # noqa: S608 - constants
            " WHERE bucket = ? AND name = ? AND generation = ?",
            (bucket, name, generation),
        ).fetchone()
        return None if row is None else _object(row)

    def forget_soft_deleted(self, record: ObjectRecord) -> None:
        """Remove a generation that was restored."""
        self.connection.execute(
            "DELETE FROM soft_deleted WHERE bucket = ? AND name = ? AND generation = ?",
            (record.bucket, record.name, record.generation),
        )

    def drop_soft_deleted(self, moment: str) -> list[str]:
        """Remove what can no longer be restored at ``moment``; return its bodies."""
        rows = self.connection.execute(
            "DELETE FROM soft_deleted WHERE hard_delete <= ? RETURNING body_id", (moment,)
        ).fetchall()
        return [row[0] for row in rows]

    def drop_bucket_soft_deleted(self, bucket: str) -> list[str]:
        """Remove what a deleted bucket could have restored; return its bodies."""
        rows = self.connection.execute(
            "DELETE FROM soft_deleted WHERE bucket = ? RETURNING body_id", (bucket,)
        ).fetchall()
        return [row[0] for row in rows]

    def delete_object(self, record: ObjectRecord) -> None:
        """Remove one generation."""
        self.connection.execute(
            "DELETE FROM objects WHERE bucket = ? AND name = ? AND generation = ?",
            (record.bucket, record.name, record.generation),
        )

    def scan(
        self,
        bucket: str,
        start: tuple[str, int],
        *,
        versions: bool,
        limit: int,
        soft_deleted: bool = False,
    ) -> Iterator[ObjectRecord]:
        """Yield objects in order of name and generation from ``start``, itself included."""
        table = "soft_deleted" if soft_deleted else "objects"
        live_only = "" if versions or soft_deleted else " AND deleted IS NULL"
        rows = self.connection.execute(
            f"SELECT {_OBJECT_COLUMNS} FROM {table}"  # noqa: S608 - constants
            f" WHERE bucket = ? AND (name, generation) >= (?, ?){live_only}"
            " ORDER BY name, generation LIMIT ?",
            (bucket, *start, limit),
        )
        return map(_object, rows)

    def newer_versions(self, record: ObjectRecord) -> int:
        """Return how many generations of the same name are newer."""
        row = self.connection.execute(
            "SELECT count(*) FROM objects WHERE bucket = ? AND name = ? AND generation > ?",
            (record.bucket, record.name, record.generation),
        ).fetchone()
        return int(row[0])

    def bucket_names(self) -> list[str]:
        """Return the names of all buckets."""
        return [row[0] for row in self.connection.execute("SELECT name FROM buckets")]

    def unreferenced(self, body_ids: Iterable[str]) -> list[str]:
        """Return those of ``body_ids`` that no object refers to."""
        return [
            body_id
            for body_id in body_ids
            if self.connection.execute(
                "SELECT 1 FROM objects WHERE body_id = ?1"
                " UNION ALL SELECT 1 FROM soft_deleted WHERE body_id = ?1 LIMIT 1",
                (body_id,),
            ).fetchone()
            is None
        ]

    def body_ids(self) -> set[str]:
        """Return the names of all body files that belong to an object."""
        query = "SELECT body_id FROM objects UNION SELECT body_id FROM soft_deleted"
        return {row[0] for row in self.connection.execute(query)}
