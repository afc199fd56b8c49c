"""The tables of the queue and how a row becomes a record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from continuon_cloud.queue.records import FileTask, Packaging, QueueItem, State

if TYPE_CHECKING:
    import sqlite3

__all__ = ["SCHEMA", "SCHEMA_VERSION", "file_of", "item_of"]

SCHEMA_VERSION: Final = 1

SCHEMA: Final = """
CREATE TABLE items (
    item_id TEXT PRIMARY KEY,
    cloud TEXT NOT NULL,
    robot_id TEXT NOT NULL,
    episode_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    packaging TEXT NOT NULL,
    source TEXT NOT NULL,
    spool TEXT,
    resumable INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at REAL NOT NULL DEFAULT 0,
    problem TEXT,
    episode_ref TEXT,
    urls_expire_at REAL NOT NULL DEFAULT 0,
    training_eligible INTEGER,
    quality REAL,
    findings TEXT,
    added_at REAL NOT NULL,
    UNIQUE (cloud, robot_id, digest)
) STRICT;
CREATE TABLE files (
    item_id TEXT NOT NULL REFERENCES items ON DELETE CASCADE,
    position INTEGER NOT NULL,
    path TEXT NOT NULL,
    source TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    content_type TEXT NOT NULL,
    url TEXT,
    method TEXT NOT NULL DEFAULT 'PUT',
    headers TEXT NOT NULL DEFAULT '{}',
    resumable INTEGER NOT NULL DEFAULT 0,
    session_uri TEXT,
    sent_bytes INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (item_id, position)
) STRICT;
"""


def item_of(row: sqlite3.Row) -> QueueItem:
    """Read a row of ``items``."""
    eligible = row["training_eligible"]
    return QueueItem(
        item_id=row["item_id"],
        cloud=row["cloud"],
        robot_id=row["robot_id"],
        episode_id=row["episode_id"],
        digest=row["digest"],
        packaging=Packaging(row["packaging"]),
        source=Path(row["source"]),
        spool=Path(row["spool"]) if row["spool"] else None,
        resumable=bool(row["resumable"]),
        size_bytes=row["size_bytes"],
        metadata=json.loads(row["metadata"]),
        state=State(row["state"]),
        attempts=row["attempts"],
        next_attempt_at=row["next_attempt_at"],
        problem=json.loads(row["problem"]) if row["problem"] else None,
        episode_ref=row["episode_ref"],
        urls_expire_at=row["urls_expire_at"],
        training_eligible=None if eligible is None else bool(eligible),
        quality=row["quality"],
        findings=json.loads(row["findings"]) if row["findings"] else {},
        added_at=row["added_at"],
    )


def file_of(row: sqlite3.Row) -> FileTask:
    """Read a row of ``files``."""
    return FileTask(
        position=row["position"],
        path=row["path"],
        source=Path(row["source"]),
        size_bytes=row["size_bytes"],
        mtime_ns=row["mtime_ns"],
        sha256=row["sha256"],
        content_type=row["content_type"],
        url=row["url"],
        method=row["method"],
        headers=json.loads(row["headers"]),
        resumable=bool(row["resumable"]),
        session_uri=row["session_uri"],
        sent_bytes=row["sent_bytes"],
        done=bool(row["done"]),
    )
