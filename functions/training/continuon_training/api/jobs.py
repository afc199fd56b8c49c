"""Jobs as their owner starts, sees and ends them."""

from __future__ import annotations

import logging
import re
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query
from google.cloud.firestore import FieldFilter

from continuon import limits
from continuon.contracts.training import (
    Backend,
    Job,
    JobPage,
    JobRequest,
    JobStatus,
    LogPage,
    MetricPage,
)
from continuon.errors import ProblemError, UnavailableError
from continuon.identifiers import EPISODE_ID
from continuon.paging import PAGE_TOKEN_INVALID, decode_cursor, encode_cursor
from continuon.platform.faults import crash_point
from continuon.platform.identity import CurrentUser, Now
from continuon_training import bases, creation, money, selection, service
from continuon_training.announcements import announce_finished, request_dispatch
from continuon_training.api.visibility import IdOfJob, owned_job
from continuon_training.budget import check_month
from continuon_training.episodes import EpisodeReader
from continuon_training.errors import IDEMPOTENCY_MISMATCH, JOB_STATE
from continuon_training.journal import Journal
from continuon_training.records import JobRecord
from continuon_training.settings import settings
from continuon_training.store import JobStore
from continuon_training.webhooks.creation import check_callback

__all__ = ["router"]

_LOGGER: Final = logging.getLogger("continuon.training")
_LOG_CURSOR: Final = re.compile(r"[0-9]{3}-[0-9]{8}")

router = APIRouter(prefix="/api/v1/training", tags=["training"])
_IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[A-Za-z0-9_-]{8,128}$",
        description="Repeats a request safely: one key starts one job.",
    ),
]


@router.post("/jobs", status_code=201)
async def create_job(
    request: JobRequest,
    user: CurrentUser,
    now: Now,
    idempotency_key: _IdempotencyKey = None,
) -> Job:
    """Start a training job over your validated episodes.

    The episodes are chosen now and looked at again when the job starts. With `Idempotency-Key`, the
    same request again answers with the same job.
    """
    creation.check_backend(request, settings().continuon_training_backends)
    store, name = JobStore(), creation.job_id(user.uid, idempotency_key)
    if idempotency_key is not None and (known := await store.find(name, whole=True)) is not None:
        return _same(known, creation.request_digest(request))
    if request.callback_url is not None:
        await check_callback(request.callback_url, user.uid)
    model_base = await bases.resolve(request.type, request.model_base, user.uid)
    record = creation.new_job(
        request,
        owner_id=user.uid,
        episode_ids=await _episodes(request, user.uid),
        model_base=model_base,
        name=name,
        prices=money.price_table(settings().continuon_training_prices),
        redispatch_s=settings().continuon_redispatch_s,
        now=now,
    )
    await check_month(store, record)
    if request.callback_url is not None:
        await check_callback(request.callback_url, user.uid)
    return await _queue(store, record, user.uid)


async def _episodes(request: JobRequest, uid: str) -> list[str]:
    reader = EpisodeReader()
    if request.episode_ids is None:
        chosen = await reader.newest(
            uid,
            request.robot_model,
            min_quality=request.min_quality,
            limit=limits.MAX_JOB_EPISODES,
        )
        return [choice.episode_id for choice in chosen]
    selection.check_listed(
        request.episode_ids,
        await reader.by_ids(request.episode_ids),
        owner_id=uid,
        robot_model=request.robot_model,
        min_quality=request.min_quality,
    )
    return request.episode_ids


async def _queue(
    store: JobStore, record: JobRecord, uid: str, *, action: str = "training.create"
) -> Job:
    if not await store.create(record, actor=uid, action=action):
        # The same key twice at the same time: the other request's job is the one.
        known = await store.find(record.job_id, whole=True)
        return _same(known or record, record.request_digest or "")
    crash_point("create.created")
    if record.config.backend is not Backend.PULL:
        try:
            await request_dispatch(record)
        except UnavailableError:
            # The job is there; the watchdog sends its message.
            fields = {"job_id": record.job_id}
            _LOGGER.warning("job not dispatched yet", extra={"fields": fields})
    return record.public()


def _same(known: JobRecord, digest: str) -> Job:
    if known.request_digest != digest:
        raise ProblemError(IDEMPOTENCY_MISMATCH)
    return known.public()


