"""Who calls, as far as a call's metadata tells: the one seam for security rules.

Admin clients send no token (insecure channel) or ``Bearer owner`` and bypass rules. Any other
bearer token is a user's, whose calls security rules must judge. As long as there is no rules
engine, such calls are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import grpc

from continuon_local.firestore.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Access", "Caller", "DenyUsers", "caller_of"]

_BEARER = "Bearer "
_OWNER = "owner"
_CALLER_KEY = "x-continuon-caller"


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a call comes from.

    Attributes:
        name: The function behind it when known, for the meter.
        user_token: The user's ID token, or None for an administrator.
    """

    name: str
    user_token: str | None


class Access(Protocol):
    """Decides whether a caller may do what a request asks."""

    def check(self, caller: Caller, method: str, request: object) -> None:
        """Return when allowed.

        Raises:
            StatusError: PERMISSION_DENIED.
        """
        ...


class DenyUsers:
    """Administrators may do everything, users nothing."""

    def check(self, caller: Caller, method: str, request: object) -> None:  # noqa: ARG002 - the seam
        """Return for administrators.

        Raises:
            StatusError: PERMISSION_DENIED for a user's token.
        """
        if caller.user_token is not None:
            raise StatusError(
                grpc.StatusCode.PERMISSION_DENIED, "Missing or insufficient permissions."
            )


def caller_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> Caller:
    """Read the caller from a call's metadata."""
    name, token = "", None
    for key, value in metadata or ():
        if key == _CALLER_KEY:
            name = str(value)
        elif key == "authorization":
            token = str(value).removeprefix(_BEARER)
    return Caller(name, None if token == _OWNER else token)
