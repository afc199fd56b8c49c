"""Maintenance windows in the robot's time zone. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from continuon.contracts.rollouts import Weekday

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from continuon.contracts.rollouts import Window

__all__ = ["is_known_zone", "next_opening"]

_WEEKDAYS: Final = tuple(Weekday)
_DAYS_AHEAD: Final = 8
"""A window opens at least once a week; one day more for those that are open now."""


def is_known_zone(name: str) -> bool:
    """Say whether ``name`` is a time zone of the IANA database."""
    return _zone(name) is not None


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # ValueError: a name that would leave the database's folder. OSError: the name of one of
        # its folders.
        return None


def next_opening(windows: Sequence[Window], now: datetime, timezone: str | None) -> datetime | None:
    """Return when the next window opens, in UTC; None while one is open, or when there is none.

    A zone that is unknown, or absent, is read as UTC. Wall times that a change of the clock skips
    or repeats are taken as the zone's rules say for the first of the two.
    """
    if not windows:
        return None
    spans = list(_spans(windows, now, _zone(timezone or "UTC") or ZoneInfo("UTC")))
    if any(begin <= now < end for begin, end in spans):
        return None
    return min(begin for begin, _ in spans if begin > now)


def _spans(
    windows: Sequence[Window], now: datetime, zone: ZoneInfo
) -> Iterator[tuple[datetime, datetime]]:
    """Yield begin and end of every window around ``now``, in UTC."""
    today = now.astimezone(zone).date()
    for offset in range(-1, _DAYS_AHEAD):
        day = today + timedelta(days=offset)
        for window in windows:
            if _WEEKDAYS[day.weekday()] not in window.days:
                continue
            begin, end = time.fromisoformat(window.start), time.fromisoformat(window.end)
            last = day if begin < end else day + timedelta(days=1)
            yield (
                datetime.combine(day, begin, zone).astimezone(UTC),
                datetime.combine(last, end, zone).astimezone(UTC),
            )
