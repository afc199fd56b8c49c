"""Time as microseconds since 1970, the resolution of Firestore's commit times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from continuon_local.firestore.messages import Timestamp

if TYPE_CHECKING:
    from continuon_local.firestore.messages import Message

__all__ = ["from_datetime", "from_timestamp", "to_datetime", "to_rfc3339", "to_timestamp"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = 1_000_000
_DAY_SECONDS = 86_400


def from_datetime(moment: datetime) -> int:
    """Convert an aware datetime to microseconds."""
    since = moment - _EPOCH
    return (since.days * _DAY_SECONDS + since.seconds) * _MICROSECONDS + since.microseconds


def to_datetime(microseconds: int) -> datetime:
    """Convert microseconds to an aware datetime in UTC."""
    seconds, rest = divmod(microseconds, _MICROSECONDS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def to_rfc3339(microseconds: int) -> str:
    """Write the time as CloudEvents and JSON do."""
    return to_datetime(microseconds).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_timestamp(timestamp: Message) -> int:
    """Convert a protobuf ``Timestamp``; nanoseconds below a microsecond are cut off."""
    return int(timestamp.seconds * _MICROSECONDS + timestamp.nanos // 1000)


def to_timestamp(microseconds: int) -> Message:
    """Convert to a protobuf ``Timestamp``."""
    seconds, rest = divmod(microseconds, _MICROSECONDS)
    return Timestamp(seconds=seconds, nanos=rest * 1000)
