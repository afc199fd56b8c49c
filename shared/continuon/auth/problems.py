"""Why a proof of identity is refused."""

from __future__ import annotations

from typing import Final

from continuon.errors import ProblemType

__all__ = [
    "CLAIM_INVALID",
    "CREDENTIALS_MISSING",
    "FORBIDDEN",
    "ROBOT_UNKNOWN",
    "SIGNATURE_EXPIRED",
    "SIGNATURE_INVALID",
    "SIGNATURE_REPLAYED",
    "TOKEN_INVALID",
]

CREDENTIALS_MISSING: Final = ProblemType(
    code="auth.credentials_missing",
    status=401,
    title="The request proves no identity.",
    remedy="Send a Firebase ID token as `Authorization: Bearer ...`, or sign the request with the "
    "robot's device key (RFC 9421).",
)
TOKEN_INVALID: Final = ProblemType(
    code="auth.token_invalid",
    status=401,
    title="The ID token is not valid.",
    remedy="Sign in again, or refresh the token; it lives for one hour.",
)
SIGNATURE_INVALID: Final = ProblemType(
    code="signature.invalid",
    status=401,
    title="The request signature does not verify.",
    remedy="Sign `@method`, `@path`, `@query` when there is one, and `content-digest` when there "
    "is a body, with Ed25519 and the key that was claimed.",
)
SIGNATURE_EXPIRED: Final = ProblemType(
    code="signature.expired",
    status=401,
    title="The request was signed too long ago, or in the future.",
    remedy="Set the robot's clock and sign again; the window is 300 seconds.",
)
SIGNATURE_REPLAYED: Final = ProblemType(
    code="signature.replayed",
    status=401,
    title="This signature was used before.",
    remedy="Sign every request anew, with a fresh nonce.",
)
ROBOT_UNKNOWN: Final = ProblemType(
    code="robot.unknown",
    status=401,
    title="No robot with this key id is claimed.",
    remedy="Claim the robot: `continuon robot claim`.",
)
FORBIDDEN: Final = ProblemType(
    code="auth.forbidden",
    status=403,
    title="The proven identity may not do this.",
    remedy="Use the robot's own key, or the account that owns the robot.",
)
CLAIM_INVALID: Final = ProblemType(
    code="claim.invalid",
    status=400,
    title="The claim proof is not valid.",
    remedy="Make a new one on the robot: `continuon robot claim` signs and sends it.",
)
