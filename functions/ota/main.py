"""Entry points of the ota codebase: parse, call, answer.

Each entry point imports its own part when it is first called. A function's process serves one
entry point, so the others' imports would only lengthen its cold start.
"""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import functions_framework.aio

from continuon.platform.logging import configure_logging

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent
    from starlette.requests import Request
    from starlette.types import ASGIApp

_LOGGER = logging.getLogger("continuon.ota")
_COLLECTION = "ota_bundles"


@functions_framework.aio.http  # type: ignore[arg-type]  # any ASGI app is a valid answer there
async def ota_api(_request: Request) -> ASGIApp:
    """Serve /api/ota: check, report, bundles, rollouts, robots, signed metadata."""
    from continuon_ota.api import surface  # noqa: PLC0415 - see the module's docstring

    return surface.app()


@functions_framework.aio.cloud_event
async def ota_rollout(event: CloudEvent) -> None:
    """Handle a write to `ota_bundles/{bundle_id}`: look at the bundle as it is now.

    The event says only which document. So duplicated, late and reordered events do no harm, and a
    lost one is made up for by the next tick. Returning acknowledges; raising repeats.
    """
    from continuon.contracts.ota import BUNDLE_ID  # noqa: PLC0415 - see the module's docstring
    from continuon_ota.rollout import bundle_written  # noqa: PLC0415 - same
    from continuon_ota.settings import settings  # noqa: PLC0415 - same

    configure_logging(settings().google_cloud_project)
    attributes: Any = event.get_attributes()
    collection, _, bundle_id = str(attributes.get("document", "")).partition("/")
    if collection != _COLLECTION or re.fullmatch(BUNDLE_ID, bundle_id) is None:
        # No bundle of ours has such a name, however often the event comes.
        _LOGGER.error("malformed event", extra={"fields": {"event_id": attributes.get("id")}})
        return
    await bundle_written(bundle_id, datetime.now(UTC))


@functions_framework.aio.http
async def ota_tick(_request: Request) -> dict[str, int]:
    """Take one step with every live rollout, each minute. May run twice at a time."""
    from continuon_ota.settings import settings  # noqa: PLC0415 - see the module's docstring
    from continuon_ota.ticks import run  # noqa: PLC0415 - same

    configure_logging(settings().google_cloud_project)
    return await run(datetime.now(UTC))
