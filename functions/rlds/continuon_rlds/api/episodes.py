"""GET and DELETE /api/v1/episodes: an owner's view of what was recorded."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Annotated, Final

from fastapi import APIRouter, FastAPI, Path, Query, Response

from continuon import limits
from continuon.contracts.episodes import (
    DownloadFile,
    DownloadResponse,
    Episode,
    EpisodePage,
    EpisodeStatus,
)
from continuon.errors import ProblemError
from continuon.identifiers import EPISODE_ID, ROBOT_ID
from continuon.paging import decode_cursor, encode_cursor
from continuon.platform import leases
from continuon.platform.http import create_app
from continuon.platform.identity import CurrentPrincipal, CurrentUser, Now
from continuon.platform.storage import url_signer
from continuon_rlds.api.visibility import report_of, visible_episode
from continuon_rlds.errors import EPISODE_IN_PROGRESS
from continuon_rlds.layout import raw_prefix, rejected_report_name, validated_prefix
from continuon_rlds.settings import settings
from continuon_rlds.store import EpisodeStore

__all__ = ["app"]

_router = APIRouter(prefix="/api/v1/episodes", tags=["episodes"])
_DELETION: Final = "deletion"
_DELETION_LEASE: Final = timedelta(seconds=60)
"""This function is stopped after 60 s (functions.yaml)."""
_BUSY_RETRY_S: Final = 5
_EpisodeId = Annotated[str, Path(pattern=EPISODE_ID.pattern)]


@_router.get("")
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


@_router.get("/{episode_id}")
async def get_episode(episode_id: _EpisodeId, principal: CurrentPrincipal) -> Episode:
    """Get one episode. Its owner and the robot that recorded it may."""
    return (await visible_episode(EpisodeStore(), episode_id, principal)).public()


@_router.get(
    "/{episode_id}/report",
    response_class=Response,
    responses={200: {"content": {"application/json": {}}}},
)
async def get_report(episode_id: _EpisodeId, principal: CurrentPrincipal) -> Response:
    """Get the validator's report, byte for byte as it was written."""
    store = EpisodeStore()
    record = await visible_episode(store, episode_id, principal)
    body = await report_of(store, record)
    return Response(body, media_type="application/json")


@_router.get("/{episode_id}/download")
async def download_episode(episode_id: _EpisodeId, user: CurrentUser, now: Now) -> DownloadResponse:
    """Get signed URLs that read the episode's files; each honours `Range`."""
    store = EpisodeStore()
    record = await visible_episode(store, episode_id, user)
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


@_router.delete("/{episode_id}", status_code=204)
async def delete_episode(episode_id: _EpisodeId, user: CurrentUser, now: Now) -> None:
    """Delete an episode with everything that was stored for it.

    409 `episode.in_progress` while it is being validated. Objects go first: if this is interrupted,
    the document remains and deleting again finishes it.
    """
    store = EpisodeStore()
    record = await visible_episode(store, episode_id, user)
    lease = await _lease_for_deletion(store, episode_id, now)
    async with leases.released_on_error(lease):
        ids = (record.robot_id, record.episode_id)
        rejected = rejected_report_name(*ids).rpartition("/")[0]
        for prefix in (raw_prefix(*ids), validated_prefix(*ids), rejected):
            await store.delete_objects(await store.list(prefix))
        await store.delete_document(record, actor=user.uid, now=now)


async def _lease_for_deletion(store: EpisodeStore, episode_id: str, now: datetime) -> leases.Lease:
    """Take the episode from its ingest: a worker that goes on would store what was just deleted.

    Raises:
        ProblemError: ``episode.in_progress``.
    """
    outcome = await leases.take(
        store.reference(episode_id),
        field="ingest",
        key=_DELETION,
        lease_for=_DELETION_LEASE,
        now=now,
        snapshot=await store.snapshot(episode_id),
    )
    if not isinstance(outcome, leases.Lease):
        raise ProblemError(EPISODE_IN_PROGRESS, retry_after_s=_BUSY_RETRY_S)
    return outcome


@cache
def app() -> FastAPI:
    """Return the application of the `episodes_api` function."""
    return create_app("Episodes", _router, project_id=settings().google_cloud_project)
