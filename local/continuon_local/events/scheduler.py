"""Cloud Scheduler's part: which scheduled functions are due, and how they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.events.manifest import ScheduleTrigger
from continuon_local.events.outbox import OutboxEvent
from continuon_local.events.schedules import parse_schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from continuon_local.events.manifest import FunctionSpec

__all__ = ["Scheduler", "scheduler_headers"]


class Scheduler:
    """The next time of every scheduled function.

    Times that pass while nobody looks (the machine slept, the clock was moved) cause one call, not
    one for each: Cloud Scheduler does not make up for missed times either.
    """

    def __init__(self, functions: Sequence[FunctionSpec]) -> None:
        self._schedules = [
            (spec, parse_schedule(spec))
            for spec in functions
            if isinstance(spec.trigger, ScheduleTrigger)
        ]
        self._next: dict[int, datetime] = {}

    def begin(self, now: datetime) -> None:
        """Forget earlier times and count from ``now``."""
        self._next = {
            index: schedule.after(now) for index, (_, schedule) in enumerate(self._schedules)
        }

    def next_s(self) -> float | None:
        """Return when the next call is due, in Unix seconds, or None without schedules."""
        return min((moment.timestamp() for moment in self._next.values()), default=None)

    def due(self, now: datetime) -> Iterator[tuple[FunctionSpec, OutboxEvent]]:
        """Yield the functions whose time has come, with a call to store for each."""
        for index, (spec, schedule) in enumerate(self._schedules):
            moment = self._next[index]
            if moment <= now:
                self._next[index] = schedule.after(now)
                yield spec, _call(spec, moment)


def scheduler_headers(spec: FunctionSpec, call: OutboxEvent) -> list[tuple[bytes, bytes]]:
    """Return the headers with which Cloud Scheduler calls a function."""
    return [
        (b"user-agent", b"Google-Cloud-Scheduler"),
        (b"x-cloudscheduler", b"true"),
        (b"x-cloudscheduler-jobname", _job_name(spec).encode()),
        (b"x-cloudscheduler-scheduletime", call.time.encode()),
        (b"content-type", b"application/octet-stream"),
    ]


def _job_name(spec: FunctionSpec) -> str:
    # The name that the Firebase CLI gives the job it creates.
    return f"firebase-schedule-{spec.id}-{spec.region}"


def _call(spec: FunctionSpec, moment: datetime) -> OutboxEvent:
    time = moment.isoformat().replace("+00:00", "Z")
    return OutboxEvent(
        id=f"{_job_name(spec)}/{time}",
        type="google.cloud.scheduler.job",
        source=f"//cloudscheduler.googleapis.com/jobs/{_job_name(spec)}",
        subject="",
        time=time,
        data=b"",
        data_content_type="application/octet-stream",
    )
