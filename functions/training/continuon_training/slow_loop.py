"""The slow loop: when enough new episodes came together, exactly one job starts.

Every `episode-validated` event asks the same question: how many eligible episodes of this robot
model were validated since the last job of the loop? The job's id follows from how many jobs the
loop has started, and job and loop are written in one commit, on the condition that the loop is the
one that was read. So however many events arrive, in whatever order and number, one job starts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from google.api_core import exceptions
from pydantic import ValidationError

from continuon import limits
from continuon.contracts.base import Contract
from continuon.contracts.training import Backend, JobRequest, JobType
from continuon.errors import ProblemError, UnavailableError
from continuon.platform.audit import append_audit
from continuon.platform.faults import crash_point
from continuon.platform.firestore import RPC, firestore_client, firestore_errors
from continuon_training import creation, money
from continuon_training.announcements import request_dispatch
from continuon_training.budget import check_month
from continuon_training.episodes import EpisodeReader
from continuon_training.records import SlowLoopRecord
from continuon_training.settings import settings
from continuon_training.store import JobStore

if TYPE_CHECKING:
    from google.cloud.firestore import AsyncDocumentReference, AsyncWriteBatch

    from continuon.platform.firestore import Snapshot
    from continuon_training.records import EpisodeChoice, JobRecord

__all__ = ["SlowLoopStore", "episode_validated"]

_LOGGER: Final = logging.getLogger("continuon.training")
_LOOPS: Final = "slow_loops"
_ACTOR: Final = "training/slow_loop"
_OVERLAP: Final = timedelta(seconds=600)
"""A verdict is dated when its ingest began and written up to 540 s later, so episodes may appear
that are older than the newest of the last job. So far back they are looked at one by one."""


class _Validated(Contract):
    """What `episode-validated` says that matters here."""

    owner_id: str
    robot_model: str
    training_eligible: bool = False


class SlowLoopStore:
    """The loops' documents."""

    def __init__(self) -> None:
        self._documents = firestore_client()

    def reference(self, owner_id: str, robot_model: str) -> AsyncDocumentReference:
        """Return the reference of a loop's document."""
        name = hashlib.sha256(f"{owner_id}\n{robot_model}".encode()).hexdigest()
        return self._documents.collection(_LOOPS).document(name)

    async def read(self, owner_id: str, robot_model: str) -> tuple[SlowLoopRecord | None, Snapshot]:
        """Return a loop, or None, and the snapshot it came from."""
        with firestore_errors():
            snapshot = await self.reference(owner_id, robot_model).get(**RPC)
        data = snapshot.to_dict()
        return (SlowLoopRecord.from_document(data) if data else None), snapshot

    async def write(
        self, record: SlowLoopRecord, snapshot: Snapshot, *, actor: str, now: datetime
    ) -> bool:
        """Write a loop as its owner wants it; False when it changed since it was read."""
        reference = self.reference(record.owner_id, record.robot_model)
        batch = self._documents.batch()
        if snapshot.exists:
            option = self._documents.write_option(last_update_time=snapshot.update_time)
            batch.update(reference, record.to_document(), option=option)
        else:
            batch.create(reference, record.to_document())
        append_audit(
            batch, actor=actor, action="training.slow_loop", subject=reference.path, now=now
        )
        try:
            with firestore_errors():
                await batch.commit(**RPC)
        except (exceptions.AlreadyExists, exceptions.FailedPrecondition):
            return False
        return True


async def episode_validated(data: bytes, now: datetime) -> None:
    """Handle one message of `episode-validated`.

    Raises:
        UnavailableError: A store failed, or another event won a race: the message comes again.
    """
    event = _parse(data)
    if event is None or not event.training_eligible:
        return
    loop, snapshot = await SlowLoopStore().read(event.owner_id, event.robot_model)
    if loop is None or not loop.enabled:
        return
    if not await _is_enough(loop):
        return
    try:
        await _start(loop, snapshot, now)
    except ProblemError as problem:
        # Money, or episodes that were deleted meanwhile: the next episode asks again.
        fields = {"robot_model": loop.robot_model, "code": problem.type.code}
        _LOGGER.warning("slow loop not started: %s", problem, extra={"fields": fields})


