"""ID tokens and custom tokens in the form of Firebase's Auth emulator: JWTs nobody signed.

An unsigned token proves nothing. That is the emulator's contract: firebase-admin accepts such
tokens only while ``FIREBASE_AUTH_EMULATOR_HOST`` is set, and production refuses them.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from continuon_local.auth.errors import AuthError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from continuon_local.auth.model import Account, Session

__all__ = [
    "ID_TOKEN_LIFETIME_S",
    "custom_token_claims",
    "decode_unsigned",
    "encode_unsigned",
    "id_token_claims",
    "read_id_token",
]

ID_TOKEN_LIFETIME_S = 3600
"""Firebase's ID tokens expire after an hour, in seconds."""

MAX_TOKEN_CHARS = 16 * 1024
"""A longer token is refused unread; the largest legitimate one carries 2 kB of claims."""

_CUSTOM_AUDIENCE = (
    "https://identitytoolkit.googleapis.com/google.identity.identitytoolkit.v1.IdentityToolkit"
)
_ISSUER = "https://securetoken.google.com/"
_SEGMENTS = 3


def encode_unsigned(claims: Mapping[str, Any]) -> str:
    """Return a JWT with ``alg`` none and an empty signature."""
    return f"{_segment({'alg': 'none', 'typ': 'JWT'})}.{_segment(claims)}."


def decode_unsigned(token: str) -> dict[str, Any]:
    """Return the claims of an unsigned JWT.

    Raises:
        ValueError: Not an unsigned JWT. A signed one is refused too: there is no key here to
            check it against.
    """
    segments = token.split(".")
    if len(token) > MAX_TOKEN_CHARS or len(segments) != _SEGMENTS:
        raise ValueError("not a JWT of three segments")
    if _parse(segments[0]).get("alg") != "none" or segments[2]:
        raise ValueError("the local cloud takes unsigned tokens only")
    return _parse(segments[1])


def id_token_claims(account: Account, session: Session, now_s: int) -> dict[str, Any]:
    """Return the claims of an ID token, custom claims flattened among them."""
    identities = {"email": [account.email]} if account.email else {}
    if account.phone_number:
        identities["phone"] = [account.phone_number]
    profile = {
        "name": account.display_name,
        "picture": account.photo_url,
        "email": account.email,
        "email_verified": account.email_verified if account.email else None,
        "phone_number": account.phone_number,
        "provider_id": "anonymous" if session.provider == "anonymous" else None,
    }
    return {
        **account.claims,
        **session.claims,
        **{name: value for name, value in profile.items() if value is not None},
        "iss": _ISSUER + account.project,
        "aud": account.project,
        "auth_time": session.auth_time_s,
        "user_id": account.local_id,
        "sub": account.local_id,
        "iat": now_s,
        "exp": now_s + ID_TOKEN_LIFETIME_S,
        "firebase": {"identities": identities, "sign_in_provider": session.provider},
    }


def read_id_token(token: str, now_s: int) -> dict[str, Any]:
    """Return the claims of an ID token of ours; the account behind it is not looked at.

    Raises:
        AuthError: ``INVALID_ID_TOKEN`` or ``TOKEN_EXPIRED``.
    """
    try:
        claims = decode_unsigned(token)
    except ValueError as error:
        raise AuthError("INVALID_ID_TOKEN") from error
    audience, subject = claims.get("aud"), claims.get("sub")
    if not isinstance(audience, str) or not isinstance(subject, str) or not subject:
        raise AuthError("INVALID_ID_TOKEN")
    if claims.get("iss") != _ISSUER + audience or not _times_are_numbers(claims):
        raise AuthError("INVALID_ID_TOKEN")
    if claims["exp"] <= now_s:
        raise AuthError("TOKEN_EXPIRED")
    return claims


def custom_token_claims(token: str, now_s: int) -> tuple[str, dict[str, Any]]:
    """Return the user id and the developer claims of a custom token.

    Raises:
        AuthError: ``INVALID_CUSTOM_TOKEN``.
    """
    try:
        claims = decode_unsigned(token)
    except ValueError as error:
        raise AuthError("INVALID_CUSTOM_TOKEN", str(error)) from error
    if claims.get("aud") != _CUSTOM_AUDIENCE:
        raise AuthError("INVALID_CUSTOM_TOKEN", "the audience is not Identity Toolkit")
    expires = claims.get("exp")
    if not isinstance(expires, int) or expires <= now_s:
        raise AuthError("INVALID_CUSTOM_TOKEN", "the token has expired")
    uid, developer_claims = claims.get("uid"), claims.get("claims", {})
    if not isinstance(uid, str) or not isinstance(developer_claims, dict):
        raise AuthError("INVALID_CUSTOM_TOKEN", "uid or claims are malformed")
    return uid, developer_claims


def _times_are_numbers(claims: Mapping[str, Any]) -> bool:
    return all(type(claims.get(name)) is int for name in ("exp", "iat"))


def _segment(value: Mapping[str, Any]) -> str:
    raw = json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _parse(segment: str) -> dict[str, Any]:
    padded = segment + "=" * (-len(segment) % 4)
    try:
        value = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise ValueError("a segment is not base64url JSON") from error
    if not isinstance(value, dict):
        raise ValueError("a segment is not a JSON object")  # noqa: TRY004 - bad data, not a bug
    return value
