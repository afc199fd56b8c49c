"""Why a step of an upload failed, by what has to happen next."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from continuon_cloud.errors import ApiProblem, ClientError, UnreachableError
from continuon_cloud.transport import seconds_until_retry

__all__ = [
    "Failure",
    "GrantRefused",
    "Halt",
    "ObjectExists",
    "PermanentFailure",
    "TemporaryFailure",
    "describe",
    "from_client_error",
    "from_store",
]

_XML_CODE: Final = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")
_TEMPORARY: Final = frozenset({408, 429})
_GRANT: Final = frozenset({400, 401, 403})
_EXPIRED: Final = frozenset({"ExpiredToken", "RequestTimeTooSkewed"})


class Failure(Exception):  # noqa: N818 - the base of what the queue decides on, not an error class
    """A step did not happen.

    Attributes:
        problem: ``code``, ``title``, ``detail``, ``status``, ``errors``: what the queue remembers.
    """

    def __init__(self, problem: dict[str, Any], *, retry_after_s: float | None = None) -> None:
        super().__init__(problem["code"])
        self.problem = problem
        self.retry_after_s = retry_after_s


class TemporaryFailure(Failure):
    """Try again later."""


class PermanentFailure(Failure):
    """Trying again cannot help: set aside."""


class Halt(Failure):
    """The caller's identity is refused: nothing of this robot can go on, and nothing is lost."""


class GrantRefused(Failure):
    """The store refuses the signed URL: ask for a new one.

    Attributes:
        expired: The URL is only too old.
    """

    def __init__(self, problem: dict[str, Any], *, expired: bool) -> None:
        super().__init__(problem)
        self.expired = expired


class ObjectExists(Failure):
    """The store has an object of this name already (generation precondition)."""


def describe(
    code: str, title: str, *, detail: str = "", status: int | None = None
) -> dict[str, Any]:
    """Return a problem of the client's own making, in the form the queue remembers."""
    return {"code": code, "title": title, "detail": detail or title, "status": status, "errors": []}


def from_client_error(error: ClientError) -> Failure:
    """Sort an error of an API call."""
    if isinstance(error, ApiProblem):
        return _from_problem(error)
    problem = describe(error.code, str(error), detail=error.hint)
    return TemporaryFailure(problem) if isinstance(error, UnreachableError) else Halt(problem)


def _from_problem(error: ApiProblem) -> Failure:
    problem = {
        "code": error.code,
        "title": error.title,
        "detail": error.detail,
        "status": error.status,
        "errors": [field.model_dump() for field in error.errors],
    }
    if error.status == httpx.codes.UNAUTHORIZED:
        return Halt(problem)
    in_progress = error.status == httpx.codes.CONFLICT and (
        error.code.endswith("in_progress") or error.retry_after_s is not None
    )
    if in_progress or error.status in _TEMPORARY or error.status >= 500:  # noqa: PLR2004 - 5xx
        return TemporaryFailure(problem, retry_after_s=error.retry_after_s)
    return PermanentFailure(problem)


def from_store(response: httpx.Response) -> Failure:
    """Sort a refusal of the object store."""
    status = response.status_code
    found = _XML_CODE.search(response.text)
    word = found[1] if found else str(status)
    problem = describe(
        f"storage.{_snake(word)}",
        "The object store refused the upload.",
        detail=f"HTTP {status}, {word}",
        status=status,
    )
    if status == httpx.codes.PRECONDITION_FAILED:
        return ObjectExists(problem)
    if status in _TEMPORARY or status >= 500:  # noqa: PLR2004 - 5xx
        after = seconds_until_retry(response.headers, datetime.now(UTC))
        return TemporaryFailure(problem, retry_after_s=after)
    if status in _GRANT:
        return GrantRefused(problem, expired=word in _EXPIRED)
    return PermanentFailure(problem)


def _snake(word: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word).lower()
