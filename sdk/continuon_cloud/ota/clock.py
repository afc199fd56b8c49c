"""What time it is, for a robot whose clock may be wrong by a year.

Expiry is judged by the latest of four moments:

1. the robot's own clock;
2. when the newest timestamp that was ever verified says it was made, which is signed;
3. that moment, or what the clock said at start, plus the time this process has run since;
4. the ``Date`` of the service's last answer.

The result never goes back, so a robot that wakes up in 1970 does not believe old metadata. Only the
second is kept on disk: a clock that was a year ahead once does not close the robot for a year. An
unsigned ``Date`` can only move time forward, and only for this run: a liar gains a refusal, which
he has for less by not answering.

A clock that is ahead makes everything look expired. The robot then installs nothing and says so; it
does not let an unsigned answer talk its clock back, because that is how a freeze is hidden.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TrustedClock", "system_now"]


def system_now() -> datetime:
    """Return what the robot's clock says."""
    return datetime.now(UTC)


class TrustedClock:
    """A lower bound of the present time that only grows."""

    def __init__(
        self,
        system: Callable[[], datetime] = system_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._system = system
        self._monotonic = monotonic
        self._anchor = (system(), monotonic())
        self._heard: datetime | None = None

    def believe(self, moment: datetime) -> None:
        """Take ``moment`` as past: it is signed, or read from an answer that just came."""
        if moment > self.now():
            self._anchor = (moment, self._monotonic())

    def hear(self, moment: datetime) -> None:
        """Take the service's ``Date``: moves time forward like `believe`, and is remembered."""
        self._heard = moment
        self.believe(moment)

    def now(self) -> datetime:
        """Return the moment by which expiry is judged."""
        moment, at = self._anchor
        return max(self._system(), moment + timedelta(seconds=self._monotonic() - at))

    def ahead_of_service_s(self) -> float | None:
        """Return by how many seconds the robot's clock is ahead of what the service said last."""
        if self._heard is None:
            return None
        return (self._system() - self._heard).total_seconds()
