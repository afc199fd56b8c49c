"""The time for which an instance is billed: while it has at least one request."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from continuon_local.meter import Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from continuon_local.events.manifest import FunctionSpec
    from continuon_local.meter import Meter

__all__ = ["STEP_MS", "BilledTime"]

STEP_MS = 100
"""Cloud Run rounds an instance's billable time up to this, in milliseconds."""


class BilledTime:
    """Meters invocations, memory and CPU of one function's only instance.

    Requests that overlap share the instance, as they do in production up to its concurrency, and
    are billed together. A start from cold counts, as in production: the request waits for it.

    Args:
        clock: Seconds that never go back; of the machine, not the movable clock.
    """

    def __init__(
        self, meter: Meter, spec: FunctionSpec, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._meter = meter
        self._spec = spec
        self._clock = clock
        self._open = 0
        self._began = 0.0
        self._requests: set[str] = set()

    @contextmanager
    def request(self, request_id: str = "") -> Iterator[None]:
        """Count a request that lasts as long as the block."""
        caller = self._caller(request_id)
        self._meter.record(Operation.FUNCTION_INVOCATION, caller=caller)
        if not self._open:
            self._began = self._clock()
        self._open += 1
        self._requests.add(caller)
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._close()

    def _close(self) -> None:
        elapsed_ms = (self._clock() - self._began) * 1000
        billed_ms = max(1, math.ceil(elapsed_ms / STEP_MS)) * STEP_MS
        # What several requests shared belongs to the function alone.
        caller = self._requests.pop() if len(self._requests) == 1 else self._spec.id
        self._requests.clear()
        record = self._meter.record
        record(Operation.FUNCTION_MIB_MS, self._spec.memory_mb * billed_ms, caller=caller)
        record(Operation.FUNCTION_VCPU_US, round(self._spec.cpu * billed_ms * 1000), caller=caller)

    def _caller(self, request_id: str) -> str:
        return f"{self._spec.id};trace={request_id}" if request_id else self._spec.id
