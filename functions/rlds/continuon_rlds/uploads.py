"""Granting the right to upload an episode."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from continuon import limits
from continuon.auth.principals import Principal, RobotPrincipal
from continuon.contracts.episodes import SignedUpload, SignedUrlRequest, SignedUrlResponse
from continuon.errors import FieldProblem, ProblemError
from continuon.platform.storage import url_signer
from continuon_rlds import service
from continuon_rlds.errors import ROBOT_MISMATCH
from continuon_rlds.settings import settings

if TYPE_CHECKING:
    from continuon.platform.identity import Caller
    from continuon_rlds.records import EpisodeRecord
    from continuon_rlds.store import EpisodeStore

__all__ = ["grant_upload"]

_THREAD_FROM = 8
"""Signatures from which signing moves off the event loop: one takes about 0.7 ms of CPU."""


async def grant_upload(
    store: EpisodeStore,
    request: SignedUrlRequest,
    caller: Caller,
    *,
    idempotency_key: str | None,
    now: datetime,
) -> SignedUrlResponse:
    """Announce an episode, or renew the URLs of one that was announced before.

    Raises:
        ProblemError: The request names another's robot or episode, or a settled episode.
        UnavailableError: A store failed; nothing is half-written, asking again is safe.
    """
    principal = caller.principal
    robot_id = service.target_robot(request, principal)
    owner_id, model = await _owner(store, robot_id, principal)
    wanted = service.announce(
        request,
        robot_id=robot_id,
        owner_id=owner_id,
        robot_model=model,
        idempotency_key=idempotency_key,
        now=now,
    )
    present: set[str] = set()
    if not await store.create(wanted, caller.nonce):
        existing = await store.find(wanted.episode_id)
        if existing is not None:
            service.check_renewal(existing, wanted)
            present = {stored.name for stored in await store.list(existing.storage_ref)}
    return await _answer(wanted, present, force_resumable=request.resumable, now=now)


async def _owner(store: EpisodeStore, robot_id: str, principal: Principal) -> tuple[str, str]:
    if isinstance(principal, RobotPrincipal):
        return principal.owner_id, principal.robot_model
    found = await store.owner_and_model(robot_id)
    if found is None or found[0] != principal.uid:
        # One answer for "not yours" and "does not exist": existence is the owner's to know.
        message = "is not one of your robots"
        raise ProblemError(
            ROBOT_MISMATCH, errors=[FieldProblem(ROBOT_MISMATCH.code, "robot_id", message)]
        )
    return found


async def _answer(
    record: EpisodeRecord, present: set[str], *, force_resumable: bool, now: datetime
) -> SignedUrlResponse:
    lifetime = timedelta(seconds=limits.UPLOAD_URL_TTL_S)
    signer = url_signer(settings().continuon_rlds_bucket)
    planned = service.grants(record, force_resumable=force_resumable)

    def sign(grant: service.UploadGrant) -> SignedUpload:
        url = signer.sign(
            grant.object_name, method=grant.method, lifetime=lifetime, headers=grant.headers
        )
        return SignedUpload(
            path=grant.path,
            url=url,
            method=grant.method,
            headers=dict(grant.headers),
            resumable=grant.resumable,
            already_uploaded=grant.object_name in present,
        )

    if len(planned) < _THREAD_FROM:
        uploads = [sign(grant) for grant in planned]
    else:
        uploads = await asyncio.to_thread(lambda: [sign(grant) for grant in planned])
    first = uploads[0]
    return SignedUrlResponse(
        upload_url=first.url,
        expires_at=now + lifetime,
        episode_ref=record.storage_ref,
        method=first.method,
        headers=first.headers,
        uploads=uploads,
    )
