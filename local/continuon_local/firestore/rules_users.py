"""Who a user's token says they are."""

from __future__ import annotations

from typing import Any

from continuon_local.auth.tokens import decode_unsigned
from continuon_local.firestore.errors import StatusError
from continuon_local.firestore.rules_values import claims_value
from continuon_local.grpc_wire.codes import Code

__all__ = ["authenticated"]

_ISSUER = "https://securetoken.google.com/"


def authenticated(token: str | None, project_id: str, now_s: float) -> dict[str, Any] | None:
    """Return ``request.auth``: ``{"uid", "token"}``, None for a caller without a token.

    A token issued at 0 never expires: ``@firebase/rules-unit-testing`` makes its users so.

    Args:
        token: An ID token in the emulator's form, which nobody signed.
        project_id: The project it must be for.
        now_s: The present, in seconds since 1970.

    Raises:
        StatusError: UNAUTHENTICATED: no such token, for another project, or expired.
    """
    if token is None:
        return None
    try:
        claims = decode_unsigned(token)
    except ValueError as error:
        raise _refused("it is not an ID token of the local cloud") from error
    subject, expires, issued = (claims.get(name) for name in ("sub", "exp", "iat"))
    if not isinstance(subject, str) or not subject:
        raise _refused("it names no user")
    if claims.get("aud") != project_id or claims.get("iss") != f"{_ISSUER}{project_id}":
        raise _refused("it is for another project")
    if type(expires) is not int or (issued != 0 and expires <= now_s):
        raise _refused("it has expired")
    return {"uid": subject, "token": claims_value(claims)}


def _refused(reason: str) -> StatusError:
    return StatusError(Code.UNAUTHENTICATED, f"Missing or invalid authentication: {reason}.")
