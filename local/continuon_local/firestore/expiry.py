"""Time to live: documents are deleted after the time in the field that a policy names.

Policies are the ``"ttl": true`` of ``fieldOverrides`` in ``firestore.indexes.json``. Google
promises deletion within a day; here it comes within seconds of the clock, which tests move.
Deletions raise events and are billed, as there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from typing import TYPE_CHECKING

from continuon_local.firestore.errors import StatusError
from continuon_local.firestore.filters import Operator
from continuon_local.firestore.messages import StructuredQuery, Value, Write
from continuon_local.firestore.query import compile_query
from continuon_local.firestore.query_run import run_query
from continuon_local.firestore.times import to_timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from continuon_local.firestore.engine import Engine
    from continuon_local.firestore.messages import Message
    from continuon_local.firestore.query_run import Row

__all__ = ["Expiry"]

_LOG = logging.getLogger(__name__)
_SWEEP_EVERY_S = 1.0
_BATCH = 250
"""Documents deleted in one commit, so that nobody waits long for it."""


def _expired(collection_id: str, path: str, now: int) -> Message:
    query = StructuredQuery(limit={"value": _BATCH})
    query.from_.add(collection_id=collection_id, all_descendants=True)
    condition = query.where.field_filter
    condition.field.field_path = path
    condition.op = Operator.LESS_THAN_OR_EQUAL
    condition.value.CopyFrom(Value(timestamp_value=to_timestamp(now)))
    return query


def _deletion(row: Row) -> Message:
    # Not if its time was prolonged meanwhile.
    return Write(delete=row.name, current_document={"update_time": to_timestamp(row.version)})


class Expiry:
    """Deletes expired documents while the service runs.

    Args:
        engine: The database.
        lifetimes: Collection ids and paths of timestamp fields.
    """

    def __init__(self, engine: Engine, lifetimes: Sequence[tuple[str, str]]) -> None:
        self._engine = engine
        self._lifetimes = lifetimes
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look now and then, if there is any policy."""
        if self._lifetimes:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop looking. Safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            try:
                await self.sweep()
            except sqlite3.Error:
                # A full disk must not end it for good.
                _LOG.exception("expired documents could not be deleted; it is tried again")

    async def sweep(self) -> int:
        """Delete what has expired by now; return how many documents."""
        count = 0
        for collection_id, path in self._lifetimes:
            for database in self._engine.store.databases_with(collection_id):
                while done := await self._delete_some(database, collection_id, path):
                    count += done
        return count

    async def _delete_some(self, database: str, collection_id: str, path: str) -> int:
        rows = self._find(database, collection_id, path)
        if not rows:
            return 0
        deletions = [_deletion(row) for row in rows]
        outcomes = await self._engine.batch_write(database, deletions, "")
        return sum(not isinstance(outcome, StatusError) for outcome in outcomes)

    def _find(self, database: str, collection_id: str, path: str) -> Sequence[Row]:
        query = _expired(collection_id, path, self._engine.now())
        self._engine.settle()
        compiled = compile_query(f"{database}/documents", query)
        return run_query(self._engine.store, compiled, None).rows
