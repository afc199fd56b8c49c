"""What a trainer asks and reports: contract 1 of docs/trainers.md."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from continuon import limits
from continuon.contracts.training import (
    ArtifactRequest,
    ArtifactResponse,
    AssignedBase,
    AssignedCheckpoint,
    AssignedEpisode,
    AssignedEpisodePage,
    AssignedFile,
    Assignment,
    CallbackRequest,
    CallbackResponse,
    Checkpoint,
    HeartbeatRequest,
    HeartbeatResponse,
    JobArtifact,
    JobError,
    LogRequest,
    LogResponse,
    MetricsRequest,
    MetricsResponse,
    ReleaseRequest,
    ReleaseResponse,
)
from continuon.errors import ProblemError
from continuon.identifiers import EPISODE_ID
from continuon.paging import PAGE_TOKEN_INVALID
from continuon.platform.faults import crash_point
from continuon.platform.identity import Now
from continuon.platform.objects import ObjectStore
from continuon.platform.storage import url_signer
from continuon_training import artifacts, bases, callbacks, selection, service
from continuon_training.announcements import announce_finished, request_dispatch
from continuon_training.api.visibility import IdOfJob, LiveTrainer, Trainer, TrainerCall
from continuon_training.episodes import EpisodeReader
from continuon_training.errors import EPISODES_CHANGED, JOB_SUPERSEDED
from continuon_training.journal import Journal
from continuon_training.records import EpisodeChoice, JobRecord
from continuon_training.settings import settings
from continuon_training.store import JobStore

__all__ = ["router"]

_EPISODES_PER_PAGE: Final = 50
"""Episodes in one answer: each is a listing of its objects, and a signature for each file."""

router = APIRouter(prefix="/api/v1/training", tags=["trainers"])


def _durations() -> service.Durations:
    chosen = settings()
    return service.Durations(
        lease_s=chosen.continuon_job_lease_s, start_s=chosen.continuon_job_start_s
    )


@router.get("/jobs/{job_id}/assignment")
async def get_assignment(job_id: IdOfJob, trainer: LiveTrainer, now: Now) -> Assignment:
    """Get what this trainer is to do, and the checkpoint or the model it starts from."""
    record = trainer.record
    assert record.job_id == job_id  # noqa: S101 - the dependency read this job
    return Assignment(
        job_id=record.job_id,
        attempt=record.attempt,
        type=record.type,
        robot_model=record.config.robot_model,
        hyperparams=record.config.hyperparams,
        model_base=await _base(job_id, trainer, now),
        model_id=record.config.model_id,
        episode_count=record.config.episode_count,
        episodes_digest=record.config.episodes_digest or "",
        timeout_s=record.config.timeout_s,
        deadline=service.deadline(record, now),
        heartbeat_s=settings().continuon_heartbeat_s,
        sequence=record.sequence,
        checkpoint=await _checkpoint(record),
    )


async def _base(job_id: str, trainer: TrainerCall, now: datetime) -> AssignedBase | str | None:
    try:
        version = await bases.check(trainer.record)
    except ProblemError as problem:
        # Deleted since the job started. Another attempt would meet the same.
        await _fail(job_id, trainer, problem, now)
        raise ProblemError(JOB_SUPERSEDED, f"The job failed: {problem.detail}") from problem
    if version is None:
        return trainer.record.config.model_base
    return AssignedBase(
        ref=version.ref,
        # The generation keeps the URL on the bytes whose digest was compared.
        url=await artifacts.read_url(version.storage_ref, generation=version.generation),
        sha256=version.sha256,
        size_bytes=version.size_bytes,
        format=version.format,
    )


async def _fail(job_id: str, trainer: TrainerCall, why: ProblemError, now: datetime) -> None:
    error = JobError(code=why.type.code, message=why.detail)

    def decide(present: JobRecord) -> JobRecord:
        over = present.status.is_final or not trainer.is_live(present)
        return present if over else service.fail(present, error, now)

    await _apply(job_id, trainer, decide)


async def _checkpoint(record: JobRecord) -> AssignedCheckpoint | None:
    if record.checkpoint is None:
        return None
    url = await artifacts.read_url(record.checkpoint.ref)
    return AssignedCheckpoint(**record.checkpoint.model_dump(), url=url)


@router.get("/jobs/{job_id}/episodes")
async def get_episodes(
    job_id: IdOfJob,
    trainer: LiveTrainer,
    now: Now,
    page_token: Annotated[str | None, Query(max_length=128)] = None,
) -> AssignedEpisodePage:
    """Get the job's episodes in the order of their ids, with URLs that read their files.

    409 `job.episodes_changed` when one of them was deleted or rejected since the job started.
    """
    if page_token is not None and not EPISODE_ID.fullmatch(page_token):
        raise ProblemError(PAGE_TOKEN_INVALID)
    record = await JobStore().find(job_id, whole=True) or trainer.record
    ids = record.config.episode_ids
    following = ids if page_token is None else [one for one in ids if one > page_token]
    page = following[:_EPISODES_PER_PAGE]
    found = await EpisodeReader().by_ids(page)
    gone = [one for one in page if _is_gone(record, found.get(one))]
    if gone:
        raise ProblemError(EPISODES_CHANGED, f"{gone[0]} cannot be trained on any more.")
    episodes = await asyncio.gather(*(_assigned(found[one]) for one in page))
    lifetime = timedelta(seconds=limits.DOWNLOAD_URL_TTL_S)
    more = len(following) > len(page)
    return AssignedEpisodePage(
        episodes=episodes,
        expires_at=now + lifetime,
        next_page_token=page[-1] if more else None,
    )


def _is_gone(record: JobRecord, choice: EpisodeChoice | None) -> bool:
    config = record.config
    reason = selection.why_not(
        choice, owner_id=record.owner_id, robot_model=config.robot_model, min_quality=None
    )
    return reason is not None


async def _assigned(choice: EpisodeChoice) -> AssignedEpisode:
    stored = await ObjectStore(settings().continuon_rlds_bucket).list(choice.storage_ref)
    signer = url_signer(settings().continuon_rlds_bucket)
    lifetime = timedelta(seconds=limits.DOWNLOAD_URL_TTL_S)

    def signed() -> list[AssignedFile]:
        return [
            AssignedFile(
                path=one.name.removeprefix(f"{choice.storage_ref}/"),
                # The generation keeps the URL on what was listed, whatever happens to the name.
                url=signer.sign(
                    one.name,
                    method="GET",
                    lifetime=lifetime,
                    query={"generation": str(one.generation)},
                ),
                size_bytes=one.size_bytes,
                crc32c=one.crc32c,
            )
            for one in stored
        ]

    return AssignedEpisode(
        episode_id=choice.episode_id,
        robot_id=choice.robot_id,
        sha256=choice.sha256,
        quality=choice.quality,
        files=await asyncio.to_thread(signed),
    )


@router.post("/jobs/{job_id}/artifacts", status_code=201)
async def announce_artifact(
    job_id: IdOfJob, request: ArtifactRequest, trainer: LiveTrainer, now: Now
) -> ArtifactResponse:
    """Announce a checkpoint or a result, and get the URL that stores it, once.

    The same announcement again renews the URL.
    """
    assert trainer.record.job_id == job_id  # noqa: S101 - the dependency read this job
    return await artifacts.announce(trainer.record, request, now)


@router.post("/jobs/{job_id}/callback")
async def callback(
    job_id: IdOfJob, request: CallbackRequest, trainer: Trainer, now: Now
) -> CallbackResponse:
    """Report what happened. Late, repeated and overtaken callbacks change nothing and answer 200.

    422 when a reference names an object that is not stored as it was announced for this job.
    """
    return await _callback(job_id, request, trainer, now)


@router.put("/jobs/{job_id}/status")
async def put_status(
    job_id: IdOfJob, request: CallbackRequest, trainer: Trainer, now: Now
) -> CallbackResponse:
    """Report what happened, as `POST .../callback` does."""
    return await _callback(job_id, request, trainer, now)


async def _callback(
    job_id: str, request: CallbackRequest, trainer: TrainerCall, now: datetime
) -> CallbackResponse:
    stored = callbacks.Stored()
    if callbacks.is_applicable(trainer.record, request, live=trainer.is_live(trainer.record)):
        stored = await _stored(job_id, request)
    answers: list[CallbackResponse] = []

    def decide(present: JobRecord) -> JobRecord:
        after, answer = callbacks.apply_callback(
            present,
            request,
            stored,
            now,
            live=trainer.is_live(present),
            durations=_durations(),
            grace_s=settings().continuon_job_cleanup_grace_s,
        )
        answers.append(answer)
        return after

    await _apply(job_id, trainer, decide)
    return answers[-1]


async def _apply(job_id: str, trainer: TrainerCall, decide: Any) -> JobRecord:
    store = JobStore()
    before, after = await store.change(job_id, decide, snapshot=trainer.snapshot)
    if after.status.is_final and not before.status.is_final:
        crash_point("callback.ended")
        await announce_finished(store, after)
    return after


async def _stored(job_id: str, request: CallbackRequest) -> callbacks.Stored:
    checkpoint, artifact = None, None
    if request.checkpoint_ref is not None:
        found = await artifacts.complete(job_id, request.checkpoint_ref, field="checkpoint_ref")
        checkpoint = Checkpoint(
            ref=found.ref, step=found.step, size_bytes=found.size_bytes, sha256=found.sha256
        )
    if request.artifact_ref is not None:
        found = await artifacts.complete(job_id, request.artifact_ref, field="artifact_ref")
        artifact = JobArtifact(ref=found.ref, sha256=found.sha256, size_bytes=found.size_bytes)
    return callbacks.Stored(checkpoint, artifact)


@router.post("/jobs/{job_id}/heartbeat")
async def heartbeat(
    job_id: IdOfJob, request: HeartbeatRequest, trainer: Trainer, now: Now
) -> HeartbeatResponse:
    """Say that the worker lives, and hear whether it is to go on."""
    answers: list[HeartbeatResponse] = []

    def decide(present: JobRecord) -> JobRecord:
        after, answer = callbacks.apply_heartbeat(
            present,
            request.attempt,
            now,
            live=trainer.is_live(present),
            durations=_durations(),
        )
        answers.append(answer)
        return after

    await _apply(job_id, trainer, decide)
    return answers[-1]


@router.post("/jobs/{job_id}/release")
async def release(
    job_id: IdOfJob, request: ReleaseRequest, trainer: Trainer, now: Now
) -> ReleaseResponse:
    """Give the job back, so that it goes on elsewhere at once and not when the lease ends."""
    said = f" It said: {request.reason}" if request.reason else ""
    error = JobError(code="job.released", message=f"The worker gave the job back.{said}")

    def decide(present: JobRecord) -> JobRecord:
        live = trainer.is_live(present)
        if callbacks.stop_reason(present, request.attempt, live=live) is not None:
            return present
        if not present.status.is_final and present.lease is None:
            return present
        return service.requeue(present, error, now)

    before, after = await JobStore().change(job_id, decide, snapshot=trainer.snapshot)
    if after is before or (after.attempt == before.attempt and not after.status.is_final):
        return ReleaseResponse(released=False, status=after.status)
    if after.status.is_final:
        await announce_finished(JobStore(), after)
    elif after.next_dispatch_at is not None:
        await request_dispatch(after)
    return ReleaseResponse(released=True, status=after.status)


@router.post("/jobs/{job_id}/metrics")
async def add_metrics(
    job_id: IdOfJob, request: MetricsRequest, trainer: LiveTrainer, now: Now
) -> MetricsResponse:
    """Store rows of metrics. The same rows again are stored once."""
    stored, capped = await Journal(job_id).add_metrics(trainer.record, request.rows, now)
    return MetricsResponse(stored=stored, capped=capped)


@router.post("/jobs/{job_id}/logs")
async def add_log(
    job_id: IdOfJob, request: LogRequest, trainer: LiveTrainer, now: Now
) -> LogResponse:
    """Store one chunk of the trainer's log. A sequence number is stored once."""
    stored, capped = await Journal(job_id).add_log(
        trainer.record, request.sequence, request.text, now
    )
    return LogResponse(stored=stored, capped=capped)
