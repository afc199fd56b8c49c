"""The one application of the `models_api` function."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from continuon.platform.http import create_app
from continuon_models.api import aliases, models, versions
from continuon_models.settings import settings

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["app"]


@cache
def app() -> FastAPI:
    """Return the application of the `models_api` function."""
    routers = (models.router, versions.router, aliases.router, versions.downloads)
    return create_app("Models", *routers, project_id=settings().google_cloud_project)
