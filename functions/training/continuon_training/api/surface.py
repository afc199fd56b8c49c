"""The one application of the `training_api` function."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from continuon.platform.http import create_app
from continuon_training.api import accounts, jobs, leases, trainers, webhooks
from continuon_training.settings import settings

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["app"]


@cache
def app() -> FastAPI:
    """Return the application of the `training_api` function."""
    routers = (jobs.router, leases.router, trainers.router, accounts.router, webhooks.router)
    return create_app("Training", *routers, project_id=settings().google_cloud_project)
