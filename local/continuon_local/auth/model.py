"""Accounts and sessions: what is stored, and how the wire shows it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from continuon_local.auth.errors import AuthError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Account", "Session", "check_custom_attributes", "check_email", "check_local_id"]

MAX_CLAIMS_CHARS = 1000
"""Firebase refuses longer custom attributes, in characters of JSON."""

MAX_LOCAL_ID_CHARS = 128
"""Firebase refuses longer user ids, in characters."""

MAX_EMAIL_CHARS = 256
"""Longer addresses are refused, in characters (RFC 5321 allows 254)."""

RESERVED_CLAIMS = frozenset(
    {"acr", "amr", "at_hash", "aud", "auth_time", "azp", "cnf", "c_hash", "exp", "firebase"}
    | {"iat", "iss", "jti", "nbf", "nonce", "sub", "user_id"}
)
"""Claims that no custom attribute may set (firebase.google.com/docs/auth/admin/custom-claims)."""

_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)*")


@dataclass(frozen=True, kw_only=True)
class Account:
    """One user of one project. Times are Unix times in the unit their names say."""

    project: str
    local_id: str
    created_at_ms: int
    valid_since_s: int
    email: str | None = None
    email_verified: bool = False
    display_name: str | None = None
    photo_url: str | None = None
    phone_number: str | None = None
    disabled: bool = False
    custom_attributes: str | None = None
    custom_auth: bool = False
    password_hash: str | None = None
    password_updated_at_ms: int | None = None
    last_login_at_ms: int | None = None

    @property
    def claims(self) -> dict[str, Any]:
        """The custom claims, empty where there are none."""
        parsed: dict[str, Any] = json.loads(self.custom_attributes or "{}")
        return parsed

    def to_wire(self) -> dict[str, Any]:
        """Return the account as ``accounts:lookup`` shows it; never the password's hash."""
        optional = {
            "email": self.email,
            "displayName": self.display_name,
            "photoUrl": self.photo_url,
            "phoneNumber": self.phone_number,
            "customAttributes": self.custom_attributes,
            "customAuth": self.custom_auth or None,
            "passwordUpdatedAt": self.password_updated_at_ms,
            "lastLoginAt": _text(self.last_login_at_ms),
            "providerUserInfo": self._providers() or None,
        }
        return {
            "localId": self.local_id,
            "emailVerified": self.email_verified,
            "disabled": self.disabled,
            "validSince": str(self.valid_since_s),
            "createdAt": str(self.created_at_ms),
            **{name: value for name, value in optional.items() if value is not None},
        }

    def _providers(self) -> list[dict[str, str]]:
        providers: list[dict[str, str | None]] = []
        if self.email is not None and self.password_hash is not None:
            providers.append(
                {
                    "providerId": "password",
                    "email": self.email,
                    "federatedId": self.email,
                    "rawId": self.email,
                    "displayName": self.display_name,
                    "photoUrl": self.photo_url,
                }
            )
        if self.phone_number is not None:
            providers.append(
                {
                    "providerId": "phone",
                    "phoneNumber": self.phone_number,
                    "rawId": self.phone_number,
                }
            )
        return [{k: v for k, v in entry.items() if v is not None} for entry in providers]


@dataclass(frozen=True, kw_only=True)
class Session:
    """One sign-in, which its refresh token continues.

    Attributes:
        auth_time_s: When the user proved who they are, in Unix seconds.
        provider: ``password``, ``anonymous`` or ``custom``.
        claims: The developer claims of the custom token that began the session.
    """

    project: str
    local_id: str
    auth_time_s: int
    provider: str
    claims: Mapping[str, Any] = field(default_factory=dict)


def check_email(email: str) -> str:
    """Return the address in the lower case that Firebase stores.

    Raises:
        AuthError: ``INVALID_EMAIL``.
    """
    if len(email) > MAX_EMAIL_CHARS or not _EMAIL.fullmatch(email):
        raise AuthError("INVALID_EMAIL")
    return email.lower()


def check_local_id(local_id: str) -> str:
    """Return the user id.

    Raises:
        AuthError: ``INVALID_LOCAL_ID``: empty or longer than 128 characters.
    """
    if not 0 < len(local_id) <= MAX_LOCAL_ID_CHARS:
        raise AuthError("INVALID_LOCAL_ID")
    return local_id


def check_custom_attributes(text: str) -> str | None:
    """Return custom attributes as stored; None clears them.

    Raises:
        AuthError: ``CLAIMS_TOO_LARGE``, ``INVALID_CLAIMS`` or ``FORBIDDEN_CLAIM``.
    """
    if not text:
        return None
    if len(text) > MAX_CLAIMS_CHARS:
        raise AuthError("CLAIMS_TOO_LARGE")
    try:
        claims = json.loads(text)
    except ValueError as error:
        raise AuthError("INVALID_CLAIMS") from error
    if not isinstance(claims, dict):
        raise AuthError("INVALID_CLAIMS")
    if reserved := sorted(RESERVED_CLAIMS & claims.keys()):
        raise AuthError("FORBIDDEN_CLAIM", reserved[0])
    return text


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
