"""What time it is, for a robot whose clock may be wrong by a year.

Expiry is judged by the latest of four moments:

1. the robot's own clock;
2. what it said when this process started, plus the time that this process has run;
3. when the newest verified timestamp says it was made, plus the time since it was verified. That is
   signed, kept on disk, and believed as long as the root names the keys that signed it;
4. the ``Date`` of the answers to this very question.

So a robot that wakes up in 1970 does not believe old metadata. A clock that was a year ahead once
is not remembered. An unsigned ``Date`` can only move time forward, and only while its answer is
judged: a liar gains one refusal, which he has for less by not answering.

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
    """A lower bound of the present time."""

    def __init__(
        self,
        system: Callable[[], datetime] = system_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._system = system
        self._monotonic = monotonic
        self._start = (system(), monotonic())
        self._signed: dict[str, tuple[datetime, float]] = {}
        self._heard: datetime | None = None

    def believe(self, moment: datetime, keys: str) -> None:
        """Take ``moment``, which was signed with ``keys`` (a digest), as past."""
        if keys not in self._signed or moment > self._running(self._signed[keys]):
            self._signed[keys] = (moment, self._monotonic())

    def hear(self, moment: datetime) -> None:
        """Take the ``Date`` of an answer."""
        self._heard = moment if self._heard is None else max(self._heard, moment)

    def ask_anew(self) -> None:
        """Forget what was heard: new questions bring their own answers."""
        self._heard = None

    def now(self, keys: str | None = None) -> datetime:
        """Return the moment by which expiry is judged.

        Args:
            keys: Digest of the keys that sign timestamps now; None while that is not known.
        """
        moments = [self._system(), self._running(self._start)]
        if self._heard is not None:
            moments.append(self._heard)
        if keys is not None and keys in self._signed:
            moments.append(self._running(self._signed[keys]))
        return max(moments)

    def ahead_of_service_s(self) -> float | None:
        """Return by how many seconds the robot's clock is ahead of what the service said."""
        if self._heard is None:
            return None
        return (self._system() - self._heard).total_seconds()

    def _running(self, anchor: tuple[datetime, float]) -> datetime:
        moment, at = anchor
        return moment + timedelta(seconds=self._monotonic() - at)
