"""Who calls, as far as a call's metadata tells: the one seam for security rules.

As on Google's emulator: ``Bearer owner`` is an administrator, who bypasses rules (every admin and
server client sends it when ``FIRESTORE_EMULATOR_HOST`` is set). Any other bearer token is a user's.
A call without authorization is that of a user who is not signed in. Rules judge both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from continuon_local.firestore.messages import Message
    from continuon_local.firestore.store import StoredDocument

__all__ = ["Access", "Caller", "Guard", "RulesIssue", "caller_of"]

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


Guard: TypeAlias = "Callable[[Sequence[Message], int], None]"
"""Called with the writes and the time of a commit just before it; raises to refuse all of it."""


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

    def check_reads(self, caller: Caller, found: Mapping[str, StoredDocument | None]) -> None:
        """Return when documents that were read, or are missing, may be answered.

        Args:
            caller: Who asks.
            found: By name.

        Raises:
            StatusError: PERMISSION_DENIED.
        """
        ...

    def guard(self, caller: Caller) -> Guard | None:
        """Return what judges the writes of a commit, None for an administrator."""
        ...

    def set_rules(self, project_id: str, source: str) -> Sequence[RulesIssue]:
        """Load a ruleset for a project; return what is wrong with it.

        Raises:
            StatusError: UNIMPLEMENTED when there is no rules engine.
        """
        ...


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
