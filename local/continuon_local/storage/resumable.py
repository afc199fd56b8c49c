"""Resumable sessions: rows and partial bodies that survive a restart.

A session's body file may be longer than what is persisted: only the length in the row counts, and
the row is written after the file is synchronised. Protocol:
https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from continuon_local.database import transaction
from continuon_local.storage.bodies import Hasher
from continuon_local.storage.errors import StorageError, invalid
from continuon_local.storage.objects import NewObject
from continuon_local.storage.partial import PartialBody, catch_up
from continuon_local.storage.records import timestamp
from continuon_local.storage.upload_session import Session, dump_record, load_session

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

    from continuon_local.clock import Clock
    from continuon_local.storage.bodies import Bodies, Digests
    from continuon_local.storage.checksums import Expected, SizeRange
    from continuon_local.storage.objects import Objects
    from continuon_local.storage.preconditions import Preconditions
    from continuon_local.storage.records import ObjectRecord

__all__ = ["CHUNK_UNIT_BYTES", "Sessions"]

# Every chunk but the last is a multiple of this.
CHUNK_UNIT_BYTES = 256 << 10

# A session URI works for a week.
_LIFETIME = timedelta(days=7)

# How often a long chunk is synchronised, so that a crash does not cost more than this.
_SYNC_BYTES = 32 << 20

# How long a request that continues a session waits for the one before it.
_GRACE_SECONDS = 0.25

_SCHEMA = """
CREATE TABLE IF NOT EXISTS upload_sessions (
    id TEXT PRIMARY KEY,
    bucket TEXT NOT NULL,
    name TEXT NOT NULL,
    created TEXT NOT NULL,
    request TEXT NOT NULL,
    body_id TEXT NOT NULL,
    persisted INTEGER NOT NULL,
    state TEXT NOT NULL,
    result TEXT
)
"""


class Sessions:
    """All resumable sessions of the service."""

    def __init__(
        self, connection: sqlite3.Connection, bodies: Bodies, objects: Objects, clock: Clock
    ) -> None:
        self._connection = connection
        self._bodies = bodies
        self._objects = objects
        self._clock = clock
        self._hashers: dict[str, Hasher] = {}
        self._writers: dict[str, asyncio.Task[Any]] = {}
        connection.execute(_SCHEMA)

    def body_ids(self) -> set[str]:
        """Return the partial bodies of open sessions."""
        rows = self._connection.execute("SELECT body_id FROM upload_sessions WHERE state = 'open'")
        return {row[0] for row in rows}

    def begin(
        self,
        *,
        bucket: str,
        name: str,
        fields: Mapping[str, Any],
        conditions: Preconditions,
        expected: Expected,
        sizes: SizeRange,
        total: int | None,
    ) -> Session:
        """Open a session.

        Raises:
            StorageError: The upload is bound to be refused (400, 404, 412).
        """
        self._objects.check_may_write(bucket, name, conditions)
        if total is not None:
            sizes.check(total)
        session = Session(
            id=secrets.token_urlsafe(48),
            bucket=bucket,
            name=name,
            created=timestamp(self._clock.now()),
            body_id=self._bodies.new_id(),
            fields=fields,
            conditions=conditions,
            expected=expected,
            sizes=sizes,
            total=total,
        )
        with transaction(self._connection):
            self._drop_expired()
            self._connection.execute(
                "INSERT INTO upload_sessions VALUES (?, ?, ?, ?, ?, ?, 0, 'open', NULL)",
                (
                    session.id,
                    bucket,
                    name,
                    session.created,
                    session.request_json(),
                    session.body_id,
                ),
            )
        return session

    def _drop_expired(self) -> None:
        """Forget sessions that ended twice their lifetime ago; the sweep removes their files."""
        limit = timestamp(self._clock.now() - 2 * _LIFETIME)
        self._connection.execute("DELETE FROM upload_sessions WHERE created < ?", (limit,))

    def get(self, session_id: str) -> Session:
        """Return a session that is open or complete.

        Raises:
            StorageError: It never was (404), or it expired, failed or was cancelled (410, 499).
        """
        row = self._connection.execute(
            "SELECT * FROM upload_sessions WHERE id = ?", (session_id,)
        ).fetchone()
        if row is None:
            raise StorageError(404, "notFound", "NoSuchUpload", "No such upload session.")
        if row[7] == "cancelled":
            raise StorageError(499, "clientClosedRequest", "ClientClosedRequest", "Cancelled.")
        expired = row[3] < timestamp(self._clock.now() - _LIFETIME)
        if row[7] == "failed" or (expired and row[7] == "open"):
            raise StorageError(410, "gone", "Gone", "The upload session has ended.")
        return load_session(row)

    def persisted(self, session_id: str) -> int:
        """Return how many bytes of a session are safe on the disk; 0 for one that is gone."""
        row = self._connection.execute(
            "SELECT persisted FROM upload_sessions WHERE id = ?", (session_id,)
        ).fetchone()
        return 0 if row is None else int(row[0])

    async def settled(self, session_id: str) -> Session:
        """Return a session after ending a request that still writes to it.

        Whoever lost a connection asks again on another: the newer request is the one that counts.
        """
        while (writer := self._writers.get(session_id)) is not None:
            # A connection that broke ends by itself, and keeps what it still had in its buffers.
            await asyncio.wait([writer], timeout=_GRACE_SECONDS)
            writer.cancel()
            await asyncio.wait([writer])
            self._forget_writer(session_id, writer)
        return self.get(session_id)

    def _forget_writer(self, session_id: str, writer: asyncio.Task[Any]) -> None:
        if self._writers.get(session_id) is writer:
            del self._writers[session_id]

    async def exclusively(self, session_id: str, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work``, which writes to a session, so that a newer request can end it.

        Call it without an await after :meth:`settled`: then no other request comes in between.

        Raises:
            StorageError: A newer request took over (503).
        """
        task = asyncio.create_task(work)
        self._writers[session_id] = task
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        finally:
            self._forget_writer(session_id, task)
        if task.cancelled():
            message = "Another request continues this upload."
            raise StorageError(503, "backendError", "ServiceUnavailable", message)
        task.result()

    async def append(
        self, session: Session, chunks: AsyncIterator[bytes], *, skip: int, end: int | None
    ) -> None:
        """Append ``chunks`` behind what is persisted, leaving out their first ``skip`` bytes.

        What arrives is kept however the request ends. A prefix that is not all the client meant
        to send, up to offset ``end``, is rounded down to the unit of chunks, as the service does.

        Raises:
            StorageError: Bytes beyond ``end`` came, or more than the size range allows (400).
        """
        hasher = self._hashers.setdefault(session.id, Hasher())
        partial = PartialBody(self._bodies.path(session.body_id), session.persisted, hasher)
        arrived = False
        try:
            async for chunk in chunks:
                useful = chunk[skip:]
                skip = max(0, skip - len(chunk))
                _check_end(session, partial.size + len(useful), end)
                await partial.write(useful)
                if partial.unsynchronised >= _SYNC_BYTES:
                    self._persist(session, await partial.synchronise())
            arrived = end is None or partial.size == end
        finally:
            # A cancellation is one reason to get here; another may come while this runs.
            await _to_the_end(self._conclude(session, partial, arrived=arrived))

    async def _conclude(self, session: Session, partial: PartialBody, *, arrived: bool) -> None:
        size = await partial.close()
        if not arrived:
            size -= size % CHUNK_UNIT_BYTES
        size = max(size, session.persisted)
        self._persist(session, size)
        hasher = self._hashers.get(session.id)
        if hasher is not None and hasher.size > size:
            del self._hashers[session.id]  # it has seen bytes that the client sends again

    def _persist(self, session: Session, size: int) -> None:
        with transaction(self._connection):
            self._connection.execute(
                "UPDATE upload_sessions SET persisted = ? WHERE id = ? AND state = 'open'",
                (size, session.id),
            )

    async def complete(
        self,
        session: Session,
        expected: Expected,
        *,
        approve: Callable[[ObjectRecord], None] | None = None,
    ) -> ObjectRecord:
        """Turn the persisted bytes into the object; ``approve`` may refuse it by raising.

        Raises:
            StorageError: The size or a checksum is wrong (400) or a precondition does not hold
                (412). The session is over and nothing is stored.
        """
        try:
            return await self._complete(session, expected, approve)
        except _AlreadyEndedError:
            return self._result(session)
        except StorageError:
            await self.end(session, "failed")
            raise
        finally:
            self._hashers.pop(session.id, None)

    async def _complete(
        self,
        session: Session,
        expected: Expected,
        approve: Callable[[ObjectRecord], None] | None,
    ) -> ObjectRecord:
        session.sizes.check(session.persisted)
        digests = await self._digests(session)
        expected.check(digests)
        session.expected.check(digests)

        def committed(record: ObjectRecord) -> None:
            if approve is not None:
                approve(record)
            self._mark_complete(session, record)

        new = NewObject(
            bucket=session.bucket,
            name=session.name,
            body_id=session.body_id,
            digests=digests,
            fields=session.fields,
            conditions=session.conditions,
            on_commit=committed,
        )
        return await self._objects.create(new)

    def _mark_complete(self, session: Session, record: ObjectRecord) -> None:
        cursor = self._connection.execute(
            "UPDATE upload_sessions SET state = 'complete', result = ?"
            " WHERE id = ? AND state = 'open'",
            (dump_record(record), session.id),
        )
        if cursor.rowcount == 0:
            raise _AlreadyEndedError

    def _result(self, session: Session) -> ObjectRecord:
        """Return what another request made of the session while this one was finishing it."""
        ended = self.get(session.id)
        if ended.result is None:
            raise StorageError(410, "gone", "Gone", "The upload session has ended.")
        return ended.result

    async def _digests(self, session: Session) -> Digests:
        hasher = self._hashers.pop(session.id, None) or Hasher()
        path = self._bodies.path(session.body_id)
        return await asyncio.to_thread(catch_up, hasher, path, session.persisted)

    async def cancel(self, session: Session) -> None:
        """End an open session and forget its bytes."""
        if session.open:
            await self.end(session, "cancelled")

    async def end(self, session: Session, state: str) -> None:
        """End an open session for good; ``state`` is ``failed`` or ``cancelled``."""
        with transaction(self._connection):
            ended = self._connection.execute(
                "UPDATE upload_sessions SET state = ? WHERE id = ? AND state = 'open'",
                (state, session.id),
            ).rowcount
        self._hashers.pop(session.id, None)
        if ended:
            await self._bodies.discard([session.body_id])


class _AlreadyEndedError(Exception):
    """Another request finished or cancelled the session first."""


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` to its end even when the caller is cancelled, and only then pass that on."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled


def _check_end(session: Session, size: int, end: int | None) -> None:
    session.sizes.check_upper(size)
    if end is not None and size > end:
        raise invalid("The body is longer than its Content-Range header says.")
