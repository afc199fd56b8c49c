"""Time as the local cloud sees it: the system's, or one that a test moves by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "MovableClock"]


class Clock(Protocol):
    """Anything that can say what time it is."""

    def now(self) -> datetime:
        """Return the present moment, timezone-aware and in UTC."""
        ...


class MovableClock:
    """The system clock plus an offset that only grows.

    The offset lets a test reach an expiry, a schedule or a lifecycle rule without waiting. It
    never goes back: commit times, generations and tokens all rely on time not repeating.
    """

    def __init__(self) -> None:
        self._offset = timedelta(0)

    def now(self) -> datetime:
        """Return the present moment, timezone-aware and in UTC."""
        return datetime.now(UTC) + self._offset

    def advance(self, by: timedelta) -> datetime:
        """Move the clock forward and return the new present.

        Raises:
            ValueError: ``by`` is negative.
        """
        if by < timedelta(0):
            raise ValueError("the clock only moves forward")
        self._offset += by
        return self.now()
