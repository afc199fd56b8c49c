"""Decisions about jobs: pure, over contracts, records and a moment.

A decision takes a job's record and returns the record as it is to be; the store writes what
differs, on the condition that nobody wrote in between. :func:`transition` is the only place where
a job's status changes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from continuon import limits
from continuon.contracts.training import Backend, JobError, JobStatus, StopReason
from continuon.errors import ProblemError
from continuon_training.errors import JOB_STATE
from continuon_training.executors.base import work_name
from continuon_training.records import BackendWork, WorkerLease

if TYPE_CHECKING:
    from datetime import datetime

    from continuon_training.records import JobRecord

__all__ = [
    "Durations",
    "accrued_usd",
    "cancel",
    "deadline",
    "fail",
    "overdue",
    "requeue",
    "start",
    "stop",
    "transition",
]

_ALLOWED: Final = {
    JobStatus.QUEUED: {JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED},
    JobStatus.RUNNING: {
        JobStatus.QUEUED,
        JobStatus.COMPLETED,
        JobStatus.FAILED,
        JobStatus.CANCELLED,
    },
}
"""By present status: where a job may go. What is not here is final."""

_SECONDS_PER_HOUR: Final = 3600


def transition(record: JobRecord, target: JobStatus, now: datetime) -> JobRecord:
    """Return the job in status ``target``.

    Raises:
        ProblemError: ``job.state``; the message names the present state.
    """
    if target not in _ALLOWED.get(record.status, set()):
        raise ProblemError(
            JOB_STATE, f"The job is {record.status.value}; it cannot become {target.value}."
        )
    fields: dict[str, object] = {"status": target, "updated_at": now}
    if target.is_final:
        fields |= {
            "completed_at": now,
            "cost_usd": accrued_usd(record, now),
            "lease": None,
            "next_dispatch_at": None,
            "announced": False,
        }
    return record.model_copy(update=fields)


def accrued_usd(record: JobRecord, now: datetime) -> float:
    """Return what the job has cost until ``now``, over all attempts, in US dollars."""
    if record.status is not JobStatus.RUNNING or record.attempt_started_at is None:
        return record.cost_usd
    # Clocks of two instances may differ: time never runs backwards in a bill.
    seconds = max(0.0, (now - record.attempt_started_at).total_seconds())
    running = record.usd_per_hour * seconds / _SECONDS_PER_HOUR
    return max(record.cost_usd, record.settled_usd + running)


def deadline(record: JobRecord, now: datetime) -> datetime:
    """Return when the job's time is over: counted from its first start, over all attempts."""
    return (record.started_at or now) + timedelta(seconds=record.config.timeout_s)


def overdue(record: JobRecord, now: datetime) -> StopReason | None:
    """Say which limit of its own the running job has reached, if any."""
    if record.status is not JobStatus.RUNNING:
        return None
    most = record.config.max_cost_usd
    if most is not None and accrued_usd(record, now) >= most:
        return StopReason.BUDGET
    return StopReason.TIMEOUT if now >= deadline(record, now) else None


class Durations:
    """How long a worker owns a job without a sign of life.

    Args:
        lease_s: Once its trainer was heard of.
        start_s: From its submission until then.
    """

    def __init__(
        self, *, lease_s: int = limits.JOB_LEASE_S, start_s: int = limits.JOB_START_S
    ) -> None:
        self.lease = timedelta(seconds=lease_s)
        self.start = timedelta(seconds=start_s)


def start(
    record: JobRecord, now: datetime, *, until: datetime, worker_id: str | None = None
) -> JobRecord:
    """Return the queued job as running, with its worker until ``until``.

    Raises:
        ProblemError: ``job.state``.
    """
    running = transition(record, JobStatus.RUNNING, now)
    pulled = record.config.backend is Backend.PULL
    name = None if pulled else work_name(record.job_id, record.attempt)
    return running.model_copy(
        update={
            # Also where a trainer calls before its dispatcher has written, or in its place.
            "backend": record.backend.model_copy(update={"name": name}),
            "started_at": record.started_at or now,
            "attempt_started_at": now,
            "heartbeat_at": now,
            "lease": WorkerLease(worker_id=worker_id, until=until),
            "next_dispatch_at": None,
        }
    )


def fail(
    record: JobRecord,
    error: JobError,
    now: datetime,
    *,
    stop_reason: StopReason | None = None,
) -> JobRecord:
    """Return the job as failed; whatever runs for it is to be stopped now.

    Raises:
        ProblemError: ``job.state``.
    """
    failed = transition(record, JobStatus.FAILED, now)
    return failed.model_copy(
        update={"error": error, "stop_reason": stop_reason, "backend": _cleaned(record, now)}
    )


def stop(record: JobRecord, reason: StopReason, now: datetime) -> JobRecord:
    """Return the job as failed because it reached a limit of its own.

    Raises:
        ProblemError: ``job.state``.
    """
    if reason is StopReason.BUDGET:
        most = record.config.max_cost_usd or 0.0
        error = JobError(code="budget.job", message=f"The job reached its limit of {most:.2f} USD.")
    else:
        error = JobError(
            code="job.timeout", message=f"The job ran for its limit of {record.config.timeout_s} s."
        )
    return fail(record, error, now, stop_reason=reason)


def cancel(record: JobRecord, now: datetime) -> JobRecord:
    """Return the job as cancelled; whatever runs for it is to be stopped now.

    A job that is cancelled already stays as it is.

    Raises:
        ProblemError: ``job.state``.
    """
    if record.status is JobStatus.CANCELLED:
        return record
    cancelled = transition(record, JobStatus.CANCELLED, now)
    return cancelled.model_copy(
        update={"stop_reason": StopReason.CANCELLED, "backend": _cleaned(record, now)}
    )


def requeue(record: JobRecord, error: JobError, now: datetime) -> JobRecord:
    """Return the job queued for its next attempt, or failed with ``error`` after the last.

    The present attempt's tokens are spent with it. It goes on from its newest checkpoint.

    Raises:
        ProblemError: ``job.state``.
    """
    if record.attempt >= limits.MAX_JOB_ATTEMPTS:
        message = f"{error.message} That was attempt {record.attempt}, the last."
        return fail(record, JobError(code=error.code, message=message), now)
    cost = accrued_usd(record, now)
    queued = transition(record, JobStatus.QUEUED, now)
    name = record.backend.name
    stale = [*record.backend.stale, *([name] if name else [])]
    return queued.model_copy(
        update={
            "attempt": record.attempt + 1,
            "queued_at": now,
            "cost_usd": cost,
            "settled_usd": cost,
            "attempt_started_at": None,
            "lease": None,
            "dispatch": {},
            # Due at once: whoever requeues it also sends the message, and may die before.
            "next_dispatch_at": None if record.config.backend is Backend.PULL else now,
            "token_hashes": [],
            "spent_token_hashes": [*record.spent_token_hashes, *record.token_hashes],
            "sequence": 0,
            "heard_from": False,
            "backend": BackendWork(name=None, stale=stale, cleanup_at=now if stale else None),
        }
    )


def _cleaned(record: JobRecord, at: datetime) -> BackendWork:
    """Return the work record with everything due to be stopped at ``at``."""
    work = record.backend
    if record.config.backend is Backend.PULL:
        return work
    # A dispatcher may have submitted without having recorded it yet: cleaning up is always due.
    return work.model_copy(update={"cleanup_at": at})
