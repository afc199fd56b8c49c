"""The application of the `ota_api` function."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from continuon.platform.http import create_app
from continuon_ota.api import bundles, files, robots
from continuon_ota.settings import settings

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["app"]


@cache
def app() -> FastAPI:
    """Return the application of the `ota_api` function."""
    project_id = settings().google_cloud_project
    return create_app(
        "Over the air", robots.router, bundles.router, files.router, project_id=project_id
    )
