"""Types for decoding runs of steps, made from one sound step of the same file.

A robot writes thousands of steps of one form. The first sound step tells that form; a `Schema`
turns it into `msgspec` types whose decoding already proves most rules: required fields, lengths of
lists, integers as times, finite numbers. What does not fit is not refused here: it is read again
by the precise rules, which name the fault.

Two decoders are made. The closed one refuses unknown fields, so it bounds the nesting by itself.
The open one skips them, so the caller has to look at the depth.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Any, Final

import msgspec

from continuon.rlds import rules
from continuon.rlds.blobs import VISION_BLOCKS

_Int64 = Annotated[int, msgspec.Meta(ge=rules.INT64_MIN, le=rules.INT64_MAX)]
_Scalar = str | int | float | bool | None
_MAX_INFERRED_DEPTH: Final = 6
"""Nesting of unknown fields for which types are made; deeper ones stay with the open decoder."""
_MAX_INFERRED_FIELDS: Final = 64
"""Fields of one unknown object for which types are made."""

Field = tuple[str, Any, Any]


class Schema:
    """Decoders for steps like the one given.

    Args:
        step: A sound step in the documented shape.
        baseline: The lengths every step has to keep.
    """

    def __init__(self, step: dict[str, Any], baseline: rules.Baseline) -> None:
        self._step = step
        self._baseline = baseline
        self._open: msgspec.json.Decoder[Any] | None = None
        try:
            closed = _Builder(baseline, closed=True).step(step)
            self.closed: msgspec.json.Decoder[Any] | None = msgspec.json.Decoder(closed)
        except _NotInferredError:
            self.closed = None

    @property
    def open(self) -> msgspec.json.Decoder[Any]:
        """The decoder that skips unknown fields; made when first needed."""
        if self._open is None:
            made = _Builder(self._baseline, closed=False).step(self._step)
            self._open = msgspec.json.Decoder(made)
        return self._open


class _NotInferredError(Exception):
    """An unknown field is too deep or too wide for a type of its own."""


def _floats(count: int) -> Any:
    return tuple[(float,) * count] if count else list[float]  # type: ignore[misc]


class _Builder:
    """Builds the types of one decoder."""

    def __init__(self, baseline: rules.Baseline, *, closed: bool) -> None:
        self._baseline = baseline
        self._closed = closed

    def step(self, step: dict[str, Any]) -> Any:
        fields: list[Field] = [
            ("observation", self._observation(step["observation"]), msgspec.NODEFAULT),
            ("action", self._action(step["action"]), msgspec.NODEFAULT),
            ("step_index", int | None, None),
            ("timestamp_ns", _Int64 | None, None),
            ("is_first", bool | None, None),
            ("is_last", bool | None, None),
            ("is_terminal", bool | None, None),
            ("reward", float | None, None),
            ("discount", float | None, None),
            ("step_metadata", dict[str, str] | None, None),
            ("privacy", None, None),
        ]
        return self._struct("Step", fields, step)

    def _struct(
        self, name: str, fields: list[Field], sample: dict[str, Any], level: int = 0
    ) -> Any:
        """Make a type of known fields; a closed one also gets the sample's unknown fields."""
        known = {field[0] for field in fields}
        if self._closed:
            unknown = [key for key in sample if key not in known]
            if len(unknown) > _MAX_INFERRED_FIELDS or level > _MAX_INFERRED_DEPTH:
                raise _NotInferredError
            fields = fields + [
                (f"x{index}", self._infer(sample[key], level + 1), None)
                for index, key in enumerate(unknown)
            ]
            rename = {f"x{index}": key for index, key in enumerate(unknown)}
        else:
            rename = {}
        required = [field[:2] for field in fields if field[2] is msgspec.NODEFAULT]
        optional = [field for field in fields if field[2] is not msgspec.NODEFAULT]
        return msgspec.defstruct(
            name,
            [*required, *optional],
            gc=False,
            rename=rename or None,
            forbid_unknown_fields=self._closed,
        )

    def _infer(self, value: Any, level: int) -> Any:
        """Make a type for an unknown field whose nesting is bounded."""
        if level > _MAX_INFERRED_DEPTH:
            raise _NotInferredError
        if isinstance(value, dict):
            return self._struct("Unknown", [], value, level) | None
        if not isinstance(value, list):
            return _Scalar
        if all(rules.is_number(item) for item in value):
            return list[float] | None
        if any(isinstance(item, list | dict) for item in value):
            raise _NotInferredError
        return list[_Scalar] | None

    def _action(self, action: dict[str, Any]) -> Any:
        command = _floats(self._baseline.command_length or 0)
        return self._struct("Action", [("command", command, msgspec.NODEFAULT)], action)

    def _observation(self, observation: dict[str, Any]) -> Any:
        fields: list[Field] = [
            ("video_frame_id", str | None, None),
            ("depth_frame_id", str | None, None),
            ("video_timestamp_nanos", None, None),
            ("depth_timestamp_nanos", None, None),
            ("privacy", None, None),
        ]
        poses = [observation.get(name) for name in rules.POSES]
        pose = self._pose(*poses)
        fields += [
            (name, pose | None if value is not None else None, None)
            for name, value in zip(rules.POSES, poses, strict=True)
        ]
        fields += [
            self._optional("gaze", self._gaze, observation),
            self._optional("glove", self._glove, observation),
            self._optional("media", self._media, observation),
            self._optional("segmentation", self._segmentation, observation),
            *(self._optional(name, self._reference, observation) for name in VISION_BLOCKS),
        ]
        if "imu" not in observation:
            fields.append(("imu", None, None))
        state = observation.get("robot_state")
        if state is None:
            fields.append(("robot_state", None, None))
        else:
            fields.append(("robot_state", self._robot_state(state), msgspec.NODEFAULT))
        return self._struct("Observation", fields, observation)

    def _optional(self, name: str, make: Any, block: dict[str, Any]) -> Field:
        """A known field: of its type when the sample has it, else null only."""
        value = block.get(name)
        return (name, None if value is None else make(value) | None, None)

    def _pose(self, *samples: dict[str, Any] | None) -> Any:
        fields: list[Field] = [
            ("position", _floats(rules.POSITION_LENGTH) | None, None),
            ("orientation_quat", _floats(rules.QUATERNION_LENGTH) | None, None),
        ]
        return self._struct("Pose", fields, _union(*samples))

    def _gaze(self, gaze: dict[str, Any]) -> Any:
        fields: list[Field] = [
            ("origin", _floats(rules.POSITION_LENGTH) | None, None),
            ("direction", _floats(rules.POSITION_LENGTH) | None, None),
            ("confidence", float | None, None),
        ]
        return self._struct("Gaze", fields, gaze)

    def _glove(self, glove: dict[str, Any]) -> Any:
        fields: list[Field] = [
            ("timestamp_nanos", _Int64 | None, None),
            ("flex", _floats(rules.FLEX_LENGTH) | None, None),
            ("fsr", _floats(rules.FSR_LENGTH) | None, None),
            ("orientation_quat", _floats(rules.QUATERNION_LENGTH) | None, None),
            ("valid", bool | None, None),
        ]
        return self._struct("Glove", fields, glove)

    def _media(self, media: dict[str, Any]) -> Any:
        return dict[str, self._reference(*media.values())]  # type: ignore[misc]

    def _segmentation(self, segmentation: dict[str, Any]) -> Any:
        masks = segmentation.get("masks")
        samples = masks if isinstance(masks, list) else []
        fields: list[Field] = [("masks", list[self._reference(*samples)] | None, None)]  # type: ignore[misc]
        return self._struct("Segmentation", fields, segmentation)

    def _reference(self, *samples: Any) -> Any:
        fields: list[Field] = [
            ("uri", str | None, None),
            ("sha256", str | None, None),
            ("timestamp_ns", _Int64 | None, None),
        ]
        return self._struct("Reference", fields, _union(*samples))

    def _robot_state(self, state: dict[str, Any]) -> Any:
        lengths = self._baseline.state_lengths or {}
        fields: list[Field] = [
            (name, _floats(length), msgspec.NODEFAULT) for name, length in lengths.items()
        ]
        fields += [(name, None, None) for name in rules.STATE_LISTS if name not in lengths]
        fields += [
            ("timestamp_nanos", _Int64 | None, None),
            ("frame_id", str | None, None),
            self._optional("end_effector_pose", self._pose, state),
        ]
        return self._struct("RobotState", fields, state)


