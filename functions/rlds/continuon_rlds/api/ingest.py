"""POST /api/rlds/ingest: ask for the verdict now."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache

from fastapi import APIRouter, FastAPI

from continuon.contracts.episodes import EpisodeStatus, IngestRequest, IngestResponse
from continuon.errors import ProblemError
from continuon.platform.http import create_app
from continuon.platform.identity import CurrentPrincipal, Now
from continuon.platform.leases import LeaseLostError
from continuon_rlds.api.visibility import report_of, visible_episode
from continuon_rlds.errors import EPISODE_IN_PROGRESS, EPISODE_NOT_FOUND
from continuon_rlds.ingest import Busy, ingest_episode
from continuon_rlds.layout import parse_raw_name
from continuon_rlds.settings import settings
from continuon_rlds.store import EpisodeStore

__all__ = ["app"]

_router = APIRouter(tags=["upload"])
_LONGEST_WAIT_S = 5
"""A worker is done long before its lease ends; only a dead one keeps it to the end."""


@_router.post("/api/rlds/ingest")
async def ingest(request: IngestRequest, principal: CurrentPrincipal, now: Now) -> IngestResponse:
    """Validate an uploaded episode now and answer with the verdict.

    The upload's own event does the same without being asked; whichever comes first does the work,
    the other finds the result. 409 `episode.in_progress` while it is under way.
    """
    store = EpisodeStore()
    raw = parse_raw_name(f"{request.episode_ref}/-")
    assert raw is not None  # noqa: S101 - the contract's pattern is narrower than the parser's
    record = await visible_episode(store, raw.episode_id, principal)
    if record.robot_id != raw.robot_id:
        raise ProblemError(EPISODE_NOT_FOUND)
    checksum = request.checksum.removeprefix("sha256:") if request.checksum else None
    try:
        outcome = await ingest_episode(
            store, raw.robot_id, raw.episode_id, now=now, checksum=checksum
        )
    except LeaseLostError as error:
        # This worker was too slow, and another one is at it.
        raise ProblemError(EPISODE_IN_PROGRESS, retry_after_s=_LONGEST_WAIT_S) from error
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
        report=json.loads(await report_of(store, settled)) if rejected else None,
    )


def _seconds_until(moment: datetime, now: datetime) -> int:
    return max(1, min(_LONGEST_WAIT_S, int((moment - now).total_seconds())))


@cache
def app() -> FastAPI:
    """Return the application of the `ingest` function."""
    return create_app("Episode ingest", _router, project_id=settings().google_cloud_project)
