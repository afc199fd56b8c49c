"""The HTTP surface of episodes: one router for each function."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response

from continuon import limits
from continuon.contracts.episodes import (
    DownloadFile,
    DownloadResponse,
    Episode,
    EpisodePage,
    EpisodeStatus,
    IngestRequest,
    IngestResponse,
    SignedUrlRequest,
    SignedUrlResponse,
)
from continuon.errors import ProblemError
from continuon.identifiers import EPISODE_ID, ROBOT_ID
from continuon.paging import decode_cursor, encode_cursor
from continuon.platform.http import create_app
from continuon.platform.logging import current_trace_id
from continuon.platform.storage import url_signer
from continuon_rlds import service
from continuon_rlds.errors import (
    EPISODE_IN_PROGRESS,
    EPISODE_NOT_FOUND,
    REPORT_NOT_READY,
)
from continuon_rlds.ingest import Busy, ingest_episode
from continuon_rlds.layout import (
    parse_raw_name,
    raw_prefix,
    rejected_report_name,
    validated_prefix,
)
from continuon_rlds.settings import settings
from continuon_rlds.store import EpisodeStore
from continuon_rlds.uploads import grant_upload

if TYPE_CHECKING:
    from fastapi import FastAPI

    from continuon.auth.principals import Principal
    from continuon.platform.identity import CurrentPrincipal, CurrentUser, Now
    from continuon_rlds.records import EpisodeRecord

__all__ = ["episodes_app", "ingest_app", "signed_url_app"]

_signed_url = APIRouter(tags=["upload"])
_ingest = APIRouter(tags=["upload"])
_episodes = APIRouter(prefix="/api/v1/episodes", tags=["episodes"])

_IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[A-Za-z0-9_-]{8,128}$",
        description="Repeats a request safely: without `episode_id`, one key gives one id.",
    ),
]
_EpisodeId = Annotated[str, Path(pattern=EPISODE_ID.pattern)]


@_signed_url.post("/api/rlds/signed-url")
async def signed_url(
    request: SignedUrlRequest,
    principal: CurrentPrincipal,
    now: Now,
    idempotency_key: _IdempotencyKey = None,
) -> SignedUrlResponse:
    """Ask for the right to upload an episode; asking again renews the URLs.

    For robots (signed request) and owners (ID token and `robot_id`). The answer holds one signed
    upload for each file. Every URL stores its object once: it is bound to method, content type,
    length and generation 0. Validation starts by itself when the last file is stored.
    """
    return await grant_upload(
        EpisodeStore(), request, principal, idempotency_key=idempotency_key, now=now
    )


@_ingest.post("/api/rlds/ingest")
async def ingest(request: IngestRequest, principal: CurrentPrincipal, now: Now) -> IngestResponse:
    """Validate an uploaded episode now and answer with the verdict.

    The upload's own event does the same without being asked; whichever comes first does the work,
    the other finds the result. 409 `episode.in_progress` while it is under way.
    """
    store = EpisodeStore()
    raw = parse_raw_name(f"{request.episode_ref}/-")
    assert raw is not None  # noqa: S101 - the contract's pattern is narrower than the parser's
    record = await _visible(store, raw.episode_id, principal)
    if record.robot_id != raw.robot_id:
        raise ProblemError(EPISODE_NOT_FOUND)
    checksum = request.checksum.removeprefix("sha256:") if request.checksum else None
    outcome = await ingest_episode(store, raw.robot_id, raw.episode_id, now=now, checksum=checksum)
    if outcome is None:
        raise ProblemError(EPISODE_NOT_FOUND)
    if isinstance(outcome, Busy):
        raise ProblemError(EPISODE_IN_PROGRESS, retry_after_s=_seconds_until(outcome.until, now))
    settled = outcome.record
    rejected = settled.status is EpisodeStatus.REJECTED
    return IngestResponse(
        status="rejected" if rejected else "validated",
        episode_id=settled.episode_id,
        training_eligible=settled.training_eligible,
        report=await _report(store, settled) if rejected else None,
    )


def _seconds_until(moment: datetime, now: datetime) -> int:
    # A worker is done long before its lease ends; only a dead one keeps it to the end.
    return max(1, min(5, int((moment - now).total_seconds())))


async def _visible(store: EpisodeStore, episode_id: str, principal: Principal) -> EpisodeRecord:
    """Return the episode if ``principal`` may see it; 404 says nothing about others' episodes."""
    record = await store.find(episode_id)
    if record is None or not service.may_read(record, principal):
        raise ProblemError(EPISODE_NOT_FOUND)
    return record


