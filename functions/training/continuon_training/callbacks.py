"""What a trainer's signs of life change: pure. Each is applied once, in order, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from continuon import limits
from continuon.contracts.training import (
    Backend,
    CallbackResponse,
    CallbackState,
    HeartbeatResponse,
    JobError,
    JobOutput,
    JobStatus,
    StopReason,
)
from continuon_training import service
from continuon_training.records import WorkerLease

if TYPE_CHECKING:
    from datetime import datetime

    from continuon.contracts.training import CallbackRequest, Checkpoint, JobArtifact
    from continuon_training.records import JobRecord
    from continuon_training.service import Durations

__all__ = ["Stored", "apply_callback", "apply_heartbeat", "is_applicable", "stop_reason"]

_NO_REASON: Final = JobError(code="trainer", message="The trainer gave no reason.")


@dataclass(frozen=True, slots=True)
class Stored:
    """The objects that a callback names, found complete."""

    checkpoint: Checkpoint | None = None
    artifact: JobArtifact | None = None


def stop_reason(record: JobRecord, attempt: int, *, live: bool) -> StopReason | None:
    """Say why a trainer of ``attempt`` is to stop; None when the job is its own.

    Args:
        record: The job.
        attempt: What the trainer says it is.
        live: Whether its token is one of the present attempt.
    """
    if record.status.is_final:
        return record.stop_reason or StopReason.ENDED
    if not live or attempt != record.attempt:
        return StopReason.SUPERSEDED
    return None


def is_applicable(record: JobRecord, request: CallbackRequest, *, live: bool) -> bool:
    """Say whether the callback would change anything: not late, not repeated, not overtaken."""
    ours = stop_reason(record, request.attempt, live=live) is None
    return ours and request.sequence > record.sequence


def apply_callback(
    record: JobRecord,
    request: CallbackRequest,
    stored: Stored,
    now: datetime,
    *,
    live: bool,
    durations: Durations,
    grace_s: int = limits.JOB_CLEANUP_GRACE_S,
) -> tuple[JobRecord, CallbackResponse]:
    """Return the job after a callback, and the answer to it."""
    reason = stop_reason(record, request.attempt, live=live)
    if reason is not None or request.sequence <= record.sequence:
        stopped = reason is not None
        return record, CallbackResponse(
            applied=False, status=record.status, stop=stopped, stop_reason=reason
        )
    alive = _alive(record, now, durations)
    reported = alive.model_copy(
        update={
            "sequence": request.sequence,
            "step": record.step if request.step is None else request.step,
            "metrics": {**record.metrics, **(request.metrics or {})},
            "checkpoint": stored.checkpoint or record.checkpoint,
        }
    )
    after = _ended(reported, request, stored, now, grace_s)
    reason = after.stop_reason if after.status.is_final else None
    return after, CallbackResponse(
        applied=True, status=after.status, stop=reason is not None, stop_reason=reason
    )


def apply_heartbeat(
    record: JobRecord, attempt: int, now: datetime, *, live: bool, durations: Durations
) -> tuple[JobRecord, HeartbeatResponse]:
    """Return the job after a heartbeat, and the answer to it."""
    reason = stop_reason(record, attempt, live=live)
    if reason is not None:
        return record, HeartbeatResponse(status=record.status, stop=True, stop_reason=reason)
    alive = _alive(record, now, durations)
    if (reason := service.overdue(alive, now)) is not None:
        stopped = service.stop(alive, reason, now)
        return stopped, HeartbeatResponse(status=stopped.status, stop=True, stop_reason=reason)
    until = alive.lease.until if alive.lease else None
    return alive, HeartbeatResponse(status=alive.status, lease_expires_at=until)


def _alive(record: JobRecord, now: datetime, durations: Durations) -> JobRecord:
    """Return the job with a worker that was heard of just now.

    A trainer may call before its dispatcher has written that it runs, or in its place.
    """
    until = now + durations.lease
    if record.status is JobStatus.QUEUED:
        record = service.start(record, now, until=until)
    worker_id = record.lease.worker_id if record.lease else None
    return record.model_copy(
        update={
            "heartbeat_at": now,
            "updated_at": now,
            "heard_from": True,
            "cost_usd": service.accrued_usd(record, now),
            "lease": WorkerLease(worker_id=worker_id, until=until),
        }
    )


def _ended(
    record: JobRecord, request: CallbackRequest, stored: Stored, now: datetime, grace_s: int
) -> JobRecord:
    """Return the job at its end if the callback says so, or if it reached a limit."""
    if request.state is CallbackState.FAILED:
        return _left(service.fail(record, request.error or _NO_REASON, now), now, grace_s)
    if request.state is CallbackState.COMPLETED:
        done = service.transition(record, JobStatus.COMPLETED, now)
        output = JobOutput(artifact=stored.artifact, metrics=record.metrics)
        return _left(done.model_copy(update={"output": output, "error": None}), now, grace_s)
    reason = service.overdue(record, now)
    return record if reason is None else service.stop(record, reason, now)


def _left(record: JobRecord, now: datetime, grace_s: int) -> JobRecord:
    """Give the trainer time to end by itself before its work is stopped at the backend."""
    if record.config.backend is Backend.PULL:
        return record
    at = now + timedelta(seconds=grace_s)
    work = record.backend.model_copy(update={"cleanup_at": at})
    return record.model_copy(update={"backend": work})
