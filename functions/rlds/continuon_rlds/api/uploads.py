"""POST /api/rlds/signed-url: the right to upload."""

from __future__ import annotations

from functools import cache
from typing import Annotated

from fastapi import APIRouter, FastAPI, Header

from continuon.contracts.episodes import SignedUrlRequest, SignedUrlResponse
from continuon.platform.http import create_app
from continuon.platform.identity import Now, UnspentCaller
from continuon_rlds.settings import settings
from continuon_rlds.store import EpisodeStore
from continuon_rlds.uploads import grant_upload

__all__ = ["app"]

_router = APIRouter(tags=["upload"])
_IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[A-Za-z0-9_-]{8,128}$",
        description="Repeats a request safely: without `episode_id`, one key gives one id.",
    ),
]


@_router.post("/api/rlds/signed-url")
async def signed_url(
    request: SignedUrlRequest,
    caller: UnspentCaller,
    now: Now,
    idempotency_key: _IdempotencyKey = None,
) -> SignedUrlResponse:
    """Ask for the right to upload an episode; asking again renews the URLs.

    For robots (signed request) and owners (ID token and `robot_id`). The answer holds one signed
    upload for each file. Every URL stores its object once: it is bound to method, content type,
    length and generation 0. Validation starts by itself when the last file is stored.
    """
    return await grant_upload(
        EpisodeStore(), request, caller, idempotency_key=idempotency_key, now=now
    )


@cache
def app() -> FastAPI:
    """Return the application of the `signed_url` function."""
    return create_app("Episode uploads", _router, project_id=settings().google_cloud_project)