@router.get("/jobs")
async def list_jobs(
    user: CurrentUser,
    status: JobStatus | None = None,
    episode_id: Annotated[str | None, Query(pattern=EPISODE_ID.pattern)] = None,
    page_size: Annotated[int, Query(ge=1, le=limits.MAX_PAGE_SIZE)] = limits.DEFAULT_PAGE_SIZE,
    page_token: Annotated[str | None, Query(max_length=512)] = None,
) -> JobPage:
    """List your jobs, newest first; with `episode_id`, those that it was chosen for."""
    filters = []
    if status is not None:
        filters.append(FieldFilter("status", "==", status.value))
    if episode_id is not None:
        filters.append(FieldFilter("config.episode_ids", "array_contains", episode_id))
    records = await JobStore().page(
        owner_id=user.uid,
        filters=filters,
        after=decode_cursor(page_token) if page_token else None,
        size=page_size,
    )
    last = records[-1] if len(records) == page_size else None
    return JobPage(
        jobs=[record.public() for record in records],
        next_page_token=encode_cursor(last.created_at, last.job_id) if last else None,
    )


@router.get("/jobs/{job_id}")
async def get_job(job_id: IdOfJob, user: CurrentUser) -> Job:
    """Get one of your jobs, with the episodes that it is trained on."""
    return (await owned_job(JobStore(), job_id, user.uid, whole=True)).public()


@router.post("/jobs/{job_id}/cancel")
async def cancel_job(job_id: IdOfJob, user: CurrentUser, now: Now) -> Job:
    """Cancel a job: its state changes at once, and its work is stopped at the backend.

    A job that is cancelled already is answered with as it is.
    """
    return await _cancel(job_id, user.uid, now)


@router.delete("/jobs/{job_id}")
async def delete_job(job_id: IdOfJob, user: CurrentUser, now: Now) -> Job:
    """Cancel a job, as `POST .../cancel` does. What it was stays on record."""
    return await _cancel(job_id, user.uid, now)


async def _cancel(job_id: str, uid: str, now: datetime) -> Job:
    store = JobStore()
    await owned_job(store, job_id, uid)
    before, after = await store.change(
        job_id,
        lambda present: service.cancel(present, now),
        audit=(uid, "training.cancel", now),
    )
    if after.status is not before.status:
        crash_point("cancel.cancelled")
        try:
            await request_dispatch(after)
        except UnavailableError:
            # The watchdog stops the work then.
            fields = {"job_id": job_id}
            _LOGGER.warning("cancelled work not stopped yet", extra={"fields": fields})
        await announce_finished(store, after)
    return after.public()


@router.post("/jobs/{job_id}/retry", status_code=201)
async def retry_job(
    job_id: IdOfJob,
    user: CurrentUser,
    now: Now,
    idempotency_key: _IdempotencyKey = None,
) -> Job:
    """Start a new job that does what a failed or cancelled one did, from its last checkpoint.

    Episodes that were deleted or rejected since are left out.
    """
    store = JobStore()
    record = await owned_job(store, job_id, user.uid, whole=True)
    if record.status not in {JobStatus.FAILED, JobStatus.CANCELLED}:
        detail = f"The job is {record.status.value}; only a failed or cancelled one is retried."
        raise ProblemError(JOB_STATE, detail)
    await bases.check(record)
    # The old job belongs to the key: one key may retry each of two jobs once.
    key = None if idempotency_key is None else f"retry\n{job_id}\n{idempotency_key}"
    found = await EpisodeReader().by_ids(record.config.episode_ids)
    fresh = creation.retried(
        record,
        name=creation.job_id(user.uid, key),
        episode_ids=selection.still_eligible(record, found),
        prices=money.price_table(settings().continuon_training_prices),
        redispatch_s=settings().continuon_redispatch_s,
        now=now,
    )
    await check_month(store, fresh)
    return await _queue(store, fresh, user.uid, action="training.retry")


@router.get("/jobs/{job_id}/metrics")
async def get_metrics(
    job_id: IdOfJob,
    user: CurrentUser,
    after: Annotated[str | None, Query(max_length=512)] = None,
) -> MetricPage:
    """Get rows of metrics in the order they came; pass `next_page_token` as `after` for more.

    Where a step was trained twice, its later row counts.
    """
    record = await owned_job(JobStore(), job_id, user.uid)
    rows, end = await Journal(job_id).metrics(decode_cursor(after) if after else None)
    token = encode_cursor(*end) if end else None
    return MetricPage(rows=rows, status=record.status, next_page_token=token)


@router.get("/jobs/{job_id}/logs")
async def get_logs(
    job_id: IdOfJob,
    user: CurrentUser,
    after: Annotated[str | None, Query(max_length=64)] = None,
) -> LogPage:
    """Get chunks of the trainer's log; pass `next_page_token` as `after` for what follows."""
    record = await owned_job(JobStore(), job_id, user.uid)
    if after is not None and not _LOG_CURSOR.fullmatch(after):
        raise ProblemError(PAGE_TOKEN_INVALID)
    chunks, end = await Journal(job_id).logs(after)
    return LogPage(chunks=chunks, status=record.status, next_page_token=end)
