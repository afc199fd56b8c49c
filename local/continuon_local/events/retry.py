"""When a failed delivery is repeated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from continuon_local.events.manifest import EventTrigger, ScheduleTrigger

if TYPE_CHECKING:
    from continuon_local.events.manifest import FunctionSpec

__all__ = ["RetryPolicy"]

MAX_AGE_S = 24 * 3600
"""Eventarc gives an event up a day after its first delivery."""

_SCHEDULE_MIN_S = 5
_SCHEDULE_MAX_S = 3600
"""Cloud Scheduler's defaults for its shortest and longest back-off, in seconds."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Exponential back-off between ``base_s`` and ``cap_s`` seconds."""

    base_s: float
    cap_s: float

    def delay_s(
        self, spec: FunctionSpec, *, attempts: int, age_s: float, jitter: float
    ) -> float | None:
        """Return how long to wait after ``attempts`` failures, or None to give the delivery up.

        Args:
            spec: The function that did not acknowledge.
            attempts: How often it was tried.
            age_s: Time since the event was stored, in seconds.
            jitter: From 0 to 1; spreads the repetitions over the second half of the delay.
        """
        trigger = spec.trigger
        if isinstance(trigger, EventTrigger):
            if not trigger.retry or age_s >= MAX_AGE_S:
                return None
            return _backoff(self.base_s, self.cap_s, attempts, jitter)
        if isinstance(trigger, ScheduleTrigger):
            return _schedule_delay(trigger, attempts, age_s, jitter)
        return None

    def after_loss(self, *, attempts: int, jitter: float) -> float:
        """Return how long until the transport repeats what never arrived, in seconds."""
        return _backoff(self.base_s, self.cap_s, attempts, jitter)


def _backoff(base_s: float, cap_s: float, attempts: int, jitter: float) -> float:
    longest: float = min(cap_s, base_s * 2.0 ** min(attempts - 1, 30))
    return longest * (0.5 + 0.5 * jitter)


def _schedule_delay(
    trigger: ScheduleTrigger, attempts: int, age_s: float, jitter: float
) -> float | None:
    config = trigger.retry_config
    if config is None or attempts > (config.retry_count or 0):
        return None
    if config.max_retry_seconds and age_s >= config.max_retry_seconds:
        return None
    base_s = config.min_backoff_seconds or _SCHEDULE_MIN_S
    return _backoff(base_s, config.max_backoff_seconds or _SCHEDULE_MAX_S, attempts, jitter)
