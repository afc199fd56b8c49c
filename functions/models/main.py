"""Entry points of the models codebase: parse, call, answer.

Each entry point imports its own part when it is first called; see the rlds codebase.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import functions_framework.aio

from continuon.contracts.training import JOB_ID
from continuon.platform.logging import configure_logging

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent
    from starlette.requests import Request
    from starlette.types import ASGIApp

_LOGGER = logging.getLogger("continuon.models")


@functions_framework.aio.http  # type: ignore[arg-type]  # any ASGI app is a valid answer there
async def models_api(_request: Request) -> ASGIApp:
    """Serve /api/v1/models."""
    from continuon_models.api import surface  # noqa: PLC0415 - see the module's docstring

    return surface.app()


@functions_framework.aio.cloud_event
async def register_trained(event: CloudEvent) -> None:
    """Handle a job that finished: register its artifact as the next version of its model.

    Returning acknowledges; raising has the event delivered again. What a repetition cannot mend (a
    job without a usable artifact) is written into the job's document and acknowledged; a store's
    failure is raised.
    """
    from continuon_models.registration import register_job  # noqa: PLC0415 - see the module
    from continuon_models.settings import settings  # noqa: PLC0415 - same
    from continuon_models.store import ModelStore  # noqa: PLC0415 - same

    configure_logging(settings().google_cloud_project)
    job_id = _job_id(event.data)
    if job_id is None:
        _LOGGER.error("malformed job message", extra={"fields": {"event_id": event["id"]}})
        return
    await register_job(ModelStore(), job_id, datetime.now(UTC))


def _job_id(data: Any) -> str | None:
    """Return the job of a message; None when it names none."""
    try:
        body = json.loads(base64.b64decode(data["message"]["data"], validate=True))
        job_id = body["job_id"]
    except (KeyError, TypeError, ValueError, binascii.Error, RecursionError):
        return None
    return job_id if isinstance(job_id, str) and JOB_ID.fullmatch(job_id) else None
