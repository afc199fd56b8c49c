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
from continuon.errors import ProblemError, UnavailableError
from continuon.platform.firestore import firestore_client
from continuon.platform.rates import admit
from continuon.platform.unary import create_documents, read_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.cloud.firestore import AsyncDocumentReference

__all__ = [
    "Caller",
    "CurrentPrincipal",
    "CurrentRobot",
    "CurrentUser",
    "Nonce",
    "Now",
    "UnspentCaller",
    "request_time",
]

_BEARER: Final = "bearer "
_ROBOTS: Final = "robots"
_NONCES: Final = "nonces"


async def request_time() -> datetime:
    """Read the clock: once a request, in UTC, and passed on from there."""
    return datetime.now(UTC)


Now = Annotated[datetime, Depends(request_time)]


@dataclass(frozen=True, slots=True)
class _RobotRecord:
    """What the proof needs from a robot's document."""

    public_key: Mapping[str, Any]
    owner_id: str
    model: str


async def _find_robot(key_id: str) -> _RobotRecord | None:
    fields = await read_fields(firestore_client().collection(_ROBOTS).document(key_id))
    if fields is None or fields["status"].string_value != RobotStatus.CLAIMED:
        return None
    jwk = {
        name: value.string_value for name, value in fields["public_key"].map_value.fields.items()
    }
    return _RobotRecord(jwk, fields["owner_id"].string_value, fields["model"].string_value)


@dataclass(frozen=True, slots=True)
class Nonce:
    """The nonce of a verified signature, not spent yet: whoever acts on the request spends it.

    Spending is one conditional creation: by itself, or in the commit of the request's own effect,
    which is then applied once however often the request is sent.
    """

    key_id: str
    value: str
    expires_at: datetime

    @property
    def document(self) -> dict[AsyncDocumentReference, dict[str, Any]]:
        """What has to be created to spend it: that fails with AlreadyExists on a replay."""
        # The id is a hash so that a nonce can hold no character that a path gives a meaning to.
        name = hashlib.sha256(f"{self.key_id}:{self.value}".encode()).hexdigest()
        reference = firestore_client().collection(_NONCES).document(name)
        return {reference: {"expires_at": self.expires_at}}

    async def spend(self) -> None:
        """Spend it now.

        Raises:
            ProblemError: ``signature.replayed``.
        """
        try:
            await create_documents(self.document)
        except exceptions.AlreadyExists as error:
            raise ProblemError(SIGNATURE_REPLAYED) from error


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and the nonce that acting on it has to spend (None for an ID token)."""

    principal: Principal
    nonce: Nonce | None

    @property
    def name(self) -> str:
        """Kind and id: what requests are counted under."""
        if isinstance(self.principal, RobotPrincipal):
            return f"robot:{self.principal.robot_id}"
        return f"user:{self.principal.uid}"


def _target(request: Request) -> str:
    raw_path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    query: bytes = request.scope.get("query_string", b"")
    return (raw_path + (b"?" + query if query else b"")).decode("latin-1")


async def _prove_robot(request: Request, now: datetime) -> Caller:
    key_id = claimed_key_id(request.headers.get("signature-input", ""))
    if key_id is None:
        raise ProblemError(SIGNATURE_INVALID, "Signature-Input names no robot as keyid.")
    robot = await _find_robot(key_id)
    if robot is None:
        raise ProblemError(ROBOT_UNKNOWN)
    signed = SignedRequest(
        request.method, _target(request), dict(request.headers), await request.body()
    )
    # Only a valid signature gets a nonce to spend, or anyone could fill the collection.
    proof = verify_request(
        signed, key_id=key_id, key=public_key_from_jwk(robot.public_key), now=now
    )
    # A signature is accepted for one window on either side of its creation.
    expires_at = now + timedelta(seconds=2 * limits.SIGNATURE_WINDOW_S)
    principal = RobotPrincipal(key_id, robot.owner_id, robot.model)
    return Caller(principal, Nonce(key_id, proof.nonce, expires_at))


def _verify_id_token(token: str) -> dict[str, Any]:
    # Imported here because a robot's request never needs it, and it costs a cold start.
    import firebase_admin  # noqa: PLC0415
    from firebase_admin import auth  # noqa: PLC0415

    if not firebase_admin._apps:  # noqa: SLF001 - the library offers no other question
        firebase_admin.initialize_app()
    try:
        claims: dict[str, Any] = auth.verify_id_token(token)
    except (auth.InvalidIdTokenError, ValueError, RecursionError) as error:
        # RecursionError: a token whose JSON is nested beyond what the library's reader follows.
        raise ProblemError(TOKEN_INVALID) from error
    except auth.CertificateFetchError as error:
        raise UnavailableError("Firebase Auth") from error
    return claims


async def _prove_user(token: str, now: datetime) -> UserPrincipal:
    claims = await asyncio.to_thread(_verify_id_token, token)
    # The library checks this too, except against an emulator: a laptop must not be kinder.
    expires = claims.get("exp")
    if not isinstance(expires, int) or expires <= now.timestamp():
        raise ProblemError(TOKEN_INVALID, "The ID token has expired.")
    roles = {role for role in Role if claims.get(role.value) is True} | {Role.USER}
    return UserPrincipal(claims["uid"], claims.get("email"), frozenset(roles))


async def _proven(request: Request, now: datetime) -> Caller:
    authorization = request.headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return Caller(await _prove_user(authorization[len(_BEARER) :], now), None)
    if "signature" in request.headers:
        return await _prove_robot(request, now)
    raise ProblemError(CREDENTIALS_MISSING)


async def _caller(request: Request, now: Now) -> Caller:
    caller = await _proven(request, now)
    admit(caller.name, now)
    return caller


UnspentCaller = Annotated[Caller, Depends(_caller)]
"""For routes whose own commit spends the nonce; every other route takes `CurrentPrincipal`."""


async def _principal(caller: UnspentCaller) -> Principal:
    if caller.nonce is not None:
        await caller.nonce.spend()
    return caller.principal


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
