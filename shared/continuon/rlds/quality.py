"""The quality score: five parts, each with its formula, measured in the same single pass.

Timing looks at every interval; the other parts look at a fixed sample of steps (the first
`SAMPLE_HEAD` of a shard and two neighbours of every `SAMPLE_STRIDE` after that), so that the score
is cheap and depends only on the episode, never on how its bytes arrived.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from operator import mul, sub
from typing import TYPE_CHECKING, Any, Final

from continuon.rlds.report import Part, Quality

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SAMPLE_HEAD: Final = 256
SAMPLE_STRIDE: Final = 64
NOMINAL_INTERVALS: Final = 256
"""Intervals whose median is taken as the period of a shard."""
IDLE_THRESHOLD: Final = 1e-6
JITTER_AT_ZERO: Final = 0.5
"""Coefficient of variation of the intervals at which the score reaches 0."""
DROPPED_AT_ZERO: Final = 0.2
"""Share of missing frames at which the score reaches 0."""
JERK_AT_ZERO: Final = 0.5
"""Mean change between neighbours, in ranges of the command, at which the score reaches 0."""
DIGITS: Final = 6
"""Decimal places of every reported number: the last bits depend on the order of additions."""


def _median(values: list[int]) -> float:
    """As `statistics.median`, whose import would cost a cold start 10 ms."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return (ordered[middle] + ordered[-middle - 1]) / 2


def is_sampled(local: int) -> bool:
    """Whether the step with this number in its shard is looked at."""
    return local < SAMPLE_HEAD or local % SAMPLE_STRIDE < 2  # noqa: PLR2004 - two neighbours


def sampled_in(first: int, count: int) -> Iterable[int]:
    """Return the positions, relative to `first`, of the sampled steps of a batch."""
    if first + count <= SAMPLE_HEAD:
        return range(count)
    if first < SAMPLE_HEAD:
        return [k for k in range(count) if is_sampled(first + k)]
    start = -first % SAMPLE_STRIDE
    chosen = range(start, count, SAMPLE_STRIDE)
    follow = [k + 1 for k in range(start, count - 1, SAMPLE_STRIDE)]
    return sorted([*([0] if first % SAMPLE_STRIDE == 1 else []), *chosen, *follow])


