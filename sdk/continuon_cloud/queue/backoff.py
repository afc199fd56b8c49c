"""When to try again, and how fast to send."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final

from continuon_cloud.transport import MAX_RETRY_AFTER_S

__all__ = ["BACKOFF_BASE_S", "BACKOFF_CAP_S", "RateLimit", "backoff_s", "seconds_to_wait"]

BACKOFF_BASE_S: Final = 0.5
"""Upper bound of the wait after the first failure, in seconds; it doubles with each failure."""

BACKOFF_CAP_S: Final = 300.0
"""Upper bound of any wait the client chooses itself: five minutes after an outage ends, every robot
is back."""

_MAX_DOUBLINGS: Final = 20

_LONGEST_WAIT_S: Final = MAX_RETRY_AFTER_S + BACKOFF_CAP_S

_JITTER_ON_TOP: Final = 0.1
"""Share of the own wait that is added to a server's: it knows when, we only keep apart."""


def backoff_s(attempts: int, *, retry_after_s: float | None = None) -> float:
    """Return the seconds to wait after ``attempts`` failures in a row (1 or more).

    Full jitter: a uniform draw up to the doubled bound keeps a fleet that failed together from
    coming back together. A server's ``Retry-After`` is a floor, and the jitter is added on top.
    """
    bound = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** min(attempts - 1, _MAX_DOUBLINGS))
    drawn = random.uniform(0, bound)  # noqa: S311 - jitter, not a secret
    return drawn if retry_after_s is None else retry_after_s + drawn * _JITTER_ON_TOP


def seconds_to_wait(next_attempt_at: float, now: float) -> float:
    """Return the seconds from ``now`` to ``next_attempt_at``, both Unix seconds.

    A wait that no failure can have asked for means that the clock was set back since (a robot
    without a clock battery wakes up in 1970): then the time is now.
    """
    wait_s = next_attempt_at - now
    return wait_s if 0 < wait_s <= _LONGEST_WAIT_S else 0.0


class RateLimit:
    """A token bucket over all transfers of one process.

    Holds one second's worth at most, so that a pause does not turn into a burst.
    """

    def __init__(self, bytes_per_s: float | None) -> None:
        """Allow ``bytes_per_s``, or any rate when it is None."""
        self._rate = bytes_per_s
        self._tokens = 0.0
        self._filled_at = time.monotonic()

    async def take(self, size_bytes: int) -> None:
        """Wait until ``size_bytes`` may be sent."""
        if self._rate is None:
            return
        now = time.monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        # A debt instead of a queue: each taker waits until the debt it found and made is paid.
        self._tokens -= size_bytes
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._rate)
