"""Entry points of the rlds codebase: parse, call, answer."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import functions_framework.aio

from continuon.errors import ProblemError, UnavailableError
from continuon.platform.logging import configure_logging
from continuon_rlds import api
from continuon_rlds.ingest import Busy, ingest_event
from continuon_rlds.settings import settings
from continuon_rlds.store import EpisodeStore

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent
    from starlette.requests import Request
    from starlette.types import ASGIApp

_LOGGER = logging.getLogger("continuon.rlds")


@functions_framework.aio.http
async def signed_url(_request: Request) -> ASGIApp:
    """POST /api/rlds/signed-url: grant an upload. A repeated request renews the grant."""
    return api.signed_url_app()


@functions_framework.aio.http
async def ingest(_request: Request) -> ASGIApp:
    """POST /api/rlds/ingest: validate now. A repeated request finds the verdict."""
    return api.ingest_app()


@functions_framework.aio.http
async def episodes_api(_request: Request) -> ASGIApp:
    """Serve /api/v1/episodes: list, get, report, download, delete."""
    return api.episodes_app()


@functions_framework.aio.cloud_event
async def ingest_finalized(event: CloudEvent) -> None:
    """Handle an object that was stored: validate and promote its episode.

    Returning acknowledges; raising has the event delivered again. So: what a repetition cannot
    mend is logged and acknowledged, a store's failure and another worker's lease are raised.
    """
    configure_logging(settings().google_cloud_project)
    data: Any = event.data
    name = data.get("name") if isinstance(data, dict) else None
    if not isinstance(name, str):
        _LOGGER.error("malformed storage event", extra={"fields": {"event_id": event["id"]}})
        return
    try:
        outcome = await ingest_event(EpisodeStore(), name, datetime.now(UTC))
    except ProblemError as problem:
        fields = {"object": name, "code": problem.type.code}
        _LOGGER.warning("event not applied: %s", problem, extra={"fields": fields})
        return
    if isinstance(outcome, Busy):
        # If that worker is dead, only a later delivery can take over when its lease has run out.
        raise UnavailableError("Another worker")
