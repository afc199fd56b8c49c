"""Long sound runs of steps, checked a batch at a time.

`BatchRules` accepts a batch only when the precise rules would find nothing in any of its steps; it
then brings the shard's memory to the same state. Anything else it leaves untouched and answers
False, and the caller reads the batch line by line. The tests hold the two paths together.
"""

from __future__ import annotations

import math
from itertools import chain
from operator import sub
from typing import TYPE_CHECKING, Any, Final

import msgspec

from continuon.rlds import blobs, quality, rules
from continuon.rlds._json import JsonFault, check_depth, is_shallow
from continuon.rlds.trackers import Mark

if TYPE_CHECKING:
    from continuon.rlds._schema import Schema
    from continuon.rlds.segment import Segment

_OPEN_BRACE, _CLOSE_BRACE = ord("{"), ord("}")
_MAX_CLOSED_MISSES: Final = 8
"""Batches with fields the closed decoder does not know, after which it is not tried again."""


def line_starts(batch: bytes) -> list[int] | None:
    """Return where each line starts, or None unless every line end stands between `}` and `{`.

    Inside a JSON value `}` is never followed by `{`, so each such line end separates two values.
    Together with as many values as lines this proves one value per line.
    """
    starts = [0]
    end = len(batch) - 1
    found = batch.find(b"\n", 0, end)
    while found >= 0:
        if batch[found + 1] != _OPEN_BRACE or batch[found - 1] != _CLOSE_BRACE:
            before = batch[found - 2 : found]
            if batch[found + 1] != _OPEN_BRACE or before != b"}\r":
                return None
        starts.append(found + 1)
        found = batch.find(b"\n", found + 1, end)
    return starts


class BatchRules:
    """The rules for a whole batch.

    Args:
        segment: The shard whose memory is kept up to date.
        schema: The types of its steps.
        step: The form the types were made of.
        max_depth: Deepest nesting accepted.
    """

    def __init__(
        self, segment: Segment, schema: Schema, step: dict[str, Any], max_depth: int
    ) -> None:
        self._segment = segment
        self._schema = schema
        self._max_depth = max_depth
        self._misses = 0
        observation = step["observation"]
        names = ("segmentation", *blobs.VISION_BLOCKS)
        self._has_masks = any(observation.get(name) is not None for name in names)

    def accept(self, batch: bytes, offset: int) -> bool:
        """Take a batch of whole lines if all of it is sound; otherwise change nothing."""
        starts = line_starts(batch)
        if starts is None:
            return False
        steps = self._decode(batch)
        if steps is None or len(steps) != len(starts):
            return False
        return _Batch(self._segment, steps, starts, offset, has_masks=self._has_masks).accept()

    def _decode(self, batch: bytes) -> list[Any] | None:
        if not batch.isascii():
            try:
                batch.decode()
            except UnicodeDecodeError:
                return None
        if self._schema.closed is not None and self._misses < _MAX_CLOSED_MISSES:
            try:
                return self._schema.closed.decode_lines(batch)
            except (msgspec.DecodeError, RecursionError):
                self._misses += 1
        try:
            if not is_shallow(batch, self._max_depth):
                check_depth(batch, self._max_depth)
            return self._schema.open.decode_lines(batch)
        except (msgspec.DecodeError, RecursionError, JsonFault):
            return None


