"""Entry points of the training codebase: parse, call, answer.

Each entry point imports its own part when it is first called. A function's process serves one
entry point, so the others' imports would only lengthen its cold start.
"""

from __future__ import annotations

import base64
import binascii
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import functions_framework.aio

from continuon.platform.logging import configure_logging

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent
    from starlette.requests import Request
    from starlette.types import ASGIApp

_LOGGER = logging.getLogger("continuon.training")


def _message(event: CloudEvent) -> tuple[bytes, dict[str, str]]:
    """Return data and attributes of a Pub/Sub message; empty where the event has none."""
    from continuon_training.settings import settings  # noqa: PLC0415 - see the module's docstring

    configure_logging(settings().google_cloud_project)
    outer: Any = event.data
    message = outer.get("message") if isinstance(outer, dict) else None
    if not isinstance(message, dict):
        return b"", {}
    attributes = message.get("attributes")
    try:
        data = base64.b64decode(message.get("data") or "", validate=True)
    except (binascii.Error, TypeError, ValueError):
        data = b""
    return data, dict(attributes) if isinstance(attributes, dict) else {}


@functions_framework.aio.http  # type: ignore[arg-type]  # any ASGI app is a valid answer there
async def training_api(_request: Request) -> ASGIApp:
    """Serve /api/v1/training: jobs, leases, trainers, budgets, slow loops."""
    from continuon_training.api import surface  # noqa: PLC0415 - see the module's docstring

    return surface.app()


@functions_framework.aio.cloud_event
async def training_dispatch(event: CloudEvent) -> None:
    """Handle a message of `training-jobs`: start the job's present attempt, or stop its work.

    Returning acknowledges; raising has the message delivered again. What a repetition cannot mend
    goes to the dead letters and is acknowledged.
    """
    from continuon_training.dispatch import dispatch_message  # noqa: PLC0415 - see the module

    data, _ = _message(event)
    await dispatch_message(data, datetime.now(UTC))


@functions_framework.aio.cloud_event
async def training_dead_letter(event: CloudEvent) -> None:
    """Handle a message of `training-jobs-dead`: the job fails and says why. May be repeated."""
    from continuon_training.dead_letters import bury  # noqa: PLC0415 - see the module

    data, attributes = _message(event)
    await bury(data, attributes, datetime.now(UTC))


@functions_framework.aio.cloud_event
async def training_slow_loop(event: CloudEvent) -> None:
    """Handle `episode-validated`: start a job when enough came together. May be repeated."""
    from continuon_training.slow_loop import episode_validated  # noqa: PLC0415 - see the module

    data, _ = _message(event)
    await episode_validated(data, datetime.now(UTC))


@functions_framework.aio.http
async def training_watchdog(_request: Request) -> dict[str, int]:
    """Look after every job that is not at its end, each minute. May run twice at a time."""
    from continuon_training.settings import settings  # noqa: PLC0415 - see the module's docstring
    from continuon_training.watchdog import watch  # noqa: PLC0415 - same

    configure_logging(settings().google_cloud_project)
    return await watch(datetime.now(UTC))


@functions_framework.aio.cloud_event
async def training_webhooks(event: CloudEvent) -> None:
    """Handle `training-finished`: call back whoever asked for it. May be repeated.

    A receiver's failure is written down and acknowledged, because the schedule tries again; a
    store's failure is raised.
    """
    from continuon_training.webhooks.delivery import finished_message  # noqa: PLC0415 - see above

    data, _ = _message(event)
    await finished_message(data, datetime.now(UTC))


@functions_framework.aio.http
async def training_webhook_retries(_request: Request) -> dict[str, int]:
    """Repeat the callbacks that are due, each minute. May run twice at a time."""
    from continuon_training.settings import settings  # noqa: PLC0415 - see the module's docstring
    from continuon_training.webhooks.delivery import deliver_due  # noqa: PLC0415 - same

    configure_logging(settings().google_cloud_project)
    return await deliver_due(datetime.now(UTC))
