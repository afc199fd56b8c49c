"""Problem details as they travel (RFC 9457)."""

from __future__ import annotations

from pydantic import Field

from continuon.contracts.base import Contract

__all__ = ["Problem", "ProblemField"]


class ProblemField(Contract):
    """One field at fault."""

    code: str = Field(description="Stable code of the defect.")
    path: str = Field(description="Where it is, as a JSON path such as `files[0].path`.")
    message: str = Field(description="A sentence for a person.")


class Problem(Contract):
    """The body of every error answer, served as `application/problem+json`."""

    type: str = Field(description="Reference to the documentation of this code.")
    title: str = Field(description="One sentence, the same for every occurrence.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="A sentence about this occurrence.")
    code: str = Field(description="Stable, dotted code to branch on.")
    errors: list[ProblemField] = Field(default_factory=list)
    trace_id: str | None = Field(default=None, description="Quote it when asking for help.")
