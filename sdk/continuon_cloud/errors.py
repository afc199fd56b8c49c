"""What can go wrong on the client's side, split by what the caller can do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon.errors import ContinuonError

if TYPE_CHECKING:
    from datetime import datetime

    from continuon.contracts.problems import Problem, ProblemField

__all__ = [
    "ApiProblem",
    "ClientError",
    "DownloadError",
    "EpisodeSourceError",
    "IdentityError",
    "IdentityMissingError",
    "ModelSourceError",
    "NotSignedInError",
    "QueueError",
    "SettingsError",
    "SignInError",
    "UnreachableError",
]


class ClientError(ContinuonError):
    """The base of every error that this package raises on purpose.

    Attributes:
        code: Stable, dotted, lower case.
        hint: What a person can do about it; may be empty.
    """

    code = "client.error"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.hint = hint


class SettingsError(ClientError):
    """The base URL, the home folder or a file in it cannot be used."""

    code = "settings.invalid"


class IdentityError(ClientError):
    """A robot's identity cannot be made or used as it stands."""

    code = "identity.invalid"


class IdentityMissingError(IdentityError):
    """No robot of that name lives in this home folder."""

    code = "identity.missing"


class NotSignedInError(ClientError):
    """The call needs a signed-in person and there is none."""

    code = "auth.not_signed_in"


class SignInError(ClientError):
    """Identity Toolkit refused the e-mail, the password or the session."""

    code = "auth.sign_in_refused"


class EpisodeSourceError(ClientError):
    """A path cannot be uploaded: missing, changing, too large, or in no known form."""

    code = "source.invalid"


class ModelSourceError(ClientError):
    """A path cannot be registered as a model: missing, empty, or of no known format."""

    code = "source.unusable"


class QueueError(ClientError):
    """The upload queue cannot do what was asked."""

    code = "queue.invalid"


class DownloadError(ClientError):
    """A file that was downloaded is not the one that was promised."""

    code = "download.invalid"


class UnreachableError(ClientError):
    """No answer: the connection failed, broke or timed out. The same call may succeed later."""

    code = "network.unreachable"


class ApiProblem(ClientError):  # noqa: N818 - "problem" is the RFC's own word for it
    """The service refused, in problem details (RFC 9457).

    Attributes:
        status: The HTTP status.
        title: One sentence, the same for every occurrence.
        detail: A sentence about this occurrence.
        errors: The fields at fault.
        retry_after_s: Seconds to wait before the same call makes sense, or None.
        trace_id: To quote when asking for help.
        server_time: When the service answered, by its own clock, or None.
    """

    code = "api.problem"

    def __init__(
        self,
        problem: Problem,
        *,
        retry_after_s: float | None = None,
        server_time: datetime | None = None,
    ) -> None:
        super().__init__(problem.detail or problem.title, code=problem.code)
        self.status = problem.status
        self.title = problem.title
        self.detail = problem.detail
        self.errors: tuple[ProblemField, ...] = tuple(problem.errors)
        self.retry_after_s = retry_after_s
        self.trace_id = problem.trace_id
        self.server_time = server_time
