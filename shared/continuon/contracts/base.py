"""What every contract has in common."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer

__all__ = ["Contract", "Page", "Timestamp"]


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a timestamp needs a time zone (RFC 3339)")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a timestamp has to be between the years 1 and 9999 in UTC") from error


def _rfc3339(value: datetime) -> str:
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Timestamp = Annotated[
    datetime,
    AfterValidator(_in_utc),
    PlainSerializer(_rfc3339, return_type=str, when_used="json"),
]
"""A moment with a time zone; RFC 3339 in UTC with milliseconds in JSON."""


class Contract(BaseModel):
    """The base of every request, response and document.

    Unknown fields are ignored: a robot or a web app that is newer than the server must not fail.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)


class Page(Contract):
    """What every list answer carries.

    Attributes:
        next_page_token: Pass it as ``page_token`` for the next page; absent on the last one.
    """

    next_page_token: str | None = None
