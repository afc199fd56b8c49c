"""Leases: how a worker anywhere fetches a job over HTTPS."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from fastapi import APIRouter, Response

from continuon.contracts.training import JobError, JobStatus, LeaseRequest, LeaseResponse
from continuon.errors import ProblemError
from continuon.platform.faults import crash_point
from continuon.platform.identity import CurrentUser, Now
from continuon_training import service, tokens
from continuon_training.announcements import announce_finished
from continuon_training.budget import check_month
from continuon_training.dispatch import recheck
from continuon_training.errors import JOB_CHANGED, JOB_NOT_FOUND
from continuon_training.records import JobRecord
from continuon_training.settings import settings
from continuon_training.store import JobStore

__all__ = ["router"]

_CANDIDATES: Final = 5
"""Waiting jobs that one call looks at: several workers may ask at the same moment."""

router = APIRouter(prefix="/api/v1/training", tags=["training"])


@router.post("/lease", responses={204: {"description": "Nothing to do; ask again later."}})
async def lease_job(
    request: LeaseRequest, user: CurrentUser, now: Now, response: Response
) -> LeaseResponse | None:
    """Take one of your jobs that waits for a worker with this label; 204 when there is none.

    The job is this worker's until `lease_expires_at`. Each heartbeat extends that; without one
    the job goes to the next worker, from its last checkpoint.
    """
    store = JobStore()
    waiting = await store.waiting_for(user.uid, request.backend_label, size=_CANDIDATES)
    for candidate in waiting:
        leased = await _take(store, candidate, request.worker_id, now)
        if leased is not None:
            return leased
    response.status_code = 204
    return None


class _TakenError(Exception):
    """Another worker was faster, or the job ended."""


async def _take(
    store: JobStore, candidate: JobRecord, worker_id: str, now: datetime
) -> LeaseResponse | None:
    snapshot = await store.snapshot(candidate.job_id, whole=True)
    data = snapshot.to_dict()
    if not data:
        return None
    record = JobRecord.from_document(data)
    try:
        await check_month(store, record)
        checked = await recheck(record)
    except ProblemError as problem:
        await _fail(store, record, JobError(code=problem.type.code, message=problem.detail), now)
        return None
    token = tokens.mint()
    until = now + timedelta(seconds=settings().continuon_job_lease_s)

    def leased(present: JobRecord) -> JobRecord:
        if present.status is not JobStatus.QUEUED or present.attempt != record.attempt:
            raise _TakenError
        running = service.start(present, now, until=until, worker_id=worker_id)
        return running.model_copy(
            update={"token_hashes": [tokens.token_hash(token)], "config": checked.config}
        )

    try:
        await store.change(record.job_id, leased, snapshot=snapshot, whole=True)
    except _TakenError:
        return None
    except ProblemError as problem:
        if problem.type in (JOB_CHANGED, JOB_NOT_FOUND):
            return None
        raise
    crash_point("lease.leased")
    return LeaseResponse(
        job_id=record.job_id,
        attempt=record.attempt,
        token=token,
        api_url=settings().continuon_public_url,
        heartbeat_s=settings().continuon_heartbeat_s,
        lease_expires_at=until,
    )


async def _fail(store: JobStore, record: JobRecord, error: JobError, now: datetime) -> None:
    def failed(present: JobRecord) -> JobRecord:
        if present.status is not JobStatus.QUEUED:
            return present
        return service.fail(present, error, now)

    before, after = await store.change(record.job_id, failed)
    if after.status is not before.status:
        await announce_finished(store, after)
