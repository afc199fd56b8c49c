"""The watchdog: each minute, whatever no message and no trainer takes care of.

Every decision is a conditional write, so two watchdogs at a time do no harm. A failure with one
job is logged and does not keep the others waiting.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from continuon import limits
from continuon.contracts.training import JobStatus
from continuon.errors import ProblemError, UnavailableError
from continuon.platform.faults import crash_point
from continuon_training import service, supervision
from continuon_training.announcements import announce_finished, request_dispatch
from continuon_training.budget import monthly_limit_usd
from continuon_training.cleanup import clean_up
from continuon_training.executors import executor
from continuon_training.executors.base import ExecutorError
from continuon_training.settings import settings
from continuon_training.store import JobStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from continuon_training.executors.base import WorkStatus
    from continuon_training.records import JobRecord

__all__ = ["watch"]

_LOGGER: Final = logging.getLogger("continuon.training")
_PAGE: Final = 200
_CONCURRENT: Final = 8
_ROUNDS: Final = 20
"""Pages of one kind in one run; what is left waits for the next minute."""

_ANNOUNCE_AFTER: Final = timedelta(seconds=20)
"""Younger ends are about to be announced by whoever wrote them."""

_TAIL_CHARS: Final = 1500
"""Of a trainer's output that a failed job quotes: the end of a traceback."""


async def watch(now: datetime) -> dict[str, int]:
    """Look after every job once; return what was done, by kind."""
    watchdog = _Watchdog(now)
    for task in (
        watchdog.running,
        watchdog.months,
        watchdog.waiting,
        watchdog.lost_messages,
        watchdog.leftovers,
        watchdog.unannounced,
    ):
        try:
            await task()
        except UnavailableError as error:
            watchdog.done["unavailable"] += 1
            _LOGGER.warning("watchdog: %s", error)
    return dict(watchdog.done)


