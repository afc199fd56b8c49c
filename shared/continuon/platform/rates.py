"""How often one proven caller may call.

Counted in the memory of each instance. A count that all instances share would cost a database
write for every request, in a document that a busy robot makes hot; what has to be prevented is one
caller that keeps an instance from serving the others. The bound over all instances is this one
times `maxInstances` of the function.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Final

from continuon import limits
from continuon.errors import ProblemError
from continuon.platform.problems import RATE_LIMITED
from continuon.platform.settings import PlatformSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = ["admit"]

_WINDOW_S: Final = 60


@cache
def _hit() -> Callable[[str], bool]:
    # Imported at the first request: the package loads every store it knows.
    from limits import RateLimitItemPerMinute  # noqa: PLC0415
    from limits.storage import MemoryStorage  # noqa: PLC0415
    from limits.strategies import SlidingWindowCounterRateLimiter  # noqa: PLC0415

    # Two counters a caller, however many requests; a log of moments would grow with them.
    limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
    allowed = PlatformSettings().continuon_requests_per_minute or limits.REQUESTS_PER_MINUTE
    item = RateLimitItemPerMinute(allowed)
    return lambda caller: limiter.hit(item, caller)


def admit(caller: str, now: datetime) -> None:
    """Count one request of a caller whose identity is proven.

    Only then: counting what somebody merely claims to be would let anyone lock a robot out.

    Args:
        caller: Kind and id, such as ``robot:14d4b680``.
        now: When the request came; decides how long to wait.

    Raises:
        ProblemError: ``request.rate_limited``, with the seconds to wait.
    """
    if not _hit()(caller):
        wait_s = math.ceil(_WINDOW_S - now.timestamp() % _WINDOW_S)
        raise ProblemError(RATE_LIMITED, retry_after_s=wait_s)
