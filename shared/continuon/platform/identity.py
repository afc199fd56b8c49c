"""FastAPI dependencies that prove who is calling.

A robot proves itself by a signature over the request, a person by a Firebase ID token. What a body
says about identity is never trusted here or later: routes compare it with the proven principal.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Depends, Request
from google.api_core import exceptions

from continuon import limits
from continuon.auth.keys import public_key_from_jwk
from continuon.auth.principals import Principal, RobotPrincipal, Role, UserPrincipal
from continuon.auth.problems import (
    CREDENTIALS_MISSING,
    FORBIDDEN,
    ROBOT_UNKNOWN,
    SIGNATURE_INVALID,
    SIGNATURE_REPLAYED,
    TOKEN_INVALID,
)
from continuon.auth.signatures import SignedRequest, claimed_key_id, verify_request
from continuon.contracts.robots import RobotStatus
from continuon.errors import ProblemError
from continuon.platform.firestore import RPC_TIMEOUT_S, firestore_client, firestore_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from continuon.platform.firestore import Snapshot

__all__ = ["CurrentPrincipal", "CurrentRobot", "CurrentUser", "Now", "request_time"]

_BEARER: Final = "bearer "
_ROBOTS: Final = "robots"
_NONCES: Final = "nonces"


def request_time() -> datetime:
    """Read the clock: once a request, in UTC, and passed on from there."""
    return datetime.now(UTC)


Now = Annotated[datetime, Depends(request_time)]


@dataclass(frozen=True, slots=True)
class _RobotRecord:
    """What the proof needs from a robot's document."""

    public_key: Mapping[str, Any]
    owner_id: str
    model: str


def _robot_record(snapshot: Snapshot) -> _RobotRecord | None:
    data = snapshot.to_dict() if snapshot.exists else None
    if not data or data.get("status") != RobotStatus.CLAIMED or not data.get("public_key"):
        return None
    return _RobotRecord(data["public_key"], data["owner_id"], data.get("model", ""))


async def _spend_nonce(key_id: str, nonce: str, now: datetime) -> None:
    # The id is a hash so that a nonce can hold no character that a path gives a meaning to.
    name = hashlib.sha256(f"{key_id}:{nonce}".encode()).hexdigest()
    # A signature is accepted for one window on either side of its creation.
    expires_at = now + timedelta(seconds=2 * limits.SIGNATURE_WINDOW_S)
    reference = firestore_client().collection(_NONCES).document(name)
    try:
        with firestore_errors():
            await reference.create({"expires_at": expires_at}, timeout=RPC_TIMEOUT_S)
    except exceptions.AlreadyExists as error:
        raise ProblemError(SIGNATURE_REPLAYED) from error


def _target(request: Request) -> str:
    raw_path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    query: bytes = request.scope.get("query_string", b"")
    return (raw_path + (b"?" + query if query else b"")).decode("latin-1")


async def _prove_robot(request: Request, now: datetime) -> RobotPrincipal:
    key_id = claimed_key_id(request.headers.get("signature-input", ""))
    if key_id is None:
        raise ProblemError(SIGNATURE_INVALID, "Signature-Input names no robot as keyid.")
    reference = firestore_client().collection(_ROBOTS).document(key_id)
    with firestore_errors():
        robot = _robot_record(await reference.get(timeout=RPC_TIMEOUT_S))
    if robot is None:
        raise ProblemError(ROBOT_UNKNOWN)
    signed = SignedRequest(
        request.method, _target(request), dict(request.headers), await request.body()
    )
    proof = verify_request(
        signed, key_id=key_id, key=public_key_from_jwk(robot.public_key), now=now
    )
    # Only a valid signature may spend a nonce, or anyone could fill the collection.
    await _spend_nonce(key_id, proof.nonce, now)
    return RobotPrincipal(key_id, robot.owner_id, robot.model)


def _verify_id_token(token: str) -> dict[str, Any]:
    # Imported here because a robot's request never needs it, and it costs a cold start.
    import firebase_admin  # noqa: PLC0415
    from firebase_admin import auth  # noqa: PLC0415

    if not firebase_admin._apps:  # noqa: SLF001 - the library offers no other question
        firebase_admin.initialize_app()
    try:
        claims: dict[str, Any] = auth.verify_id_token(token)
    except (auth.InvalidIdTokenError, ValueError) as error:
        raise ProblemError(TOKEN_INVALID) from error
    return claims


async def _prove_user(token: str) -> UserPrincipal:
    claims = await asyncio.to_thread(_verify_id_token, token)
    roles = {role for role in Role if claims.get(role.value) is True} | {Role.USER}
    return UserPrincipal(claims["uid"], claims.get("email"), frozenset(roles))


async def _principal(request: Request, now: Now) -> Principal:
    authorization = request.headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return await _prove_user(authorization[len(_BEARER) :])
    if "signature" in request.headers:
        return await _prove_robot(request, now)
    raise ProblemError(CREDENTIALS_MISSING)


CurrentPrincipal = Annotated[Principal, Depends(_principal)]


async def _user(principal: CurrentPrincipal) -> UserPrincipal:
    if not isinstance(principal, UserPrincipal):
        raise ProblemError(FORBIDDEN, "This route is for people: send an ID token.")
    return principal


async def _robot(principal: CurrentPrincipal) -> RobotPrincipal:
    if not isinstance(principal, RobotPrincipal):
        raise ProblemError(FORBIDDEN, "This route is for robots: sign the request.")
    return principal


CurrentUser = Annotated[UserPrincipal, Depends(_user)]
CurrentRobot = Annotated[RobotPrincipal, Depends(_robot)]
