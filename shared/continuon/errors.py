"""The one family of errors that this project raises, split by whose fault it is.

Whose fault it is decides the retry: a :class:`ProblemError` is the caller's and is never retried as
it stands; an :class:`UnavailableError` is a store's or the network's and is retried; anything else
is our bug and crashes loudly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ContinuonError", "FieldProblem", "ProblemError", "ProblemType", "UnavailableError"]


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of refusal, as RFC 9457 section 3.1.1 means it.

    Attributes:
        code: Stable, dotted, lower case; clients branch on it and it never changes.
        status: The HTTP status that goes with it.
        title: One short sentence, the same for every occurrence.
        remedy: What the caller can do about it; printed in the documentation.
    """

    code: str
    status: int
    title: str
    remedy: str


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One defect of one field: a stable code, a JSON path such as ``files[0].path``, a sentence."""

    code: str
    path: str
    message: str


class ContinuonError(Exception):
    """The base of every error this project raises on purpose."""


class ProblemError(ContinuonError):
    """The request cannot be granted as it stands.

    Attributes:
        type: The kind of refusal.
        detail: A sentence about this occurrence. It reaches the caller: never put a secret in it.
        errors: The fields at fault, if the refusal is about fields.
        retry_after_s: Seconds after which trying again makes sense, or None.
    """

    def __init__(
        self,
        problem_type: ProblemType,
        detail: str = "",
        *,
        errors: Sequence[FieldProblem] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(f"{problem_type.code}: {detail or problem_type.title}")
        self.type = problem_type
        self.detail = detail or problem_type.title
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s


class UnavailableError(ContinuonError):
    """A store or a transport failed; the same call may succeed later.

    Attributes:
        service: Which one, in words ("Firestore", "Cloud Storage").
        retry_after_s: Seconds to wait before the next attempt.
    """

    def __init__(self, service: str, *, retry_after_s: int = 5) -> None:
        super().__init__(f"{service} is unavailable")
        self.service = service
        self.retry_after_s = retry_after_s
