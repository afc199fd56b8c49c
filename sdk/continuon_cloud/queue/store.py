"""The queue's memory: one SQLite file that survives power loss.

WAL with ``synchronous=FULL``: a commit that returned is on the disk. Every method that changes
something is one transaction, so a kill between any two lines leaves the state before or after it.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from continuon_cloud.errors import QueueError
from continuon_cloud.files import private_folder
from continuon_cloud.queue.records import State
from continuon_cloud.queue.rows import SCHEMA, SCHEMA_VERSION, file_of, item_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from continuon.contracts.episodes import SignedUrlResponse
    from continuon_cloud.queue.records import FileTask, ItemPlan, QueueItem

__all__ = ["QueueStore"]

_BUSY_TIMEOUT_S: Final = 10.0


class QueueStore:
    """Items and their files, in ``<folder>/queue.db``."""

    def __init__(self, folder: Path) -> None:
        private_folder(folder)
        self._path = folder / "queue.db"
        self._connection = sqlite3.connect(
            self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None
        )
        self._connection.row_factory = sqlite3.Row
        self._open()

    def _open(self) -> None:
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._path.chmod(0o600)
            self._create_schema()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise QueueError(
                f"{self._path} cannot be used: {error}",
                hint="Move the file away; adding the same episodes again uploads nothing twice.",
            ) from error

    def _create_schema(self) -> None:
        with self._transaction() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version == SCHEMA_VERSION:
                return
            if version != 0:
                raise QueueError(f"{self._path} was written by a newer version of this client")
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._connection
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    # --- Reading ---------------------------------------------------------------------------------

    def items(self, cloud: str | None = None) -> list[QueueItem]:
        """Return the items of ``cloud`` (or all), oldest first."""
        rows = self._connection.execute(
            "SELECT * FROM items WHERE ?1 IS NULL OR cloud = ?1 ORDER BY added_at, item_id",
            (cloud,),
        )
        return [item_of(row) for row in rows]

    def item(self, item_id: str) -> QueueItem:
        """Return one item.

        Raises:
            QueueError: ``queue.not_found``.
        """
        item = self.find_item(item_id)
        if item is None:
            raise QueueError(f"there is no item {item_id} in the queue", code="queue.not_found")
        return item

    def find_item(self, item_id: str) -> QueueItem | None:
        """Return one item, or None when it was forgotten."""
        row = self._connection.execute(
            "SELECT * FROM items WHERE item_id = ?", (item_id,)
        ).fetchone()
        return item_of(row) if row else None

    def find(self, cloud: str, robot_id: str, digest: str) -> QueueItem | None:
        """Return the item with this content, if the queue has it."""
        row = self._connection.execute(
            "SELECT * FROM items WHERE cloud = ? AND robot_id = ? AND digest = ?",
            (cloud, robot_id, digest),
        ).fetchone()
        return item_of(row) if row else None

    def files(self, item_id: str) -> list[FileTask]:
        """Return the files of one item, in the order in which they are sent."""
        rows = self._connection.execute(
            "SELECT * FROM files WHERE item_id = ? ORDER BY position", (item_id,)
        )
        return [file_of(row) for row in rows]

    def spools(self) -> set[str]:
        """Return the names of the spooled archives that an item still needs."""
        with closing(self._connection.execute("SELECT spool FROM items")) as rows:
            return {Path(row["spool"]).name for row in rows if row["spool"]}

    # --- Changing --------------------------------------------------------------------------------

    def add(self, plan: ItemPlan) -> QueueItem:
        """Add an item with its files; one with the same content wins over it."""
        item_id = "q_" + secrets.token_hex(4)
        with self._transaction() as db:
            present = self.find(plan.cloud, plan.robot_id, plan.digest)
            if present is not None:
                return present
            db.execute(
                "INSERT INTO items (item_id, cloud, robot_id, episode_id, digest, packaging,"
                " source, spool, resumable, size_bytes, metadata, state, added_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    item_id,
                    plan.cloud,
                    plan.robot_id,
                    plan.episode_id,
                    plan.digest,
                    plan.packaging,
                    str(plan.source),
                    str(plan.spool) if plan.spool else None,
                    plan.resumable,
                    sum(file.size_bytes for file in plan.files),
                    json.dumps(plan.metadata),
                    State.QUEUED,
                    time.time(),
                ),
            )
            self._insert_files(db, item_id, plan)
        return self.item(item_id)

    def retry(self, item_id: str) -> None:
        """Start an item again, keeping what the store has of it."""
        with self._transaction() as db:
            db.execute(
                "UPDATE items SET state = ?, attempts = 0, next_attempt_at = 0, problem = NULL"
                " WHERE item_id = ?",
                (State.QUEUED, item_id),
            )

    @staticmethod
    def _insert_files(db: sqlite3.Connection, item_id: str, plan: ItemPlan) -> None:
        db.executemany(
            "INSERT INTO files (item_id, position, path, source, size_bytes, mtime_ns, sha256,"
            " content_type) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    item_id,
                    position,
                    file.path,
                    str(file.source),
                    file.size_bytes,
                    file.mtime_ns,
                    file.sha256,
                    file.content_type,
                )
                for position, file in enumerate(plan.files)
            ],
        )

    def granted(self, item: QueueItem, answer: SignedUrlResponse) -> None:
        """Keep the signed URLs; a file the store has already is done.

        A started session outlives the URL that started it, so it is kept.

        Raises:
            QueueError: The service granted other files than were asked for.
        """
        uploads = {upload.path: upload for upload in answer.uploads}
        with self._transaction() as db:
            for file in self.files(item.item_id):
                upload = uploads.get(file.path)
                if upload is None:
                    raise QueueError(
                        f"the service granted no upload for {file.path}",
                        code="queue.grant_mismatch",
                    )
                db.execute(
                    "UPDATE files SET url = ?, method = ?, headers = ?, resumable = ?,"
                    " done = done OR ?,"
                    " sent_bytes = CASE WHEN ? THEN size_bytes ELSE sent_bytes END"
                    " WHERE item_id = ? AND position = ?",
                    (
                        upload.url,
                        upload.method,
                        json.dumps(upload.headers),
                        upload.resumable,
                        upload.already_uploaded,
                        upload.already_uploaded,
                        item.item_id,
                        file.position,
                    ),
                )
            db.execute(
                "UPDATE items SET state = CASE WHEN state = ? THEN state ELSE ? END,"
                " episode_ref = ?, urls_expire_at = ? WHERE item_id = ?",
                (
                    State.UPLOADING,
                    State.REQUESTED,
                    answer.episode_ref,
                    answer.expires_at.timestamp(),
                    item.item_id,
                ),
            )

    def session(self, item_id: str, position: int, session_uri: str | None) -> None:
        """Keep (or forget) a file's resumable session; its offset starts at zero."""
        with self._transaction() as db:
            db.execute(
                "UPDATE files SET session_uri = ?, sent_bytes = 0"
                " WHERE item_id = ? AND position = ?",
                (session_uri, item_id, position),
            )

    def progressed(self, item_id: str, position: int, sent_bytes: int) -> None:
        """Keep the offset that the store confirmed; progress forgives earlier failures."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE files SET sent_bytes = ?1"
                " WHERE item_id = ?2 AND position = ?3 AND sent_bytes <> ?1",
                (sent_bytes, item_id, position),
            )
            if changed.rowcount:
                db.execute(
                    "UPDATE items SET attempts = 0, problem = NULL WHERE item_id = ?", (item_id,)
                )

    def stored(self, item_id: str, position: int) -> None:
        """The store has this file."""
        with self._transaction() as db:
            db.execute(
                "UPDATE files SET done = 1, sent_bytes = size_bytes, url = NULL, session_uri = NULL"
                " WHERE item_id = ? AND position = ?",
                (item_id, position),
            )
            db.execute(
                "UPDATE items SET attempts = 0, problem = NULL WHERE item_id = ?", (item_id,)
            )

    def move(self, item_id: str, state: State) -> None:
        """Change the state and nothing else."""
        with self._transaction() as db:
            db.execute("UPDATE items SET state = ? WHERE item_id = ?", (state, item_id))

    def uploaded(self, item_id: str) -> None:
        """All files are stored: nothing of them, nor their secrets, is needed any more."""
        with self._transaction() as db:
            db.execute(
                "UPDATE files SET url = NULL, headers = '{}', session_uri = NULL WHERE item_id = ?",
                (item_id,),
            )
            db.execute(
                "UPDATE items SET state = ?, spool = NULL, attempts = 0, next_attempt_at = 0,"
                " problem = NULL WHERE item_id = ?",
                (State.UPLOADED, item_id),
            )

    def verdict(
        self,
        item_id: str,
        state: State,
        *,
        training_eligible: bool,
        quality: float | None,
        findings: dict[str, int],
    ) -> None:
        """Keep the service's verdict."""
        with self._transaction() as db:
            db.execute(
                "UPDATE items SET state = ?, training_eligible = ?, quality = ?, findings = ?,"
                " attempts = 0, next_attempt_at = 0, problem = NULL WHERE item_id = ?",
                (state, training_eligible, quality, json.dumps(findings), item_id),
            )

    def postponed(
        self, item_id: str, *, attempts: int, next_attempt_at: float, problem: dict[str, Any]
    ) -> None:
        """A temporary failure: try again later."""
        with self._transaction() as db:
            db.execute(
                "UPDATE items SET attempts = ?, next_attempt_at = ?, problem = ? WHERE item_id = ?",
                (attempts, next_attempt_at, json.dumps(problem), item_id),
            )

    def set_aside(self, item_id: str, problem: dict[str, Any]) -> None:
        """A permanent failure: never try again unless a person asks."""
        with self._transaction() as db:
            db.execute(
                "UPDATE items SET state = ?, problem = ?, next_attempt_at = 0 WHERE item_id = ?",
                (State.SET_ASIDE, json.dumps(problem), item_id),
            )

    def forget(self, item_id: str) -> None:
        """Remove an item; what the store has stays there."""
        with self._transaction() as db:
            db.execute("DELETE FROM items WHERE item_id = ?", (item_id,))
