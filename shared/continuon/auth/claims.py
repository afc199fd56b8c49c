"""Claim proofs: a robot says, on the local network, who its owner is.

The proof is a JWS over ``iss`` = RURI, ``sub`` = user id, ``aud``, ``iat``, ``exp`` and ``jti``,
signed by the device key, whose public half travels in the ``jwk`` header. It proves that whoever
presents it could ask the robot to sign: being there is the permission. It is spent once.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jwt

from continuon import limits
from continuon.auth.keys import InvalidKeyError, public_jwk, public_key_from_jwk, thumbprint
from continuon.auth.problems import CLAIM_INVALID
from continuon.auth.ruri import InvalidRuriError, Ruri
from continuon.errors import FieldProblem, ProblemError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["AUDIENCE", "ClaimProof", "sign_claim", "verify_claim"]

AUDIENCE = "continuon.cloud"
_TYPE = "continuon-claim+jwt"
_ALGORITHM = "EdDSA"
_JTI = re.compile(rf"[!-~]{{1,{limits.MAX_NONCE_CHARS}}}")
_REQUIRED = ("iss", "sub", "aud", "iat", "exp", "jti")


@dataclass(frozen=True, slots=True)
class ClaimProof:
    """A verified claim: which robot, which key, for whom, until when it may be presented."""

    ruri: Ruri
    user_id: str
    jwk: dict[str, str]
    key_thumbprint: str
    jti: str
    expires_at: datetime


def sign_claim(
    key: Ed25519PrivateKey,
    *,
    ruri: Ruri,
    user_id: str,
    now: datetime,
    lifetime: timedelta = timedelta(seconds=limits.CLAIM_MAX_AGE_S),
) -> str:
    """Sign a claim on the robot and return the compact JWS."""
    claims = {
        "iss": str(ruri),
        "sub": user_id,
        "aud": AUDIENCE,
        "iat": int(now.timestamp()),
        "exp": int((now + lifetime).timestamp()),
        "jti": secrets.token_urlsafe(18),
    }
    headers = {"typ": _TYPE, "jwk": public_jwk(key.public_key())}
    return jwt.encode(claims, key, algorithm=_ALGORITHM, headers=headers)


def _refuse(path: str, message: str) -> ProblemError:
    return ProblemError(
        CLAIM_INVALID, message, errors=[FieldProblem(CLAIM_INVALID.code, path, message)]
    )


def _decode(proof: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        header = jwt.get_unverified_header(proof)
        if header.get("typ") != _TYPE or header.get("alg") != _ALGORITHM:
            raise _refuse("proof", f"the proof must be a JWS of typ {_TYPE}, alg {_ALGORITHM}")
        jwk = header.get("jwk")
        if not isinstance(jwk, dict):
            raise _refuse("proof", "the proof carries no device key (jwk header)")
        key = public_key_from_jwk(jwk)
        # Times are checked below against the caller's one reading of the clock.
        claims = jwt.decode(
            proof,
            key,
            algorithms=[_ALGORITHM],
            audience=AUDIENCE,
            options={
                "require": list(_REQUIRED),
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except (jwt.PyJWTError, InvalidKeyError) as error:
        raise _refuse("proof", f"the proof does not verify: {error}") from error
    return claims, {name: jwk[name] for name in ("kty", "crv", "x")}


def _check_times(claims: dict[str, Any], now: datetime) -> datetime:
    issued, expires = claims["iat"], claims["exp"]
    if not (type(issued) is int and type(expires) is int):
        raise _refuse("proof.exp", "iat and exp must be whole seconds")
    present = now.timestamp()
    if expires <= present:
        raise _refuse("proof.exp", "the proof has expired")
    if issued > present + limits.CLAIM_CLOCK_SKEW_S:
        raise _refuse("proof.iat", "the proof was issued in the future; set the robot's clock")
    if expires - issued > limits.CLAIM_MAX_AGE_S:
        raise _refuse("proof.exp", f"a proof may live {limits.CLAIM_MAX_AGE_S} seconds at most")
    return datetime.fromtimestamp(expires, UTC)


def verify_claim(proof: str, *, user_id: str, now: datetime) -> ClaimProof:
    """Check a claim proof presented by ``user_id``.

    Whether its ``jti`` was spent before is the caller's to find out: that needs a store.

    Raises:
        ProblemError: ``claim.invalid``, with the field at fault.
    """
    claims, jwk = _decode(proof)
    expires_at = _check_times(claims, now)
    if claims["sub"] != user_id:
        raise _refuse("proof.sub", "the proof was signed for another user")
    jti = claims["jti"]
    if not isinstance(jti, str) or not _JTI.fullmatch(jti):
        raise _refuse("proof.jti", f"jti must be 1 to {limits.MAX_NONCE_CHARS} ASCII characters")
    try:
        ruri = Ruri.parse(str(claims["iss"]))
    except InvalidRuriError as error:
        raise _refuse("proof.iss", str(error)) from error
    return ClaimProof(ruri, user_id, jwk, thumbprint(jwk), jti, expires_at)
