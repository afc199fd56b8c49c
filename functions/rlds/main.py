"""Entry points of the rlds codebase: parse, call, answer.

Each entry point imports its own part when it is first called. A function's process serves one
entry point, so the others' imports would only lengthen its cold start.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import functions_framework.aio

from continuon.errors import ProblemError, UnavailableError
from continuon.platform.logging import configure_logging

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent
    from starlette.requests import Request
    from starlette.types import ASGIApp

_LOGGER = logging.getLogger("continuon.rlds")


@functions_framework.aio.http  # type: ignore[arg-type]  # any ASGI app is a valid answer there
async def signed_url(_request: Request) -> ASGIApp:
    """POST /api/rlds/signed-url: grant an upload. A repeated request renews the grant."""
    from continuon_rlds.api import uploads  # noqa: PLC0415 - see the module's docstring

    return uploads.app()


@functions_framework.aio.http  # type: ignore[arg-type]  # any ASGI app is a valid answer there
async def ingest(_request: Request) -> ASGIApp:
    """POST /api/rlds/ingest: validate now. A repeated request finds the verdict."""
    from continuon_rlds.api import ingest  # noqa: PLC0415 - see the module's docstring

    return ingest.app()


@functions_framework.aio.http  # type: ignore[arg-type]  # any ASGI app is a valid answer there
async def episodes_api(_request: Request) -> ASGIApp:
    """Serve /api/v1/episodes: list, get, report, download, delete."""
    from continuon_rlds.api import episodes  # noqa: PLC0415 - see the module's docstring

    return episodes.app()


@functions_framework.aio.cloud_event
async def ingest_finalized(event: CloudEvent) -> None:
    """Handle an object that was stored: validate and promote its episode.

    Returning acknowledges; raising has the event delivered again. So: what a repetition cannot
    mend is logged and acknowledged, a store's failure and another worker's lease are raised.
    """
    from continuon_rlds.ingest import Busy, ingest_event  # noqa: PLC0415 - see the module
    from continuon_rlds.settings import settings  # noqa: PLC0415 - same
    from continuon_rlds.store import EpisodeStore  # noqa: PLC0415 - same

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
        raise UnavailableError("This episode (another worker has it)")