class _Batch:
    """One decoded batch: first the questions, then the notes."""

    def __init__(
        self,
        segment: Segment,
        steps: list[Any],
        starts: list[int],
        offset: int,
        *,
        has_masks: bool,
    ) -> None:
        self._has_masks = has_masks
        self._segment = segment
        self._steps = steps
        self._starts = starts
        self._offset = offset
        self._first = segment.steps
        self._observations = [step.observation for step in steps]
        self._states = [observation.robot_state for observation in self._observations]

    def accept(self) -> bool:
        flags = self._flags()
        times = self._times()
        references = self._references()
        if flags is None or times is None or references is None:
            return False
        if not (self._gaze() and self._frames()):
            return False
        segment, count = self._segment, len(self._steps)
        indices = [step.step_index for step in self._steps]
        if not segment.flags.can_add_plain(flagged=flags[0] is not None):
            return False
        if not segment.index.continues(indices, self._first):
            return False
        self._note_flags(flags)
        self._note_times(times)
        for key, (position, path) in references.items():
            segment.refer(*key, self._mark(position), path)
        self._note_sample()
        segment.last = self._mark(count - 1)
        segment.steps += count
        return True

    def _mark(self, position: int) -> Mark:
        return Mark(self._first + position, self._offset + self._starts[position])

    def _flags(self) -> tuple[list[bool] | None, list[bool] | None, list[bool | None]] | None:
        """Return the three flags as lists; the first two are None when no step has them."""
        count = len(self._steps)
        first = [step.is_first for step in self._steps]
        last = [step.is_last for step in self._steps]
        terminal = [step.is_terminal for step in self._steps]
        if None not in first and None not in last:
            return first, last, terminal
        if first.count(None) == count == last.count(None):
            return None, None, terminal
        return None

    def _note_flags(
        self, flags: tuple[list[bool] | None, list[bool] | None, list[bool | None]]
    ) -> None:
        tracker = self._segment.flags
        tracker.add_plain(len(self._steps), flagged=flags[0] is not None)
        for values, places in zip(
            flags, (tracker.first, tracker.last, tracker.terminal), strict=True
        ):
            if values is not None and True in values:
                for position, value in enumerate(values):
                    if value:
                        places.add(self._mark(position))

    def _times(self) -> list[int] | None:
        """Return the times by the shard's clock; None when some are missing or not in order.

        An empty list means that neither the batch nor the shard so far has any.
        """
        segment = self._segment
        times: list[int | None] = [step.timestamp_ns for step in self._steps]
        if segment.clock != "timestamp_ns":
            if times.count(None) != len(times):
                return None
            times = [state and state.timestamp_nanos for state in self._states]
            if segment.times is None and times.count(None) == len(times):
                return []
        if None in times or segment.times is None:
            return None
        known: list[int] = times  # type: ignore[assignment]
        if segment.clock == "timestamp_ns" and min(self._intervals(known)) < 0:
            return None
        return known

    def _intervals(self, times: list[int]) -> list[int]:
        previous = self._segment.times
        return list(map(sub, times, [previous[1] if previous else times[0], *times[:-1]]))

    def _note_times(self, times: list[int]) -> None:
        segment = self._segment
        if not times:
            return
        segment.timing.add(self._intervals(times))
        segment.times = ((segment.times or (times[0],))[0], times[-1])
        if segment.clock == "timestamp_ns":
            segment.previous_stamp = times[-1]

    def _frames(self) -> bool:
        video = [observation.video_frame_id for observation in self._observations]
        depth = [observation.depth_frame_id for observation in self._observations]
        if depth != video and depth.count(None) != len(depth):
            return False
        if self._states[0] is None:
            return True
        return video == [state.frame_id for state in self._states]

    def _gaze(self) -> bool:
        gazes = [observation.gaze for observation in self._observations]
        return all(
            abs(math.hypot(*gaze.direction) - 1) <= rules.GAZE_TOLERANCE
            for gaze in gazes
            if gaze is not None and gaze.confidence and gaze.confidence > 0 and gaze.direction
        )

    def _references(self) -> dict[tuple[str, str | None], tuple[int, str]] | None:
        """Return references not seen before with their first place; None when one is not sound."""
        medias: list[dict[str, Any]] = [
            observation.media or {} for observation in self._observations
        ]
        new: dict[tuple[str, str | None], tuple[int, str]] = {}
        blocks = list(chain.from_iterable(map(dict.values, medias)))
        if blocks:
            if not self._aligned(medias, blocks):
                return None
            keys = set(zip([b.uri for b in blocks], [b.sha256 for b in blocks], strict=True))
            if not self._segment.references.keys() >= keys:
                for position, media in enumerate(medias):
                    for label, block in media.items():
                        if not self._refer(block, position, f"media.{label}", new):
                            return None
        if self._has_masks and not self._other_references(new):
            return None
        return new

    def _aligned(self, medias: list[dict[str, Any]], blocks: list[Any]) -> bool:
        """Whether every picture was taken within the tolerance of its robot state."""
        if self._states[0] is None:
            return True
        robot = [state.timestamp_nanos for state in self._states]
        if len(blocks) != len(robot) or max(map(len, medias)) > 1:
            robot = [time for time, media in zip(robot, medias, strict=True) for _ in media]
        seen = [block.timestamp_ns for block in blocks]
        if None in seen or None in robot:
            pairs = zip(seen, robot, strict=True)
            skews = [a - b for a, b in pairs if a is not None and b is not None]
        else:
            skews = list(map(sub, seen, robot))
        return not skews or -rules.MAX_SKEW_NS <= min(skews) <= max(skews) <= rules.MAX_SKEW_NS

    def _refer(
        self,
        block: Any,
        position: int,
        path: str,
        new: dict[tuple[str, str | None], tuple[int, str]],
    ) -> bool:
        """Note a block's reference if it is a new one; False when it is not sound."""
        if block is None or block.uri is None:
            return True
        key = (block.uri, block.sha256)
        if key not in self._segment.references and key not in new:
            if not _is_sound(block):
                return False
            new[key] = (position, f"observation.{path}.uri")
        return True

    def _other_references(self, new: dict[tuple[str, str | None], tuple[int, str]]) -> bool:
        """Look at masks and single blocks, which most robots do not write."""
        for position, observation in enumerate(self._observations):
            segmentation = observation.segmentation
            masks = (segmentation.masks or ()) if segmentation is not None else ()
            blocks = [(f"segmentation.masks[{k}]", mask) for k, mask in enumerate(masks)]
            blocks += [(name, getattr(observation, name)) for name in blobs.VISION_BLOCKS]
            if not all(self._refer(block, position, path, new) for path, block in blocks):
                return False
        return True

    def _note_sample(self) -> None:
        sample = self._segment.sample
        for position in quality.sampled_in(self._first, len(self._steps)):
            observation = self._observations[position]
            command = self._steps[position].action.command
            sample.add(self._first + position, command, _sensors(observation))


def _is_sound(block: Any) -> bool:
    sha256 = block.sha256
    return blobs.is_safe(block.uri) and (sha256 is None or blobs.is_lower_sha256(sha256))


def _sensors(observation: Any) -> set[str]:
    """As `quality.sensors_in`, for a decoded observation."""
    found = set(observation.media or ())
    if observation.egocentric_video is not None:
        found.add("rgb")
    for name in ("audio", "depth", "imu"):
        if getattr(observation, name, None) is not None:
            found.add(name)
    if observation.glove is not None and observation.glove.valid is True:
        found.add("glove")
    return found
