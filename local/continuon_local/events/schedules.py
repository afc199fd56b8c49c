"""When scheduled functions run: unix-cron, and the App Engine forms the Firebase CLI also takes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from continuon_local.errors import ConfigurationError
from continuon_local.events.manifest import ScheduleTrigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from continuon_local.events.manifest import FunctionSpec

__all__ = ["Schedule", "parse_schedule"]

DEFAULT_TIME_ZONE = "America/Los_Angeles"
"""What the Firebase CLI gives a schedule without a time zone."""

_INTERVAL = re.compile(r"every\s+(\d+)\s+(minutes?|mins?|hours?)", re.IGNORECASE)
_DAILY = re.compile(r"every\s+(day|[a-z]+day)\s+(\d\d):(\d\d)", re.IGNORECASE)
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_CRON_FIELDS = 5
_DAY_MINUTES = 24 * 60


class Schedule:
    """The times of one scheduled function."""

    def __init__(self, after: Callable[[datetime], datetime]) -> None:
        self._after = after

    def after(self, moment: datetime) -> datetime:
        """Return the first time strictly after ``moment``, in UTC."""
        return self._after(moment).astimezone(UTC)


def parse_schedule(spec: FunctionSpec) -> Schedule:
    """Read the schedule of a function that has one.

    Raises:
        ConfigurationError: The schedule or the time zone is not understood.
    """
    trigger = spec.trigger
    where = f"{spec.source / 'functions.yaml'}: endpoints.{spec.id}.scheduleTrigger"
    if not isinstance(trigger, ScheduleTrigger):
        raise ConfigurationError(f"{where}: missing")
    try:
        zone = ZoneInfo(trigger.time_zone or DEFAULT_TIME_ZONE)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigurationError(f"{where}.timeZone: unknown {trigger.time_zone!r}") from error
    text = trigger.schedule.strip()
    if found := _INTERVAL.fullmatch(text):
        minutes = int(found[1]) * (60 if found[2].lower().startswith("hour") else 1)
        if 0 < minutes <= _DAY_MINUTES:
            return Schedule(lambda moment: _next_multiple(moment, minutes, zone))
    return _cron(_as_cron(text), zone, f"{where}.schedule: not understood: {text!r}")


def _as_cron(text: str) -> str:
    found = _DAILY.fullmatch(text)
    if found is None or found[1].lower() not in {"day", *_DAYS}:
        return text
    day = "*" if found[1].lower() == "day" else str(_DAYS.index(found[1].lower()))
    return f"{int(found[3])} {int(found[2])} * * {day}"


def _cron(expression: str, zone: ZoneInfo, refusal: str) -> Schedule:
    def after(moment: datetime) -> datetime:
        found: datetime = next(CronSim(expression, moment.astimezone(zone)))
        return found

    # Six fields would mean seconds to the library; unix-cron has five.
    if len(expression.split()) != _CRON_FIELDS:
        raise ConfigurationError(refusal)
    try:
        after(datetime(2026, 1, 1, tzinfo=UTC))
    except (CronSimError, StopIteration) as error:
        raise ConfigurationError(refusal) from error
    return Schedule(after)


def _next_multiple(moment: datetime, minutes: int, zone: ZoneInfo) -> datetime:
    """Return the next multiple of an interval that is counted from midnight in ``zone``."""
    local = moment.astimezone(zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    passed = int((local - midnight).total_seconds() // 60) // minutes
    following = midnight + timedelta(minutes=minutes * (passed + 1))
    return min(following, midnight + timedelta(days=1))
