"""From shards to one episode: global step numbers, and the rules that need all steps at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from continuon.rlds import codes
from continuon.rlds.quality import Sample, Timing
from continuon.rlds.trackers import Mark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from continuon.rlds.report import Findings
    from continuon.rlds.segment import Segment
    from continuon.rlds.trackers import Places


_START = Mark(0, 0)
"""The first step of a shard, as far as a place can be named without remembering it."""


class Place(NamedTuple):
    """A step of the episode: its global number, its file and the offset of its line in bytes."""

    step: int
    file: str
    offset: int


@dataclass(slots=True)
class Merged:
    """All steps of an episode together.

    Attributes:
        steps: Number of steps.
        shape: Shape of the first readable step, None without one.
        references: First place of each (URI, SHA-256 or None), with its path in the step.
        first_bad: The earliest step with a problem.
        duration_ns: Last minus first time.
        timing: Intervals, also those between shards.
        sample: Sampled commands and sensors.
    """

    steps: int = 0
    shape: str | None = None
    references: dict[tuple[str, str | None], tuple[Place, str]] = field(default_factory=dict)
    first_bad: Place | None = None
    duration_ns: int | None = None
    timing: Timing = field(default_factory=Timing)
    sample: Sample = field(default_factory=Sample)

    def mark_bad(self, place: Place) -> None:
        """Remember the earliest step with a problem."""
        if self.first_bad is None or place < self.first_bad:
            self.first_bad = place


class Merger:
    """Puts shards together in their order.

    Args:
        findings: Takes the findings of the shards and those made here.
        complete: The last step was read; only then can a missing `is_last` be told.
    """

    def __init__(self, findings: Findings, *, complete: bool) -> None:
        self.merged = Merged()
        self._findings = findings
        self._complete = complete
        self._first: Segment | None = None
        self._times: tuple[int, int] | None = None
        self._stamp: int | None = None

    def run(self, segments: list[Segment], strays: list[Segment]) -> Merged:
        """Merge the shards, ordered by number.

        Args:
            segments: Shards without a gap, from the first on.
            strays: Shards after a gap. Their steps are counted and keep their own findings; how
                they continue the others cannot be judged.
        """
        for segment in segments:
            self._segment(segment)
        filled = [segment for segment in segments if segment.steps]
        if filled and filled[0].has_instruction is False:
            where = "observation.language_instruction"
            message = "the first step does not name the task"
            self._findings.add(
                codes.INSTRUCTION_MISSING, message, file=filled[0].file, step=0, path=where
            )
        if filled:
            _Flags(self, self._findings).check(filled, complete=self._complete)
        if self._times is not None:
            self.merged.duration_ns = self._times[1] - self._times[0]
        for segment in strays:
            base = self.merged.steps
            self.merged.mark_bad(Place(base, segment.file, 0))
            self._findings.absorb(segment.findings, base=base)
            self._note(segment, base)
        return self.merged

    def fault(
        self,
        code: str,
        segment: Segment,
        base: int,
        mark: Mark,
        *,
        message: str,
        path: str,
        times: int = 1,
    ) -> None:
        """Add a problem at a step of a shard that starts at the global step `base`."""
        place = Place(base + mark.step, segment.file, mark.offset)
        self.merged.mark_bad(place)
        self._findings.add(code, message, file=place.file, step=place.step, path=path, times=times)

    def _segment(self, segment: Segment) -> None:
        base = self.merged.steps
        self._findings.absorb(segment.findings, base=base)
        if segment.first_bad is not None:
            bad = segment.first_bad
            self.merged.mark_bad(Place(base + bad.step, segment.file, bad.offset))
        self._index(segment, base)
        self._agree(segment, base)
        self._join_times(segment, base)
        self._note(segment, base)

    def _note(self, segment: Segment, base: int) -> None:
        self.merged.sample.merge(segment.sample)
        for key, (mark, path) in segment.references.items():
            place = Place(base + mark.step, segment.file, mark.offset)
            self.merged.references.setdefault(key, (place, path))
        self.merged.steps += segment.steps

    def _index(self, segment: Segment, base: int) -> None:
        for run in segment.index.runs:
            if run.shift != base:
                found, expected = run.mark.step + run.shift, run.mark.step + base
                message = f"step_index {found} where {expected} is due ({run.count} steps)"
                self.fault(
                    codes.STEPS_INDEX,
                    segment,
                    base,
                    run.mark,
                    message=message,
                    path="step_index",
                    times=run.count,
                )
        if segment.index.surplus:
            message = f"{segment.index.surplus} more steps are out of order"
            times = segment.index.surplus
            self._findings.add(codes.STEPS_INDEX, message, file=segment.file, times=times)

    def _agree(self, segment: Segment, base: int) -> None:
        """Compare the lengths and the shape of a shard with those of the first readable one."""
        if segment.shape is None:
            return
        if self._first is None:
            self._first = segment
            self.merged.shape = segment.shape
            return
        start = _START
        first = self._first
        if (segment.shape, segment.command_kind) != (first.shape, first.command_kind):
            self.fault(
                codes.SHAPE_UNKNOWN,
                segment,
                base,
                start,
                message="another shape than the first shard",
                path="action.command",
            )
        ours, theirs = first.baseline.command_length, segment.baseline.command_length
        if ours is None:
            first.baseline.command_length = theirs
        elif theirs is not None and ours != theirs:
            self.fault(
                codes.ACTION_DIMENSION,
                segment,
                base,
                start,
                message=f"{theirs} numbers, {ours} before",
                path="action.command",
            )
        self._agree_state(segment, base, start)

    def _agree_state(self, segment: Segment, base: int, start: Mark) -> None:
        first = self._first.baseline.state_lengths if self._first else None
        theirs = segment.baseline.state_lengths
        if first is None or theirs is None:
            return
        for name, length in first.items():
            path = f"observation.robot_state.{name}"
            if name not in theirs:
                self._findings.add(
                    codes.STATE_ABSENT,
                    "the first step had this list",
                    file=segment.file,
                    step=base + start.step,
                    path=path,
                )
            elif theirs[name] != length:
                self.fault(
                    codes.STATE_DIMENSION,
                    segment,
                    base,
                    start,
                    message=f"{theirs[name]} numbers, {length} before",
                    path=path,
                )

    def _join_times(self, segment: Segment, base: int) -> None:
        if segment.first_stamp is not None:
            stamp, mark = segment.first_stamp
            if self._stamp is not None and stamp < self._stamp:
                message = f"{(self._stamp - stamp) / 1e6:.3f} ms before the previous step"
                self.fault(
                    codes.STEPS_TIME_ORDER,
                    segment,
                    base,
                    mark,
                    message=message,
                    path="timestamp_ns",
                )
            self._stamp = segment.previous_stamp
        if segment.times is None:
            return
        if self._times is not None:
            self.merged.timing.add_between(segment.times[0] - self._times[1])
        self.merged.timing.merge(segment.timing)
        self._times = (self._times or segment.times)[0], segment.times[1]


class _Flags:
    """The rules of is_first, is_last and is_terminal over all shards."""

    def __init__(self, merger: Merger, findings: Findings) -> None:
        self._merger = merger
        self._findings = findings

    def check(self, segments: list[Segment], *, complete: bool) -> None:
        total = sum(segment.steps for segment in segments)
        flagged = any(segment.flags.flagged for segment in segments)
        base = 0
        for segment in segments:
            flags = segment.flags
            self._wrong(segment, base, flags.first, allowed=0, name="is_first")
            if complete:
                self._wrong(segment, base, flags.last, allowed=total - 1, name="is_last")
                self._wrong(segment, base, flags.terminal, allowed=total - 1, name="is_terminal")
            if flagged and flags.bare.count:
                mark = flags.bare.marks[0]
                message = f"{flags.bare.count} steps lack the flags that others have"
                self._merger.fault(
                    codes.STEPS_FLAGS,
                    segment,
                    base,
                    mark,
                    message=message,
                    path="is_first",
                    times=flags.bare.count,
                )
            base += segment.steps
        if flagged:
            self._ends(segments, total, complete=complete)

    def _wrong(
        self, segment: Segment, base: int, places: Places, *, allowed: int, name: str
    ) -> None:
        wrong = [mark for mark in places.marks if base + mark.step != allowed]
        for mark in wrong:
            self._merger.fault(
                codes.STEPS_FLAGS,
                segment,
                base,
                mark,
                message=f"{name} is true on step {base + mark.step}",
                path=name,
            )
        unlisted = places.count - len(places.marks)
        if unlisted > 0:
            message = f"{name} is true on {unlisted} more steps"
            self._findings.add(codes.STEPS_FLAGS, message, file=segment.file, times=unlisted)

    def _ends(self, segments: list[Segment], total: int, *, complete: bool) -> None:
        first, last = segments[0], segments[-1]
        begins = any(mark.step == 0 for mark in first.flags.first.marks)
        if not begins and not _is_unreadable(first, 0) and not _is_bare(first, 0):
            self._merger.fault(
                codes.STEPS_FLAGS,
                first,
                0,
                _START,
                message="is_first is not true on the first step",
                path="is_first",
            )
        end = last.last
        if end is None or not complete or last.flags.last.count > len(last.flags.last.marks):
            return
        ends = any(mark.step == end.step for mark in last.flags.last.marks)
        if not ends and not _is_unreadable(last, end.step) and not _is_bare(last, end.step):
            self._merger.fault(
                codes.STEPS_FLAGS,
                last,
                total - last.steps,
                end,
                message="is_last is not true on the last step",
                path="is_last",
            )


def _is_unreadable(segment: Segment, step: int) -> bool:
    """Whether the first or last step of a shard could not be read or had bad flags."""
    return segment.unreadable is not None and step in segment.unreadable


def _is_bare(segment: Segment, step: int) -> bool:
    return any(mark.step == step for mark in segment.flags.bare.marks)


def iterate_places(merged: Merged) -> Iterator[tuple[str, str | None, Place, str]]:
    """Yield URI, SHA-256, place and path of every reference, ordered by step."""
    items = sorted(merged.references.items(), key=lambda item: (item[1][0].step, item[0][0]))
    for (uri, sha256), (place, path) in items:
        yield uri, sha256, place, path