def _parse(data: bytes) -> _Validated | None:
    try:
        return _Validated.model_validate(json.loads(data))
    except (ValidationError, ValueError, RecursionError):
        _LOGGER.error("malformed episode-validated message")  # noqa: TRY400 - no traceback
        return None


async def _is_enough(loop: SlowLoopRecord) -> bool:
    """Say whether as many new episodes came together as the loop waits for."""
    reader = EpisodeReader()
    if loop.seen_until is None:
        total = await reader.count_since(loop.owner_id, loop.robot_model, None)
        return total >= loop.threshold and len(await _fitting(loop)) >= loop.threshold
    since = loop.seen_until - _OVERLAP
    if await reader.count_since(loop.owner_id, loop.robot_model, since) < loop.threshold:
        return False
    recent = await reader.validated_since(
        loop.owner_id, loop.robot_model, since, min_quality=loop.min_quality
    )
    seen = await _episodes_of(loop.last_job_id)
    return sum(choice.episode_id not in seen for choice in recent) >= loop.threshold


async def _fitting(loop: SlowLoopRecord) -> list[EpisodeChoice]:
    return await EpisodeReader().newest(
        loop.owner_id,
        loop.robot_model,
        min_quality=loop.min_quality,
        limit=limits.MAX_JOB_EPISODES,
    )


async def _episodes_of(job_id: str | None) -> frozenset[str]:
    record = await JobStore().find(job_id, whole=True) if job_id else None
    return frozenset(record.config.episode_ids) if record else frozenset()


async def _start(loop: SlowLoopRecord, snapshot: Snapshot, now: datetime) -> None:
    chosen = await _fitting(loop)
    record = _job(loop, [choice.episode_id for choice in chosen], now)
    store = JobStore()
    await check_month(store, record)
    newest = max(c.validated_at for c in chosen if c.validated_at is not None)
    advanced = loop.model_copy(
        update={
            "started": loop.started + 1,
            "last_job_id": record.job_id,
            "last_started_at": now,
            "seen_until": max(newest, loop.seen_until or newest),
        }
    )
    crash_point("slow_loop.counted")
    if not await _commit(store, record, advanced, snapshot):
        _LOGGER.info("slow loop started by another event")
        return
    crash_point("slow_loop.created")
    if record.config.backend is Backend.PULL:
        return
    try:
        await request_dispatch(record)
    except UnavailableError:
        # The job is there; the watchdog sends its message.
        _LOGGER.warning("slow loop not dispatched yet", extra={"fields": {"job_id": record.job_id}})


async def _commit(
    store: JobStore, record: JobRecord, loop: SlowLoopRecord, snapshot: Snapshot
) -> bool:
    option = firestore_client().write_option(last_update_time=snapshot.update_time)

    def advance(batch: AsyncWriteBatch) -> None:
        fields: dict[str, Any] = {
            name: getattr(loop, name)
            for name in ("started", "last_job_id", "last_started_at", "seen_until")
        }
        batch.update(snapshot.reference, fields, option=option)

    try:
        return await store.create(record, actor=_ACTOR, also=advance)
    except exceptions.FailedPrecondition:
        # Another event started it, or its owner changed the loop: then this must look again.
        present, _ = await SlowLoopStore().read(loop.owner_id, loop.robot_model)
        if present is not None and present.started >= loop.started:
            return False
        raise UnavailableError("The slow loop (it was changed meanwhile)") from None


def _job(loop: SlowLoopRecord, episode_ids: list[str], now: datetime) -> JobRecord:
    shared = set(JobRequest.model_fields) & set(SlowLoopRecord.model_fields)
    fields = {name: getattr(loop, name) for name in shared}
    request = JobRequest(type=JobType.SLOW_LOOP, **fields)
    source = f"{loop.owner_id}\n{loop.robot_model}\n{loop.started + 1}"
    digest = hashlib.sha256(source.encode()).digest()
    return creation.new_job(
        request,
        owner_id=loop.owner_id,
        episode_ids=episode_ids,
        model_base=loop.model_base,
        name=f"job_{base64.b32encode(digest).decode().lower()[:20]}",
        prices=money.price_table(settings().continuon_training_prices),
        redispatch_s=settings().continuon_redispatch_s,
        now=now,
    )
