"""The sweep that applies lifecycle rules and expiries, on the clock of the local cloud."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from continuon_local.database import transaction
from continuon_local.storage.errors import StorageError
from continuon_local.storage.lifecycle_rules import Candidate, aborts_upload, decide
from continuon_local.storage.notifications import Change
from continuon_local.storage.records import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from continuon_local.storage.engine import Engine
    from continuon_local.storage.records import BucketRecord, ObjectRecord

__all__ = ["Sweeper", "sweep"]

_LOG = logging.getLogger(__name__)

# How often the clock is looked at, in real time, and how far it must have moved for a sweep: a
# test that jumps a day ahead sees the effect within a second. Rules count in days, and the service
# itself takes up to one to act: an hour is soon enough, and a million objects cost nothing between.
_LOOK_SECONDS = 0.25
_SWEEP_EVERY = timedelta(hours=1)

# Objects looked at between two chances for requests to run.
_BATCH = 500


async def sweep(engine: Engine) -> None:
    """Apply every rule and expiry once, at the present moment."""
    now = engine.context.clock.now()
    for name in engine.store.bucket_names():
        bucket = engine.store.bucket(name)
        if bucket is None:
            continue
        rules = (bucket.fields.get("lifecycle") or {}).get("rule") or []
        if rules:
            await _apply(engine, bucket, rules, now)
            await _abort_uploads(engine, bucket, rules, now)
    with transaction(engine.store.connection):
        garbage = engine.versions.purge(timestamp(now))
    await engine.bodies.discard(garbage)


async def _apply(
    engine: Engine, bucket: BucketRecord, rules: Sequence[Mapping[str, Any]], now: datetime
) -> None:
    position: tuple[str, int] | None = ("", 0)
    while position is not None:
        batch = list(engine.store.scan(bucket.name, position, versions=True, limit=_BATCH))
        for record in batch:
            await _apply_to(engine, bucket, rules, record, now)
        last = batch[-1] if len(batch) == _BATCH else None
        position = None if last is None else (last.name, last.generation + 1)
        await asyncio.sleep(0)


async def _apply_to(
    engine: Engine,
    bucket: BucketRecord,
    rules: Sequence[Mapping[str, Any]],
    record: ObjectRecord,
    now: datetime,
) -> None:
    newer = engine.store.newer_versions(record)
    action = decide(rules, Candidate(record, newer, record.deleted), now)
    if action is None:
        return
    with contextlib.suppress(StorageError):  # held or retained: the rule waits for its end
        garbage = _act(engine, bucket, record, action, now)
        engine.outbox.notify()
        await engine.bodies.discard(garbage)


def _act(
    engine: Engine, bucket: BucketRecord, record: ObjectRecord, action: str, now: datetime
) -> list[str]:
    moment = timestamp(now)
    with transaction(engine.store.connection):
        if engine.store.version(record.bucket, record.name, record.generation) != record:
            return []  # a request changed it since it was looked at; the next sweep sees that
        if action == "Delete":
            live = record.deleted is None
            end = engine.versions.retire if live else engine.versions.remove
            return engine.store.unreferenced(end(bucket, record, now))
        moved = replace(
            record,
            fields={**record.fields, "storageClass": action},
            metageneration=record.metageneration + 1,
            updated=moment,
            class_updated=moment,
        )
        engine.store.put_object(moved)
        engine.versions.announce(Change.METADATA_UPDATED, moved, bucket, moment)
        return []


async def _abort_uploads(
    engine: Engine, bucket: BucketRecord, rules: Sequence[Mapping[str, Any]], now: datetime
) -> None:
    for upload in engine.parts.of_bucket(bucket.name):
        if aborts_upload(rules, upload.name, upload.created, now):
            await engine.bodies.discard(engine.parts.end(upload))


class Sweeper:
    """Sweeps when the clock has moved on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look at the clock."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the task."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        last: datetime | None = None
        while True:
            now = self._engine.context.clock.now()
            if last is None or now - last >= _SWEEP_EVERY:
                last = now
                await self._sweep()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _sweep(self) -> None:
        try:
            await sweep(self._engine)
        except Exception:  # noqa: BLE001 - a full disk passes; the next sweep tries again
            _LOG.exception("the lifecycle sweep failed")
