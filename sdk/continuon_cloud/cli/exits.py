"""What the exit code of `continuon` means."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from continuon_cloud.errors import (
    ApiProblem,
    ClientError,
    DownloadError,
    EpisodeSourceError,
    IdentityError,
    NotSignedInError,
    SettingsError,
    SignInError,
    UnreachableError,
)
from continuon_cloud.ota.errors import UpdateError

if TYPE_CHECKING:
    from typing import Any, Self

__all__ = ["ExitCode", "exit_code_of", "exit_code_of_problem"]


class ExitCode(IntEnum):
    """Stable: scripts branch on it. `continuon --help` prints it."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """Make a member with its sentence."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    OK = 0, "done; every episode named is valid"
    UNEXPECTED = 1, "a defect of this program; please report it"
    USAGE = 2, "the command line is wrong"
    IDENTITY = 3, "not signed in, no robot key, or the identity was refused"
    INVALID_EPISODE = 4, "an episode is invalid or was rejected"
    NOT_FOUND = 5, "there is no such episode, robot, job or queue item"
    CONFLICT = 6, "it exists already, with other content or another owner"
    UNAVAILABLE = 7, "the service or the network failed, or is not done yet; try again later"
    REFUSED = 8, "the request or upload was refused for good"
    LOCAL = 9, "a file, folder or setting of this machine cannot be used"
    JOB_FAILED = 10, "a training job failed or was cancelled"
    ROLLOUT_STOPPED = 11, "the rollout that was watched was halted or rolled back"
    INTERRUPTED = 130, "interrupted; what was confirmed is kept"


_BY_STATUS = {
    401: ExitCode.IDENTITY,
    403: ExitCode.IDENTITY,
    404: ExitCode.NOT_FOUND,
    408: ExitCode.UNAVAILABLE,
    409: ExitCode.CONFLICT,
    410: ExitCode.NOT_FOUND,
    429: ExitCode.UNAVAILABLE,
}

_BY_CODE = {
    "queue.not_found": ExitCode.NOT_FOUND,
    "queue.busy": ExitCode.UNAVAILABLE,
    "queue.invalid": ExitCode.CONFLICT,
    "identity.exists": ExitCode.CONFLICT,
    "identity.ambiguous": ExitCode.USAGE,
    "source.missing": ExitCode.NOT_FOUND,
    "privacy.no_upload": ExitCode.REFUSED,
    "auth.email_exists": ExitCode.CONFLICT,
    "usage": ExitCode.USAGE,
    "trust.passphrase": ExitCode.IDENTITY,
    "trust.key_missing": ExitCode.IDENTITY,
    "trust.key_exposed": ExitCode.IDENTITY,
    "ota.library_missing": ExitCode.LOCAL,
}

_BY_TYPE: tuple[tuple[type[ClientError], ExitCode], ...] = (
    (IdentityError, ExitCode.IDENTITY),
    (NotSignedInError, ExitCode.IDENTITY),
    (SignInError, ExitCode.IDENTITY),
    (UnreachableError, ExitCode.UNAVAILABLE),
    (SettingsError, ExitCode.LOCAL),
    (DownloadError, ExitCode.REFUSED),
    (UpdateError, ExitCode.REFUSED),
)


def exit_code_of(error: ClientError) -> ExitCode:
    """Return the exit code for an error of this package."""
    if isinstance(error, ApiProblem):
        return exit_code_of_problem({"status": error.status})
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    if isinstance(error, EpisodeSourceError):
        is_form = error.code.startswith("source.")
        return ExitCode.INVALID_EPISODE if is_form else ExitCode.LOCAL
    for kind, code in _BY_TYPE:
        if isinstance(error, kind):
            return code
    return ExitCode.LOCAL


def exit_code_of_problem(problem: dict[str, Any]) -> ExitCode:
    """Return the exit code for a problem with an HTTP status; without one, it is permanent."""
    status = problem.get("status")
    if not isinstance(status, int):
        return ExitCode.REFUSED
    if status >= 500:  # noqa: PLR2004 - 5xx
        return ExitCode.UNAVAILABLE
    return _BY_STATUS.get(status, ExitCode.REFUSED)