@dataclass(slots=True)
class Timing:
    """Intervals between steps, in nanoseconds; sums are integers and therefore exact."""

    count: int = 0
    total: int = 0
    squares: int = 0
    missing: int = 0
    _head: list[int] = field(default_factory=list)
    _nominal: float | None = None

    def add(self, intervals: list[int]) -> None:
        """Add intervals in order."""
        self.count += len(intervals)
        self.total += sum(intervals)
        self.squares += sum(map(mul, intervals, intervals))
        if self._nominal is None:
            self._collect(intervals)
        elif intervals and max(intervals) > 1.5 * self._nominal:
            self._count_missing(intervals, self._nominal)

    def _collect(self, intervals: list[int]) -> None:
        room = NOMINAL_INTERVALS - len(self._head)
        self._head += intervals[:room]
        if len(self._head) == NOMINAL_INTERVALS:
            self.close()
            if intervals[room:] and self._nominal:
                self._count_missing(intervals[room:], self._nominal)

    def close(self) -> None:
        """Fix the nominal period and judge the intervals collected so far."""
        if self._nominal is None and self._head:
            self._nominal = _median(self._head)
            self._count_missing(self._head, self._nominal)
        self._head = []

    def _count_missing(self, intervals: list[int], nominal: float) -> None:
        if nominal > 0:
            self.missing += sum(
                round(interval / nominal) - 1 for interval in intervals if interval > 1.5 * nominal
            )

    def add_between(self, interval: int) -> None:
        """Add the interval between two shards; gaps there are judged by the shards around it."""
        self.count += 1
        self.total += interval
        self.squares += interval * interval

    @property
    def period_ns(self) -> float | None:
        """Mean interval."""
        return self.total / self.count if self.count else None

    def merge(self, other: Timing) -> None:
        """Add the intervals of a later shard; both must be closed."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        self.missing += other.missing


@dataclass(slots=True)
class Sample:
    """Commands and sensors of the sampled steps."""

    steps: int = 0
    idle: int = 0
    change: float = 0.0
    changes: int = 0
    low: float = math.inf
    high: float = -math.inf
    sensors: Counter[str] = field(default_factory=Counter)
    _previous: tuple[int, Sequence[float]] | None = None

    def add(self, local: int, command: Sequence[float], sensors: Iterable[str]) -> None:
        """Add one sampled step with its finite command and the sensors that delivered data."""
        self.steps += 1
        self.low = min(self.low, *command)
        self.high = max(self.high, *command)
        if max(map(abs, command)) <= IDLE_THRESHOLD:
            self.idle += 1
        self._change(local, command)
        self.sensors.update(sensors)

    def _change(self, local: int, command: Sequence[float]) -> None:
        previous = self._previous
        self._previous = (local, command)
        if previous is None or previous[0] != local - 1 or len(previous[1]) != len(command):
            return
        step = sum(map(abs, map(sub, command, previous[1]))) / len(command)
        if math.isfinite(step):
            self.change += step
            self.changes += 1

    def merge(self, other: Sample) -> None:
        """Add the sample of a later shard."""
        self.steps += other.steps
        self.idle += other.idle
        self.change += other.change
        self.changes += other.changes
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)
        self.sensors.update(other.sensors)


def sensors_in(step: dict[str, Any]) -> set[str]:
    """Name the declared-sensor kinds for which a step carries data."""
    observation = step.get("observation")
    if not isinstance(observation, dict):
        return set()
    media = observation.get("media")
    glove = observation.get("glove")
    found: set[str] = set(media) if isinstance(media, dict) else set()
    if observation.get("egocentric_video") is not None:
        found.add("rgb")
    found |= {name for name in ("audio", "imu", "depth") if observation.get(name) is not None}
    if isinstance(glove, dict) and glove.get("valid") is True:
        found.add("glove")
    return found


def score(timing: Timing, sample: Sample, metadata: dict[str, Any] | None) -> Quality:
    """Put the parts together; the score is the mean of those that could be measured."""
    parts = {
        "timing_jitter": _jitter(timing),
        "dropped_frames": _dropped(timing),
        "idle_share": _idle(sample),
        "action_smoothness": _smoothness(sample),
        "sensor_coverage": _coverage(sample, metadata),
    }
    measured = [part.score for part in parts.values() if part.value is not None]
    total = sum(measured) / len(measured) if measured else 0.0
    return Quality(score=round(total, DIGITS), parts=parts)


def _part(value: float | None, share: float | None, unit: str, explanation: str) -> Part:
    if value is None or share is None or not math.isfinite(value):
        return Part(score=0.0, value=None, unit=unit, explanation=f"{explanation}; not measurable")
    bounded = min(1.0, max(0.0, share))
    return Part(
        score=round(bounded, DIGITS), value=round(value, DIGITS), unit=unit, explanation=explanation
    )


def _jitter(timing: Timing) -> Part:
    """Score 1 - cv / 0.5, where cv is the intervals' standard deviation over their mean."""
    value = None
    if timing.count > 1 and timing.total > 0:
        mean = timing.total / timing.count
        spread = timing.count * timing.squares - timing.total * timing.total
        value = math.sqrt(max(0, spread)) / timing.count / mean
    share = None if value is None else 1 - value / JITTER_AT_ZERO
    return _part(value, share, "ratio", "standard deviation over mean of the step intervals")


def _dropped(timing: Timing) -> Part:
    """Score 1 - share / 0.2; an interval of k periods (k >= 1.5) counts as round(k) - 1 missing."""
    value = timing.missing / (timing.count + timing.missing) if timing.count else None
    share = None if value is None else 1 - value / DROPPED_AT_ZERO
    return _part(value, share, "share", "missing steps over expected steps, by median interval")


def _idle(sample: Sample) -> Part:
    """Score 1 - share of sampled steps whose command is zero in every component."""
    value = sample.idle / sample.steps if sample.steps else None
    share = None if value is None else 1 - value
    return _part(value, share, "share", "sampled steps whose whole command is zero")


def _smoothness(sample: Sample) -> Part:
    """Score 1 - change / 0.5; change is the mean step between neighbours over the range."""
    value = None
    if sample.changes:
        extent = sample.high - sample.low
        value = sample.change / sample.changes / extent if extent > 0 else 0.0
    share = None if value is None else 1 - value / JERK_AT_ZERO
    return _part(value, share, "ratio", "mean change of the command over its range")


def _coverage(sample: Sample, metadata: dict[str, Any] | None) -> Part:
    """Score: mean over the sensors declared true of the share of sampled steps with their data."""
    capabilities = (metadata or {}).get("capabilities")
    sensors = capabilities.get("sensors") if isinstance(capabilities, dict) else None
    names = [k for k, v in sensors.items() if v is True] if isinstance(sensors, dict) else []
    value = None
    if names and sample.steps:
        value = sum(sample.sensors[name] for name in names) / len(names) / sample.steps
    return _part(value, value, "share", "sampled steps with data of each declared sensor, averaged")