def _union(*samples: Any) -> dict[str, Any]:
    """Put the fields of several objects of one kind together."""
    return {key: item for one in samples if isinstance(one, dict) for key, item in one.items()}


_CACHE_SIZE: Final = 16
"""Forms kept: the robots of one owner write few; each takes about 100 KiB of types."""
_MOST_PER_EPISODE: Final = 4
"""Forms one episode may have made. Making one takes some 10 ms, so an episode of thousands of
short shards that all differ would otherwise keep a function busy for minutes."""
_cache: OrderedDict[Any, Schema] = OrderedDict()


class Schemas:
    """The decoders of one episode, taken from the forms that other episodes already had made."""

    def __init__(self) -> None:
        self._left = _MOST_PER_EPISODE

    def get(self, step: dict[str, Any], baseline: rules.Baseline) -> Schema | None:
        """Return the decoders for steps of this form, None when the episode had its share."""
        lengths = baseline.state_lengths or {}
        key = (_signature(step), baseline.command_length, tuple(lengths.items()))
        schema = _cache.pop(key, None)
        if schema is None:
            if self._left == 0:
                return None
            self._left -= 1
            schema = Schema(step, baseline)
        _cache[key] = schema
        while len(_cache) > _CACHE_SIZE:
            _cache.popitem(last=False)
        return schema


def _signature(value: Any) -> Any:
    """Reduce a value to what the types depend on."""
    if isinstance(value, dict):
        return tuple((key, _signature(item)) for key, item in value.items())
    if not isinstance(value, list):
        return value is None
    if all(rules.is_number(item) for item in value):
        return "numbers"
    if any(isinstance(item, list | dict) for item in value):
        return ("containers", _signature(_union(*value)))
    return "scalars"


def merge_form(form: Any, value: Any) -> Any:
    """Put the forms of several steps together: every field, with its first value that is not null.

    The depth is that of decoded steps, which is limited.
    """
    if isinstance(form, dict) and isinstance(value, dict):
        merged = {key: merge_form(form.get(key), item) for key, item in value.items()}
        return {**form, **merged}
    return value if form is None else form
