"""Dispatch: from a message of `training-jobs` to work that runs, started exactly once.

The steps, in order: lease, check the episodes, stop earlier attempts' works, store the hash of a
fresh token, submit, record. A dispatcher may die between any two of them:

* the **lease** is one conditional write, keyed by the attempt; it expires;
* the **token's hash** is stored before the token leaves this process, so whatever was submitted
  can prove itself, also when nobody lived to record it;
* the **submission** is idempotent by the work's name: the successor finds it and starts nothing;
* the **record** is written on the condition that the job is still queued for this attempt; where
  its owner cancelled it in between, the work is stopped again.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from continuon import limits
from continuon.contracts.base import Contract
from continuon.contracts.training import (
    TRAINER_CONTRACT,
    Backend,
    JobError,
    JobId,
    JobStatus,
)
from continuon.errors import ProblemError, UnavailableError
from continuon.platform import leases
from continuon.platform.faults import crash_point
from continuon_training import bases, selection, service, tokens
from continuon_training.announcements import announce_finished, send_dead_letter
from continuon_training.budget import check_month
from continuon_training.cleanup import clean_up
from continuon_training.episodes import EpisodeReader
from continuon_training.errors import JOB_NOT_FOUND, JOB_STATE, NO_EPISODES
from continuon_training.executors import executor
from continuon_training.executors.base import (
    ExecutorQuotaError,
    ExecutorRefusedError,
    Resources,
    Work,
    WorkState,
    work_name,
)
from continuon_training.records import JobRecord
from continuon_training.settings import settings
from continuon_training.store import JobStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from continuon.platform.firestore import Snapshot

__all__ = ["JobMessage", "dispatch_message", "parse_message", "recheck"]

_LOGGER: Final = logging.getLogger("continuon.training")


class JobMessage(Contract):
    """What a message of `training-jobs` says."""

    job_id: JobId
    attempt: int


class _OvertakenError(Exception):
    """The job moved on while this dispatcher worked; what it still wanted is void."""


def parse_message(data: bytes) -> JobMessage | None:
    """Read a message; None for anything that names no job."""
    try:
        return JobMessage.model_validate(json.loads(data))
    except (ValidationError, ValueError, RecursionError):
        return None


async def dispatch_message(data: bytes, now: datetime) -> None:
    """Handle one message.

    Raises:
        UnavailableError: A store or the backend failed, or another dispatcher is at it: the
            message has to come again.
    """
    message = parse_message(data)
    if message is None:
        await send_dead_letter(data, "The message names no job.")
        return
    await _Dispatch(message, data, now).run()


class _Dispatch:
    """One message's way through the steps."""

    def __init__(self, message: JobMessage, data: bytes, now: datetime) -> None:
        self._job_id = message.job_id
        self._attempt = message.attempt
        self._data = data
        self._now = now
        self._store = JobStore()

    async def run(self) -> None:
        snapshot = await self._store.snapshot(self._job_id)
        fields = snapshot.to_dict()
        if not fields:
            await send_dead_letter(self._data, "There is no such job.")
            return
        record = JobRecord.from_document(fields)
        if record.status.is_final:
            await self._after_the_end(record)
        if record.status is not JobStatus.QUEUED or record.attempt != self._attempt:
            return
        if record.config.backend is Backend.PULL:
            return
        lease = await self._lease(snapshot)
        if lease is None:
            return
        crash_point("dispatch.leased")
        try:
            async with leases.released_on_error(lease):
                await self._start(lease)
        except _OvertakenError:
            await self._withdraw()

    async def _after_the_end(self, record: JobRecord) -> None:
        # A redelivered message may be all that is left of a dispatcher that died after submitting.
        await clean_up(self._store, record)
        if record.announced is False:
            await announce_finished(self._store, record)

    async def _withdraw(self) -> None:
        record = await self._store.find(self._job_id)
        if record is not None and record.status.is_final:
            await clean_up(self._store, record)

    async def _lease(self, snapshot: Snapshot) -> leases.Lease | None:
        """Take the start; None when it is done, or has failed too often."""
        lease = await leases.take(
            self._store.reference(self._job_id),
            field="dispatch",
            key=str(self._attempt),
            lease_for=timedelta(seconds=settings().continuon_dispatch_lease_s),
            now=self._now,
            snapshot=snapshot,
        )
        if isinstance(lease, leases.InProgress):
            # If that dispatcher is dead, only a later delivery can take over.
            raise UnavailableError("This job (another dispatcher has it)")
        if isinstance(lease, leases.Completed):
            return None
        if lease.attempt > limits.MAX_DISPATCH_ATTEMPTS:
            problem = (lease.snapshot.to_dict() or {}).get("dispatch", {}).get("problem")
            said = problem or "the dispatcher ended without a word"
            await send_dead_letter(
                self._data, f"{limits.MAX_DISPATCH_ATTEMPTS} starts failed; the last: {said}"
            )
            return None
        return lease

    # --- The steps ------------------------------------------------------------------------------

    async def _start(self, lease: leases.Lease) -> None:
        try:
            record = await self._checked()
            crash_point("dispatch.checked")
            name = work_name(self._job_id, self._attempt)
            await self._stop_stale(record)
            if not await self._exists(record, name, lease):
                await self._submit(record, name)
            crash_point("dispatch.submitted")
            await self._record_running()
            crash_point("dispatch.recorded")
        except ExecutorRefusedError as refused:
            await self._fail(JobError(code=refused.code, message=refused.message))
        except ExecutorQuotaError as full:
            await self._wait(full)
        except ProblemError as problem:
            if problem.type in (JOB_STATE, JOB_NOT_FOUND):
                raise _OvertakenError from problem
            await self._fail(JobError(code=problem.type.code, message=problem.detail))
        except _OvertakenError:
            raise
        except Exception as error:
            await self._note(lease, error)
            raise

    async def _checked(self) -> JobRecord:
        """Return the job over the episodes that can still be trained on, and with money left."""
        record = await self._store.find(self._job_id, whole=True)
        if record is None:
            raise _OvertakenError
        await check_month(self._store, record)
        checked = await recheck(record)
        if checked is record:
            return record
        _, after = await self._change(
            lambda present: present.model_copy(update={"config": checked.config}), whole=True
        )
        return after

    async def _stop_stale(self, record: JobRecord) -> None:
        """Stop the works of earlier attempts before a new one starts."""
        if record.backend.stale:
            await clean_up(self._store, record)
            crash_point("dispatch.stale_stopped")

    async def _exists(self, record: JobRecord, name: str, lease: leases.Lease) -> bool:
        """Say whether a dispatcher that died has submitted the work already."""
        if lease.attempt == 1 and not record.token_hashes:
            return False
        status = await executor(record.config.backend.value).poll(name)
        return status.state is not WorkState.GONE

    async def _submit(self, record: JobRecord, name: str) -> None:
        token = tokens.mint()
        hashed = tokens.token_hash(token)
        await self._change(
            lambda present: present.model_copy(
                update={"token_hashes": [*present.token_hashes, hashed]}
            )
        )
        crash_point("dispatch.token_stored")
        await executor(record.config.backend.value).submit(_work(record, name, token, self._now))

    async def _record_running(self) -> None:
        until = self._now + timedelta(seconds=settings().continuon_job_start_s)

        def running(present: JobRecord) -> JobRecord:
            if present.status is JobStatus.QUEUED:
                present = service.start(present, self._now, until=until)
            done = {**present.dispatch, "state": "completed", "until": None}
            return present.model_copy(update={"dispatch": done})

        await self._change(running, running_too=True)
        _LOGGER.info("job started", extra=_fields(self._job_id, self._attempt))

    # --- Ends -----------------------------------------------------------------------------------

    async def _fail(self, error: JobError) -> None:
        _, after = await self._change(lambda present: service.fail(present, error, self._now))
        await announce_finished(self._store, after)

    async def _wait(self, full: ExecutorQuotaError) -> None:
        """Leave the job queued, without counting this as a failed start."""
        at = self._now + timedelta(seconds=full.retry_after_s)
        # Nothing was started, so nobody has these tokens; a long wait must not pile them up.
        fresh = {"dispatch": {}, "next_dispatch_at": at, "token_hashes": []}
        await self._change(lambda present: present.model_copy(update=fresh))
        _LOGGER.info("backend is full", extra=_fields(self._job_id, self._attempt))

    async def _note(self, lease: leases.Lease, error: Exception) -> None:
        """Write down why this start failed; the last one's words reach the job."""
        said = str(error) if isinstance(error, UnavailableError) else type(error).__name__
        try:
            await lease.write({"dispatch.problem": said[:500]})
        except (leases.LeaseLostError, UnavailableError):
            _LOGGER.warning("failed start not noted", extra=_fields(self._job_id, self._attempt))

    async def _change(
        self,
        decide: Callable[[JobRecord], JobRecord],
        *,
        running_too: bool = False,
        whole: bool = False,
    ) -> tuple[JobRecord, JobRecord]:
        """Change the job if it is still queued for this attempt.

        Raises:
            _OvertakenError: It is not.
        """

        def ours(present: JobRecord) -> JobRecord:
            allowed = {JobStatus.QUEUED, JobStatus.RUNNING} if running_too else {JobStatus.QUEUED}
            if present.attempt != self._attempt or present.status not in allowed:
                raise _OvertakenError
            return decide(present)

        return await self._store.change(self._job_id, ours, whole=whole)


