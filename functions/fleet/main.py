"""Entry points of the fleet codebase: parse, call, answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework.aio

from continuon_fleet import api

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp


@functions_framework.aio.http  # type: ignore[arg-type]  # any ASGI app is a valid answer there
async def fleet_api(_request: Request) -> ASGIApp:
    """Serve /api/v1/robots, /api/v1/auth/me and /api/health."""
    return api.app()
