"""Signed metadata and what it names, over plain HTTP."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Path, Response
from fastapi.responses import RedirectResponse

from continuon import limits
from continuon.contracts.ota import PublishedMetadata, PublishMetadataRequest
from continuon.errors import FieldProblem, ProblemError
from continuon.platform.identity import CurrentRobot, Now
from continuon.platform.storage import url_signer
from continuon_ota import metadata
from continuon_ota.api.operators import CurrentOperator
from continuon_ota.errors import METADATA_INVALID, METADATA_NOT_FOUND, TARGET_NOT_FOUND
from continuon_ota.settings import settings
from continuon_ota.store import BundleStore

__all__ = ["router"]

router = APIRouter(prefix="/api/ota", tags=["over the air: signed metadata"])

_FILE: Final = r"^(?:[1-9][0-9]{0,8}\.)?[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.json$"
_NUMBERED: Final = re.compile(r"^[1-9][0-9]{0,8}\.")
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_FOR_A_MINUTE: Final = "public, max-age=60"
_TARGET: Final = re.compile(
    r"(?P<model>[A-Za-z0-9][A-Za-z0-9._-]{0,63})/(?:[0-9a-f]{64}\.)?"
    r"(?P<version>[A-Za-z0-9][A-Za-z0-9.]{0,63})\.bundle"
)


@router.get(
    "/metadata/{file}",
    response_class=Response,
    responses={200: {"content": {"application/json": {}}}},
)
async def get_metadata(file: Annotated[str, Path(pattern=_FILE)]) -> Response:
    """Get a file of signed metadata (TUF). Public; numbered files never change."""
    data = await metadata.read(file)
    if data is None:
        raise ProblemError(METADATA_NOT_FOUND, f"There is no {file}.")
    lifetime = _FOR_EVER if _NUMBERED.match(file) else _FOR_A_MINUTE
    return Response(data, media_type="application/json", headers={"cache-control": lifetime})


@router.post("/metadata")
async def publish_metadata(
    request: PublishMetadataRequest, operator: CurrentOperator, now: Now
) -> PublishedMetadata:
    """Publish metadata that was signed offline.

    It is verified as a robot would, and made current by a snapshot and a timestamp. What is there
    already is passed over, so an upload whose answer was lost may be repeated.
    """
    files = {name: _decoded(name, text) for name, text in request.files.items()}
    written = await metadata.publish(files, now)
    if written:
        await BundleStore().record_publication(written, actor=operator.uid, now=now)
    return PublishedMetadata(files=written)


def _decoded(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        field = FieldProblem(METADATA_INVALID.code, f"files.{name}", "is not Base64")
        raise ProblemError(METADATA_INVALID, errors=[field]) from error


@router.get("/targets/{path:path}", response_class=RedirectResponse, status_code=307)
async def get_target(path: str, robot: CurrentRobot) -> RedirectResponse:
    """Get a bundle by its path in signed metadata: a redirect to a URL that works for minutes."""
    found = _TARGET.fullmatch(path)
    if found is None or found["model"] != robot.robot_model:
        raise ProblemError(TARGET_NOT_FOUND)
    bundle = await BundleStore().find(f"{found['model']}-{found['version']}")
    if bundle is None:
        raise ProblemError(TARGET_NOT_FOUND)
    url = await asyncio.to_thread(
        url_signer(settings().continuon_rlds_bucket).sign,
        bundle.storage_ref,
        method="GET",
        lifetime=timedelta(seconds=limits.DOWNLOAD_URL_TTL_S),
    )
    return RedirectResponse(url, status_code=307)