class _Watchdog:
    def __init__(self, now: datetime) -> None:
        chosen = settings()
        self._now = now
        self._store = JobStore()
        self._durations = service.Durations(
            lease_s=chosen.continuon_job_lease_s, start_s=chosen.continuon_job_start_s
        )
        self._quiet = timedelta(seconds=chosen.continuon_job_poll_s)
        self._free = asyncio.Semaphore(_CONCURRENT)
        self._paid: defaultdict[tuple[str, str], list[JobRecord]] = defaultdict(list)
        self.done: Counter[str] = Counter()

    async def running(self) -> None:
        """Lost workers, timeouts, job budgets, work that ended or vanished without a word."""
        after = None
        for _ in range(_ROUNDS):
            records = await self._store.with_status(JobStatus.RUNNING, after=after, size=_PAGE)
            await self._each(records, self._supervise)
            for record in records:
                if record.usd_per_hour > 0:
                    self._paid[record.owner_id, record.month].append(record)
            if len(records) < _PAGE:
                return
            after = records[-1].job_id

    async def _supervise(self, record: JobRecord) -> None:
        polled = await self._poll(record)

        def decide(present: JobRecord) -> JobRecord:
            # What the backend said is about the attempt that was read, and about no later one.
            same = present.attempt == record.attempt and present.status is record.status
            known = polled if same and present.sequence == record.sequence else None
            return supervision.supervise(present, self._now, known, self._durations)

        before, after = await self._store.change(record.job_id, decide)
        if after.status is before.status:
            return
        self.done[f"{before.status.value}_{after.status.value}"] += 1
        crash_point("watchdog.decided")
        fields = {"job_id": record.job_id, "error": after.error.code if after.error else None}
        _LOGGER.info("job %s", after.status.value, extra={"fields": fields})
        if after.status.is_final:
            await self._quote(after)
            await announce_finished(self._store, after)

    async def _poll(self, record: JobRecord) -> WorkStatus | None:
        if record.backend.name is None:
            return None
        if not supervision.needs_poll(record, self._now, self._quiet):
            return None
        try:
            return await executor(record.config.backend.value).poll(record.backend.name)
        except ExecutorError as error:
            _LOGGER.warning("backend does not answer: %s", error)
            return None

    async def _quote(self, record: JobRecord) -> None:
        """Add the end of the trainer's output to what the job says about its failure."""
        if record.error is None or record.error.code != "job.trainer_failed":
            return
        tail = await self._tail(record)
        if not tail:
            return
        message = f"{record.error.message}\n{tail}"[: limits.MAX_JOB_ERROR_CHARS]
        error = record.error.model_copy(update={"message": message})
        # A quotation that is lost must not keep the end from being announced.
        with suppress(UnavailableError):
            await self._store.change(
                record.job_id, lambda present: present.model_copy(update={"error": error})
            )

    async def _tail(self, record: JobRecord) -> str:
        text, offset = "", 0
        backend = executor(record.config.backend.value)
        try:
            for _ in range(_ROUNDS * 10):
                chunk = await backend.logs(record.backend.name or "", offset)
                text = (text + chunk.text)[-_TAIL_CHARS:]
                if chunk.next_offset == offset:
                    break
                offset = chunk.next_offset
        except ExecutorError:
            return text
        return text

    async def months(self) -> None:
        """Stop the running jobs of accounts whose money of the month is used up."""
        for (owner_id, month), records in self._paid.items():
            limit = await monthly_limit_usd(self._store, owner_id)
            if await self._store.used_usd(owner_id, month) >= limit:
                await self._each(records, partial(self._stop, limit=limit))

    async def _stop(self, record: JobRecord, *, limit: float) -> None:
        def stopped(present: JobRecord) -> JobRecord:
            if present.status is not JobStatus.RUNNING:
                return present
            return supervision.out_of_month(present, limit, self._now)

        before, after = await self._store.change(record.job_id, stopped)
        if after.status is not before.status:
            self.done["out_of_month"] += 1
            await announce_finished(self._store, after)

    async def waiting(self) -> None:
        """Jobs that no worker took in time."""
        before = self._now - timedelta(seconds=limits.MAX_JOB_QUEUED_S)
        records = await self._store.queued_since(before, size=_PAGE)
        await self._each(records, self._supervise)

    async def lost_messages(self) -> None:
        """Queued jobs whose message was lost, never sent, or is due again."""
        records = await self._store.due("next_dispatch_at", self._now, size=_PAGE)
        await self._each(records, self._dispatch_again)

    async def _dispatch_again(self, record: JobRecord) -> None:
        again = self._now + timedelta(seconds=settings().continuon_redispatch_s)

        def later(present: JobRecord) -> JobRecord:
            if present.status is not JobStatus.QUEUED or present.attempt != record.attempt:
                return present
            return present.model_copy(update={"next_dispatch_at": again})

        # Sent first: a watchdog that dies in between has it sent twice, and never not at all.
        await request_dispatch(record)
        crash_point("watchdog.dispatched")
        await self._store.change(record.job_id, later)
        self.done["dispatched"] += 1

    async def leftovers(self) -> None:
        """Work at a backend that outlived its attempt."""
        records = await self._store.due("backend.cleanup_at", self._now, size=_PAGE)
        await self._each(records, self._clean_up)

    async def _clean_up(self, record: JobRecord) -> None:
        await clean_up(self._store, record)
        self.done["cleaned"] += 1

    async def unannounced(self) -> None:
        """Ended jobs whose end was not published."""
        records = await self._store.unannounced(size=_PAGE)
        ripe = [
            r for r in records if r.completed_at and r.completed_at + _ANNOUNCE_AFTER < self._now
        ]
        await self._each(ripe, self._announce)

    async def _announce(self, record: JobRecord) -> None:
        await announce_finished(self._store, record)
        self.done["announced"] += 1

    async def _each(
        self, records: Sequence[JobRecord], handle: Callable[[JobRecord], Awaitable[None]]
    ) -> None:
        async def one(record: JobRecord) -> None:
            async with self._free:
                try:
                    await handle(record)
                except (UnavailableError, ExecutorError, ProblemError) as error:
                    self.done["failed"] += 1
                    fields = {"job_id": record.job_id}
                    _LOGGER.warning("watchdog: %s", error, extra={"fields": fields})
                except Exception:
                    # Whatever it is with this job, the others must not wait for it.
                    self.done["failed"] += 1
                    _LOGGER.exception("watchdog", extra={"fields": {"job_id": record.job_id}})

        await asyncio.gather(*(one(record) for record in records))