async def _report(store: EpisodeStore, record: EpisodeRecord) -> dict[str, Any]:
    body = await store.read_report(record.report_ref) if record.report_ref else None
    if body is None:
        raise ProblemError(REPORT_NOT_READY, f"The episode is {record.status.value}.")
    report: dict[str, Any] = json.loads(body)
    return report


@_episodes.get("")
async def list_episodes(
    user: CurrentUser,
    status: EpisodeStatus | None = None,
    robot_id: Annotated[str | None, Query(pattern=ROBOT_ID.pattern)] = None,
    page_size: Annotated[int, Query(ge=1, le=limits.MAX_PAGE_SIZE)] = limits.DEFAULT_PAGE_SIZE,
    page_token: Annotated[str | None, Query(max_length=512)] = None,
) -> EpisodePage:
    """List your episodes, newest first."""
    filters = {"status": status.value if status else None, "robot_id": robot_id}
    records = await EpisodeStore().page(
        owner_id=user.uid,
        filters={field: value for field, value in filters.items() if value is not None},
        after=decode_cursor(page_token) if page_token else None,
        size=page_size,
    )
    last = records[-1] if len(records) == page_size else None
    return EpisodePage(
        episodes=[record.public() for record in records],
        next_page_token=encode_cursor(last.uploaded_at, last.episode_id) if last else None,
    )


@_episodes.get("/{episode_id}")
async def get_episode(episode_id: _EpisodeId, principal: CurrentPrincipal) -> Episode:
    """Get one episode. Its owner and the robot that recorded it may."""
    return (await _visible(EpisodeStore(), episode_id, principal)).public()


@_episodes.get(
    "/{episode_id}/report",
    response_class=Response,
    responses={200: {"content": {"application/json": {}}}},
)
async def get_report(episode_id: _EpisodeId, principal: CurrentPrincipal) -> Response:
    """Get the validator's report, byte for byte as it was written."""
    store = EpisodeStore()
    record = await _visible(store, episode_id, principal)
    body = await store.read_report(record.report_ref) if record.report_ref else None
    if body is None:
        raise ProblemError(REPORT_NOT_READY, f"The episode is {record.status.value}.")
    return Response(body, media_type="application/json")


@_episodes.get("/{episode_id}/download")
async def download_episode(episode_id: _EpisodeId, user: CurrentUser, now: Now) -> DownloadResponse:
    """Get signed URLs that read the episode's files; each honours `Range`."""
    store = EpisodeStore()
    record = await _visible(store, episode_id, user)
    lifetime = timedelta(seconds=limits.DOWNLOAD_URL_TTL_S)
    signer = url_signer(settings().continuon_rlds_bucket)
    files = [
        DownloadFile(
            path=stored.name.removeprefix(f"{record.storage_ref}/"),
            # The generation keeps the URL on what was listed, whatever happens to the name.
            url=signer.sign(
                stored.name,
                method="GET",
                lifetime=lifetime,
                query={"generation": str(stored.generation)},
            ),
            size_bytes=stored.size_bytes,
            content_type=stored.content_type,
            crc32c=stored.crc32c,
        )
        for stored in await store.list(record.storage_ref)
    ]
    return DownloadResponse(episode_id=record.episode_id, expires_at=now + lifetime, files=files)


@_episodes.delete("/{episode_id}", status_code=204)
async def delete_episode(episode_id: _EpisodeId, user: CurrentUser, now: Now) -> None:
    """Delete an episode with everything that was stored for it.

    Objects go first: if this is interrupted, the document remains and deleting again finishes it.
    """
    store = EpisodeStore()
    record = await _visible(store, episode_id, user)
    ids = (record.robot_id, record.episode_id)
    rejected = rejected_report_name(*ids).rpartition("/")[0]
    for prefix in (raw_prefix(*ids), validated_prefix(*ids), rejected):
        await store.delete_objects(await store.list(prefix))
    audit = {
        "actor": user.uid,
        "action": "episode.delete",
        "subject": f"rlds_episodes/{episode_id}",
        "outcome": "done",
        "at": now,
        "trace_id": current_trace_id.get(),
    }
    await store.delete_document(record, audit)


@cache
def signed_url_app() -> FastAPI:
    """Return the application of the `signed_url` function."""
    return create_app("Episode uploads", _signed_url, project_id=settings().google_cloud_project)


@cache
def ingest_app() -> FastAPI:
    """Return the application of the `ingest` function."""
    return create_app("Episode ingest", _ingest, project_id=settings().google_cloud_project)


@cache
def episodes_app() -> FastAPI:
    """Return the application of the `episodes_api` function."""
    return create_app("Episodes", _episodes, project_id=settings().google_cloud_project)
