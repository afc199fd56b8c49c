"""What the watchdog decides about a job that says nothing: pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from continuon import limits
from continuon.contracts.training import Backend, JobError, JobStatus, StopReason
from continuon_training import service
from continuon_training.executors.base import WorkState
from continuon_training.records import WorkerLease

if TYPE_CHECKING:
    from datetime import datetime

    from continuon_training.executors.base import WorkStatus
    from continuon_training.records import JobRecord
    from continuon_training.service import Durations

__all__ = ["is_lost", "needs_poll", "out_of_month", "supervise", "waited_too_long"]

_NOT_THE_TRAINERS_FAULT: Final = frozenset({3, 4, 137, 143})
"""Exit statuses after which another attempt makes sense: told to stop and no answer from the cloud
(docs/trainers.md), SIGKILL and SIGTERM as a shell or a container reports them."""


def needs_poll(record: JobRecord, now: datetime, quiet: timedelta) -> bool:
    """Say whether the backend should be asked: only where the trainer itself is quiet."""
    if record.status is not JobStatus.RUNNING or record.config.backend is Backend.PULL:
        return False
    heard = record.heartbeat_at
    # A heartbeat from the future comes from an instance whose clock is ahead: no sign of life.
    return heard is None or not now - quiet < heard <= now + quiet


def is_lost(record: JobRecord, now: datetime) -> bool:
    """Say whether the running job's worker has been silent for longer than its lease."""
    return record.lease is None or now >= record.lease.until


def waited_too_long(record: JobRecord, now: datetime) -> bool:
    """Say whether the queued job has waited for a worker for as long as any may."""
    waited = now - record.queued_at
    return record.status is JobStatus.QUEUED and waited > timedelta(seconds=limits.MAX_JOB_QUEUED_S)


def out_of_month(record: JobRecord, limit_usd: float, now: datetime) -> JobRecord:
    """Return the job as failed because its owner's money of the month is used up.

    Raises:
        ProblemError: ``job.state``.
    """
    message = f"The account's training budget of {limit_usd:.2f} USD for {record.month} is used up."
    error = JobError(code="budget.month", message=message)
    return service.fail(record, error, now, stop_reason=StopReason.BUDGET)


def supervise(
    record: JobRecord, now: datetime, work: WorkStatus | None, durations: Durations
) -> JobRecord:
    """Return the job as it is to be; the same record when all is well.

    Args:
        record: The job as just read.
        now: The invocation's reading of the clock.
        work: What its backend says; None where that was not asked or did not answer.
        durations: How long silence is allowed.
    """
    if record.status is JobStatus.QUEUED:
        if waited_too_long(record, now):
            message = "No worker took the job in time."
            return service.fail(record, JobError(code="job.queue_timeout", message=message), now)
        return record
    if record.status.is_final:
        return record
    if (reason := service.overdue(record, now)) is not None and not _waits(record, work):
        return service.stop(record, reason, now)
    if work is None:
        # A backend that does not answer says nothing about the work.
        lost = is_lost(record, now) and record.config.backend is Backend.PULL
        return _lost(record, now) if lost else _billed(record, now)
    return _judged(record, now, work, durations)


def _judged(record: JobRecord, now: datetime, work: WorkStatus, durations: Durations) -> JobRecord:
    if work.state is WorkState.PENDING:
        return _waiting(record, now, durations)
    if work.state is WorkState.RUNNING:
        return _lost(record, now) if is_lost(record, now) else _billed(record, now)
    if work.state is WorkState.GONE:
        message = "The backend no longer knows the work: it was removed there."
        return service.requeue(record, JobError(code="job.work_gone", message=message), now)
    if work.state is WorkState.SUCCEEDED:
        message = "The trainer ended without saying that the job is completed."
        return service.fail(record, JobError(code="job.no_result", message=message), now)
    return _broken(record, now, work)


def _broken(record: JobRecord, now: datetime, work: WorkStatus) -> JobRecord:
    said = f" {work.message}" if work.message else ""
    if work.timed_out:
        return service.stop(record, StopReason.TIMEOUT, now)
    code = work.exit_code
    if work.preempted:
        error = JobError(code="job.preempted", message=f"The backend took the machine away.{said}")
        return service.requeue(record, error, now)
    if code is None or code < 0 or code in _NOT_THE_TRAINERS_FAULT:
        error = JobError(code="job.worker_killed", message=f"The trainer was stopped.{said}")
        return service.requeue(record, error, now)
    message = f"The trainer ended with exit status {code}.{said}"
    return service.fail(record, JobError(code="job.trainer_failed", message=message), now)


def _lost(record: JobRecord, now: datetime) -> JobRecord:
    message = "The worker was not heard of for longer than its lease."
    return service.requeue(record, JobError(code="job.worker_lost", message=message), now)


def _waits(record: JobRecord, work: WorkStatus | None) -> bool:
    return work is not None and work.state is WorkState.PENDING and not record.heard_from


def _waiting(record: JobRecord, now: datetime, durations: Durations) -> JobRecord:
    """Return the job with its clocks not started: waiting for a machine costs no time."""
    lease = WorkerLease(worker_id=None, until=now + durations.start)
    first = record.attempt == 1
    return record.model_copy(
        update={
            "lease": lease,
            "heartbeat_at": now,
            "attempt_started_at": now,
            "started_at": now if first else record.started_at,
        }
    )


def _billed(record: JobRecord, now: datetime) -> JobRecord:
    """Return the job with what it costs until now; of a job that costs nothing, itself."""
    if record.usd_per_hour <= 0:
        return record
    return record.model_copy(update={"cost_usd": service.accrued_usd(record, now)})
