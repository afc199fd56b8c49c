"""One steps file, read as a stream: lines to steps, steps to findings and memory for the merge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from continuon.rlds import blobs, codes, quality, rules, shapes
from continuon.rlds._fast import BatchRules
from continuon.rlds._json import JsonFault, loads
from continuon.rlds._schema import Schemas, merge_form
from continuon.rlds.errors import StopReading
from continuon.rlds.report import Findings
from continuon.rlds.trackers import FlagTracker, IndexTracker, Mark

if TYPE_CHECKING:
    from continuon.limits import Limits

_LEAST_STEP_BYTES: Final = 40
"""A line with an observation and an action is longer than this."""
STEPS_BEFORE_BATCHES: Final = 16
"""Steps that are read one by one first: their fields together make the form of the rest."""
BATCH_BYTES: Final = 64 * 1024
"""Bytes decoded at once: stays in the processor's second-level cache with its objects."""

_JSON_CODES: Final = {
    "utf8": codes.TEXT_NOT_UTF8,
    "depth": codes.LIMITS_DEPTH,
    "nonfinite": codes.STEPS_NONFINITE,
    "syntax": codes.STEPS_JSON_INVALID,
}


class Segment:
    """Checks one steps file. Feed it bytes, finish it, then let `merge` read it.

    Attributes:
        file: Path of the member.
        findings: What is wrong, with local step numbers.
        steps: Lines that hold a step, readable or not.
        shape: Shape of the first readable step, None before it.
        command_kind: What the numbers of a normalised command mean.
        baseline: Lengths fixed by the first readable step.
        index: Follows `step_index`.
        flags: Follows the flags.
        references: First place of each (URI, SHA-256 or None), with its path in the step.
        first_bad: First step with a problem.
        last: Mark of the last step.
        unreadable: Local numbers of the first and last step that could not be read.
        times: First and last time, in nanoseconds.
        timing: Intervals.
        sample: Sampled commands and sensors.
        has_instruction: The first step names the task; None when it could not be read.
    """

    def __init__(
        self, file: str, limits: Limits, *, step_budget: int, schemas: Schemas | None = None
    ) -> None:
        self.file = file
        self.findings = Findings(limits.findings_per_code)
        self.steps = 0
        self.shape: str | None = None
        self.command_kind = ""
        self.baseline = rules.Baseline()
        self.index = IndexTracker()
        self.flags = FlagTracker()
        self.references: dict[tuple[str, str | None], tuple[Mark, str]] = {}
        self.first_bad: Mark | None = None
        self.last: Mark | None = None
        self.unreadable: tuple[int, int] | None = None
        self.clock: str | None = None
        self.times: tuple[int, int] | None = None
        self.previous_stamp: int | None = None
        self.first_stamp: tuple[int, Mark] | None = None
        self.timing = quality.Timing()
        self.sample = quality.Sample()
        self.no_upload = False
        self._limits = limits
        self._step_budget = step_budget
        self._schemas = schemas or Schemas()
        self._may_start = True
        self._batches: BatchRules | None = None
        self.has_instruction: bool | None = None
        self._latest_bad = -1
        self._form: dict[str, Any] = {}
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._enough = BATCH_BYTES
        self._offset = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file.

        Raises:
            StopReading: A line or the number of steps passes its limit.
        """
        self._pieces.append(chunk)
        self._waiting += len(chunk)
        if self._waiting >= self._enough:
            self._cut()

    def finish(self) -> None:
        """Take the end of the file; the last line may lack its newline.

        Raises:
            StopReading: As `feed`.
        """
        self._cut()
        rest = b"".join(self._pieces)
        self._pieces.clear()
        if rest:
            self._batch(rest)
        self.timing.close()

    @property
    def length(self) -> int:
        """Bytes of the lines that were looked at."""
        return self._offset

    def interrupt(self) -> None:
        """Take the whole lines that arrived before the source ended in the middle.

        Raises:
            StopReading: As `feed`.
        """
        data = b"".join(self._pieces)
        self._pieces.clear()
        end = data.rfind(b"\n") + 1
        if end:
            self._batch(data[:end])
        self.timing.close()
        self.mark_bad(Mark(self.steps, self._offset))

    def _cut(self) -> None:
        """Check the batches that are complete and keep the rest.

        A rest without a line end is joined again only after it doubled, so that a long line in
        small pieces costs linear time.
        """
        data = b"".join(self._pieces)
        start = 0
        while len(data) - start >= BATCH_BYTES:
            end = data.rfind(b"\n", start, start + BATCH_BYTES) + 1
            end = end or data.find(b"\n", start + BATCH_BYTES) + 1
            if not end:
                break
            self._batch(data[start:end])
            start = end
        rest = data[start:]
        if len(rest) > self._limits.line_bytes + 1 and b"\n" not in rest:
            self._stop_at_line()  # the one byte more may be a carriage return
        self._pieces = [rest]
        self._waiting = len(rest)
        most = max(BATCH_BYTES, self._limits.line_bytes + 2)
        self._enough = min(max(BATCH_BYTES, 2 * len(rest)), most)

    def _stop_at_line(self) -> None:
        message = f"line longer than {self._limits.line_bytes} bytes"
        mark = Mark(self.steps, self._offset)
        self._add(codes.LIMITS_LINE_SIZE, None, message, mark)
        raise StopReading(codes.LIMITS_LINE_SIZE, message, reported=True)

    def _batch(self, batch: bytes) -> None:
        """Check whole lines, at once if they are sound, else one by one."""
        batches = self._batches if self._may_batch(batch) else None
        if batches is not None and batches.accept(batch, self._offset):
            self._offset += len(batch)
            return
        for line in batch.removesuffix(b"\n").split(b"\n"):
            if line and not line.isspace():
                self._line(line)
            self._offset += len(line) + 1

    def _may_batch(self, batch: bytes) -> bool:
        """Whether no line and no step of a batch can pass its limit."""
        room = self._step_budget - self.steps
        return len(batch) <= self._limits.line_bytes and len(batch) <= room * _LEAST_STEP_BYTES

    def _line(self, line: bytes) -> None:
        mark = Mark(self.steps, self._offset)
        if len(line.removesuffix(b"\r")) > self._limits.line_bytes:
            self._stop_at_line()
        if self.steps >= self._step_budget:
            message = f"more than {self._limits.steps} steps"
            self._add(codes.LIMITS_STEPS, None, message, mark)
            raise StopReading(codes.LIMITS_STEPS, message, reported=True)
        self.steps += 1
        self.last = mark
        step = self._read(line, mark)
        if step is None:
            first = mark.step if self.unreadable is None else self.unreadable[0]
            self.unreadable = (first, mark.step)
        else:
            self._step(step, mark)

    def _read(self, line: bytes, mark: Mark) -> dict[str, Any] | None:
        """Decode a line and bring it to the documented shape; None when that fails."""
        try:
            value = loads(line, max_depth=self._limits.depth)
        except JsonFault as fault:
            self._add(_JSON_CODES[fault.kind], fault.path, fault.message, mark)
            return None
        if not isinstance(value, dict):
            self._add(codes.STEPS_TYPE, None, "a step is not an object", mark)
            return None
        if self.shape is None:
            self.shape = shapes.detect_step_shape(value)
        return self._normalise(value, mark) if self.shape == shapes.KOTLIN else value

    def _normalise(self, value: dict[str, Any], mark: Mark) -> dict[str, Any] | None:
        try:
            step, kind = shapes.normalise_step(value)
        except shapes.ShapeFault as fault:
            self._add(codes.SHAPE_UNKNOWN, fault.path, fault.message, mark)
            return None
        self.command_kind = self.command_kind or kind
        if kind != self.command_kind:
            message = f"{kind or 'a list'}, {self.command_kind} before"
            self._add(codes.SHAPE_UNKNOWN, "action.command", message, mark)
        return step

    def _step(self, step: dict[str, Any], mark: Mark) -> None:
        for fault in rules.check_step(step, self.baseline):
            self._add(*fault, mark)
        if mark.step == 0:
            self.has_instruction = rules.has_instruction(step)
        self._references(step, mark)
        self._index(step.get("step_index"), mark)
        self._flags(step, mark)
        self._times(step, mark)
        if self._latest_bad != mark.step:
            self._sound_step(step, mark)

    def _sound_step(self, step: dict[str, Any], mark: Mark) -> None:
        if quality.is_sampled(mark.step):
            self.sample.add(mark.step, step["action"]["command"], quality.sensors_in(step))
        if self._may_start and self._batches is None and self.shape == shapes.CANONICAL:
            self._form = merge_form(self._form, step)
            if mark.step >= STEPS_BEFORE_BATCHES:
                self._start_batches()

    def _start_batches(self) -> None:
        """From here on, whole batches can be decoded by the form of the steps so far."""
        if self.baseline.state_lengths is None or self.clock is None:
            return
        schema = self._schemas.get(self._form, self.baseline)
        if schema is None:
            self._may_start = False
        else:
            self._batches = BatchRules(self, schema, self._form, self._limits.depth)
        self._form = {}

    def _add(self, code: str, path: str | None, message: str, mark: Mark) -> None:
        self.findings.add(code, message, file=self.file, step=mark.step, path=path)
        if codes.CODES[code].severity == "problem":
            self.mark_bad(mark)
        if code == codes.PRIVACY_NO_UPLOAD:
            self.no_upload = True

    def mark_bad(self, mark: Mark) -> None:
        """Remember the earliest step with a problem."""
        self._latest_bad = mark.step
        if self.first_bad is None or mark < self.first_bad:
            self.first_bad = mark

    def _references(self, step: dict[str, Any], mark: Mark) -> None:
        for found in rules.read_references(step):
            if isinstance(found, blobs.Reference):
                self.refer(found.uri, found.sha256, mark, found.path)
            else:
                self._add(*found, mark)

    def refer(self, uri: str, sha256: str | None, mark: Mark, path: str) -> None:
        """Remember the first place of a reference.

        Raises:
            StopReading: More distinct files are referenced than an episode may have.
        """
        key = (uri, sha256)
        if key in self.references:
            return
        if len(self.references) >= 2 * self._limits.members:
            message = f"references more than {self._limits.members} files"
            raise StopReading(codes.LIMITS_MEMBERS, message, file=self.file)
        self.references[key] = (mark, path)

    def _index(self, index: Any, mark: Mark) -> None:
        if type(index) is int:
            self.index.add(index, mark)

    def _flags(self, step: dict[str, Any], mark: Mark) -> None:
        first, last, terminal = (step.get(k) for k in ("is_first", "is_last", "is_terminal"))
        for name, value in (("is_first", first), ("is_last", last), ("is_terminal", terminal)):
            if not isinstance(value, bool | None):
                self._add(codes.STEPS_FLAGS, name, f"{name} is not a boolean", mark)
                return
        if (first is None) != (last is None):
            name = "is_first" if first is None else "is_last"
            self._add(codes.STEPS_FLAGS, name, f"{name} is missing", mark)
            return
        self.flags.add(first=first, last=last, terminal=terminal, mark=mark)

    def _times(self, step: dict[str, Any], mark: Mark) -> None:
        stamp = _as_time(step.get("timestamp_ns"))
        if stamp is not None:
            if self.previous_stamp is None:
                self.first_stamp = (stamp, mark)
            elif stamp < self.previous_stamp:
                message = f"{(self.previous_stamp - stamp) / 1e6:.3f} ms before the previous step"
                self._add(codes.STEPS_TIME_ORDER, "timestamp_ns", message, mark)
            self.previous_stamp = stamp
        if self.clock is None:
            self.clock = "timestamp_ns" if stamp is not None else "robot_state"
        time = stamp if self.clock == "timestamp_ns" else _robot_time(step)
        if time is None:
            return
        if self.times is not None:
            self.timing.add([time - self.times[1]])
        self.times = (time if self.times is None else self.times[0], time)


def _as_time(value: Any) -> int | None:
    in_range = type(value) is int and rules.INT64_MIN <= value <= rules.INT64_MAX
    return value if in_range else None


def _robot_time(step: dict[str, Any]) -> int | None:
    observation = step.get("observation")
    state = observation.get("robot_state") if isinstance(observation, dict) else None
    return _as_time(state.get("timestamp_nanos")) if isinstance(state, dict) else None
