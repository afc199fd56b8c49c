"""Who calls, as far as a call's metadata tells: the one seam for security rules.

As on Google's emulator: ``Bearer owner`` is an administrator, who bypasses rules (every admin and
server client sends it when ``FIRESTORE_EMULATOR_HOST`` is set). Any other bearer token is a user's.
A call without authorization is that of a user who is not signed in. Rules judge both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import grpc

from continuon_local.firestore.errors import StatusError, unimplemented

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Access", "Caller", "DenyUsers", "RulesIssue", "caller_of"]

_BEARER = "Bearer "
_OWNER = "owner"
_CALLER_KEY = "x-continuon-caller"


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a call comes from.

    Attributes:
        name: The function behind it when known, for the meter.
        user_token: The user's ID token, or None for an administrator and for nobody signed in.
        is_admin: Whether rules are bypassed.
    """

    name: str
    user_token: str | None
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class RulesIssue:
    """What is wrong with a ruleset, as the emulator's REST call answers it.

    Attributes:
        description: The sentence.
        line: From 1, 0 where unknown.
        column: From 1, 0 where unknown.
        severity: ``ERROR`` or ``WARNING``; with an error the ruleset is not loaded.
    """

    description: str
    line: int = 0
    column: int = 0
    severity: str = "ERROR"


class Access(Protocol):
    """Decides whether a caller may do what a request asks."""

    def check(self, caller: Caller, method: str, request: object) -> None:
        """Return when allowed.

        Args:
            caller: Who asks; an administrator is always allowed.
            method: The RPC, for example ``RunQuery``.
            request: Its message; of a stream, each message on its own.

        Raises:
            StatusError: PERMISSION_DENIED.
        """
        ...

    def set_rules(self, project_id: str, source: str) -> Sequence[RulesIssue]:
        """Load a ruleset for a project; return what is wrong with it.

        Raises:
            StatusError: UNIMPLEMENTED when there is no rules engine.
        """
        ...


class DenyUsers:
    """Administrators may do everything, users nothing."""

    def check(self, caller: Caller, method: str, request: object) -> None:  # noqa: ARG002 - the seam
        """Return for administrators.

        Raises:
            StatusError: PERMISSION_DENIED for everybody else.
        """
        if not caller.is_admin:
            raise StatusError(
                grpc.StatusCode.PERMISSION_DENIED, "Missing or insufficient permissions."
            )

    def set_rules(self, project_id: str, source: str) -> Sequence[RulesIssue]:  # noqa: ARG002 - the seam
        """Refuse: nothing here reads rules.

        Raises:
            StatusError: UNIMPLEMENTED.
        """
        raise unimplemented("Setting security rules")


def caller_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> Caller:
    """Read the caller from a call's metadata or a request's headers, their names in lower case."""
    name, token = "", None
    for key, value in metadata or ():
        if key == _CALLER_KEY:
            name = _text(value)
        elif key == "authorization":
            token = _text(value).removeprefix(_BEARER)
    if token == _OWNER:
        return Caller(name, None, is_admin=True)
    return Caller(name, token or None)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