async def recheck(record: JobRecord) -> JobRecord:
    """Return the job without the episodes that were deleted or rejected since it was queued.

    Raises:
        ProblemError: ``job.no_episodes``: none is left; or the model to start from is gone.
    """
    await bases.check(record)
    found = await EpisodeReader().by_ids(record.config.episode_ids)
    left = selection.still_eligible(record, found)
    if len(left) == len(record.config.episode_ids):
        return record
    if not left:
        count = record.config.episode_count
        raise ProblemError(
            NO_EPISODES, f"All {count} episodes were deleted or rejected while the job waited."
        )
    return selection.with_episodes(record, left)


def _work(record: JobRecord, name: str, token: str, now: datetime) -> Work:
    config, chosen = record.config, settings()
    timeout_s = max(1, int((service.deadline(record, now) - now).total_seconds()))
    return Work(
        name=name,
        job_id=record.job_id,
        attempt=record.attempt,
        environment={
            "CONTINUON_TRAINER_CONTRACT": str(TRAINER_CONTRACT),
            "CONTINUON_API_URL": chosen.continuon_public_url or "",
            "CONTINUON_JOB_ID": record.job_id,
            "CONTINUON_JOB_ATTEMPT": str(record.attempt),
        },
        secrets={"CONTINUON_JOB_TOKEN": token},
        image=chosen.continuon_trainer_image,
        command=chosen.continuon_trainer_command,
        resources=Resources(**config.resources.model_dump()),
        timeout_s=timeout_s,
        labels={
            "continuon-job": record.job_id.replace("_", "-"),
            "continuon-type": record.type.value.replace("_", "-"),
        },
    )


def _fields(job_id: str, attempt: int) -> dict[str, dict[str, object]]:
    return {"fields": {"job_id": job_id, "attempt": attempt}}
