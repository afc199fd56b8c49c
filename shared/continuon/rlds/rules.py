"""The rules of one step, each a function from a decoded step to its faults.

This is the precise side of the validator: it names code, path and reason. Long sound runs take the
batch path (`_fast`), which accepts only what these rules accept without a word.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from continuon.rlds import blobs, codes
from continuon.rlds.metadata import is_no_upload

if TYPE_CHECKING:
    from collections.abc import Iterator

Fault = tuple[str, str, str]
"""Code, path inside the step, message."""

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
MAX_SKEW_NS: Final = 5_000_000
"""Vision against robot state: 5 ms, a quarter of the 20 ms control period."""
GAZE_TOLERANCE: Final = 0.01
"""Length of gaze.direction may differ from 1 by one percent."""
FLEX_LENGTH: Final = 5
FSR_LENGTH: Final = 8
POSITION_LENGTH: Final = 3
QUATERNION_LENGTH: Final = 4

POSES: Final = ("headset_pose", "right_hand_pose", "left_hand_pose")
STATE_LISTS: Final = ("joint_positions", "joint_velocities", "joint_efforts", "end_effector_twist")
"""Lists of robot_state that are numeric by definition; others count when they look numeric."""
_LABELS_WITHOUT_VISION: Final = frozenset({"audio"})


@dataclass(slots=True)
class Baseline:
    """What the first sound step of a shard fixed for the rest.

    Attributes:
        command_length: Numbers in `action.command`, None until one was read.
        state_lengths: Numbers in each numeric list of robot_state, None until a step was read.
    """

    command_length: int | None = None
    state_lengths: dict[str, int] | None = field(default=None)


def check_step(step: dict[str, Any], baseline: Baseline) -> Iterator[Fault]:
    """Yield every fault of one step in the documented shape, filling an empty baseline."""
    yield from _scalars(step)
    yield from _action(step.get("action"), baseline)
    yield from _step_metadata(step.get("step_metadata"))
    if is_no_upload(step.get("privacy")):
        yield (codes.PRIVACY_NO_UPLOAD, "privacy.no_upload", "the step is marked no_upload")
    observation = step.get("observation")
    if observation is None:
        yield (codes.STEPS_FIELD_MISSING, "observation", "the step has no observation")
    elif not isinstance(observation, dict):
        yield (codes.STEPS_TYPE, "observation", "observation is not an object")
    else:
        yield from _observation(observation, baseline)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number (a boolean is not)."""
    return type(value) is int or type(value) is float


def _scalars(step: dict[str, Any]) -> Iterator[Fault]:
    for name in ("reward", "discount"):
        value = step.get(name)
        if value is not None:
            yield from _finite(value, name)
    yield from _time(step, "timestamp_ns", "timestamp_ns")
    index = step.get("step_index")
    if index is not None and type(index) is not int:
        yield (codes.STEPS_INDEX, "step_index", "step_index is not an integer")


def _finite(value: Any, path: str) -> Iterator[Fault]:
    if not is_number(value):
        yield (codes.STEPS_TYPE, path, f"{path} is not a number")
    elif not _is_finite(value):
        yield (codes.STEPS_NONFINITE, path, f"{path} is outside the range of a double")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the double range
        return False


def _time(block: dict[str, Any], name: str, path: str) -> Iterator[Fault]:
    value = block.get(name)
    if value is None:
        return
    if type(value) is not int or not INT64_MIN <= value <= INT64_MAX:
        yield (codes.STEPS_TIME_TYPE, path, f"{path} is not an integer of 64 bits")


def _action(action: Any, baseline: Baseline) -> Iterator[Fault]:
    if action is None:
        yield (codes.ACTION_MISSING, "action", "the step has no action")
        return
    if not isinstance(action, dict):
        yield (codes.STEPS_TYPE, "action", "action is not an object")
        return
    command = action.get("command")
    if command is None:
        yield (codes.ACTION_MISSING, "action.command", "the action has no command")
    elif not isinstance(command, list):
        yield (codes.STEPS_TYPE, "action.command", "command is not a list of numbers")
    elif not command:
        yield (codes.ACTION_EMPTY, "action.command", "the command is empty")
    else:
        yield from _numbers(command, "action.command")
        if baseline.command_length is None:
            baseline.command_length = len(command)
        elif len(command) != baseline.command_length:
            message = f"{len(command)} numbers, {baseline.command_length} before"
            yield (codes.ACTION_DIMENSION, "action.command", message)


def _numbers(values: list[Any], path: str) -> Iterator[Fault]:
    """Yield the first value of a list that is not a finite number."""
    for index, value in enumerate(values):
        fault = next(_finite(value, f"{path}[{index}]"), None)
        if fault is not None:
            yield fault
            return


def _vector(block: dict[str, Any], name: str, length: int, path: str) -> Iterator[Fault]:
    values = block.get(name)
    if values is None:
        return
    where = f"{path}.{name}"
    if not isinstance(values, list):
        yield (codes.STEPS_TYPE, where, f"{name} is not a list of numbers")
        return
    if len(values) != length:
        yield (codes.VECTOR_LENGTH, where, f"{len(values)} numbers instead of {length}")
    yield from _numbers(values, where)


def _step_metadata(value: Any) -> Iterator[Fault]:
    if value is None:
        return
    if not isinstance(value, dict):
        yield (codes.STEPS_TYPE, "step_metadata", "step_metadata is not a map")
        return
    for key, item in value.items():
        if not isinstance(item, str):
            path = f"step_metadata.{key}"
            yield (codes.STEP_METADATA_VALUE, path, f"{type(item).__name__} turned into a string")


def _observation(observation: dict[str, Any], baseline: Baseline) -> Iterator[Fault]:
    if is_no_upload(observation.get("privacy")):
        where = "observation.privacy.no_upload"
        yield (codes.PRIVACY_NO_UPLOAD, where, "the step is marked no_upload")
    for name in POSES:
        yield from _pose(observation.get(name), f"observation.{name}")
    yield from _gaze(observation.get("gaze"))
    yield from _glove(observation.get("glove"))
    state = observation.get("robot_state")
    if state is not None and not isinstance(state, dict):
        yield (codes.STEPS_TYPE, "observation.robot_state", "robot_state is not an object")
        state = None
    yield from _robot_state(state or {}, baseline)
    yield from _frames(observation, state or {})
    yield from _vision_times(observation, state or {})


def _pose(pose: Any, path: str) -> Iterator[Fault]:
    if pose is None:
        return
    if not isinstance(pose, dict):
        yield (codes.STEPS_TYPE, path, "a pose is not an object")
        return
    yield from _vector(pose, "position", POSITION_LENGTH, path)
    yield from _vector(pose, "orientation_quat", QUATERNION_LENGTH, path)


def _gaze(gaze: Any) -> Iterator[Fault]:
    if gaze is None:
        return
    path = "observation.gaze"
    if not isinstance(gaze, dict):
        yield (codes.STEPS_TYPE, path, "gaze is not an object")
        return
    faults = [
        *_vector(gaze, "origin", POSITION_LENGTH, path),
        *_vector(gaze, "direction", POSITION_LENGTH, path),
    ]
    confidence = gaze.get("confidence")
    if confidence is not None:
        faults += _finite(confidence, f"{path}.confidence")
    yield from faults
    if not faults and confidence and confidence > 0 and gaze.get("direction") is not None:
        length = math.hypot(*gaze["direction"])
        if abs(length - 1) > GAZE_TOLERANCE:
            yield (codes.GAZE_NOT_UNIT, f"{path}.direction", f"length {length:.4g} instead of 1")


def _glove(glove: Any) -> Iterator[Fault]:
    if glove is None:
        return
    path = "observation.glove"
    if not isinstance(glove, dict):
        yield (codes.STEPS_TYPE, path, "glove is not an object")
        return
    yield from _time(glove, "timestamp_nanos", f"{path}.timestamp_nanos")
    yield from _vector(glove, "flex", FLEX_LENGTH, path)
    yield from _vector(glove, "fsr", FSR_LENGTH, path)
    yield from _vector(glove, "orientation_quat", QUATERNION_LENGTH, path)


def _robot_state(state: dict[str, Any], baseline: Baseline) -> Iterator[Fault]:
    path = "observation.robot_state"
    yield from _time(state, "timestamp_nanos", f"{path}.timestamp_nanos")
    yield from _pose(state.get("end_effector_pose"), f"{path}.end_effector_pose")
    if baseline.state_lengths is None:
        baseline.state_lengths = {}
        for name, value in state.items():
            if isinstance(value, list) and (name in STATE_LISTS or all(map(is_number, value))):
                baseline.state_lengths[name] = len(value)
    for name, length in baseline.state_lengths.items():
        yield from _state_list(state.get(name), length, f"{path}.{name}")
    for name in STATE_LISTS:
        if name not in baseline.state_lengths and not isinstance(state.get(name), list | None):
            yield (codes.STEPS_TYPE, f"{path}.{name}", f"{name} is not a list of numbers")


def _state_list(value: Any, length: int, path: str) -> Iterator[Fault]:
    if value is None:
        yield (codes.STATE_ABSENT, path, "the first step had this list")
    elif not isinstance(value, list):
        yield (codes.STEPS_TYPE, path, "not a list of numbers")
    else:
        yield from _numbers(value, path)
        if len(value) != length:
            yield (codes.STATE_DIMENSION, path, f"{len(value)} numbers, {length} before")


def _frames(observation: dict[str, Any], state: dict[str, Any]) -> Iterator[Fault]:
    """Check that video, depth and robot state name the same captured frame."""
    named = [
        ("observation.video_frame_id", observation.get("video_frame_id")),
        ("observation.depth_frame_id", observation.get("depth_frame_id")),
        ("observation.robot_state.frame_id", state.get("frame_id")),
    ]
    present = []
    for path, value in named:
        if value is None or value == "":
            continue
        if isinstance(value, str):
            present.append((path, value))
        else:
            yield (codes.STEPS_TYPE, path, "a frame id is not a string")
    for path, value in present[1:]:
        if value != present[0][1]:
            message = f"{value[:40]!r}, but {present[0][0]} is {present[0][1][:40]!r}"
            yield (codes.FRAMES_ID_MISMATCH, path, message)


def _vision_times(observation: dict[str, Any], state: dict[str, Any]) -> Iterator[Fault]:
    for path, block, name in _vision_clocks(observation):
        faults = list(_time(block, name, path))
        yield from faults
        seen, robot = block.get(name), state.get("timestamp_nanos")
        if faults or seen is None or type(robot) is not int:
            continue
        if abs(seen - robot) > MAX_SKEW_NS:
            message = f"{(seen - robot) / 1e6:+.3f} ms from the robot state"
            yield (codes.STEPS_TIME_ALIGNMENT, path, message)


def _vision_clocks(observation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    for name in ("video_timestamp_nanos", "depth_timestamp_nanos"):
        yield f"observation.{name}", observation, name
    media = observation.get("media")
    if media is None:
        return
    if not isinstance(media, dict):
        return
    for label, block in media.items():
        if isinstance(block, dict) and label not in _LABELS_WITHOUT_VISION:
            yield f"observation.media.{label}.timestamp_ns", block, "timestamp_ns"


def has_instruction(step: dict[str, Any]) -> bool:
    """Whether a step names the task, in the observation, in its metadata or by itself."""
    blocks = (step, step.get("observation"), step.get("step_metadata"))
    return any(isinstance(b, dict) and b.get("language_instruction") is not None for b in blocks)


def read_references(step: dict[str, Any]) -> Iterator[blobs.Reference | Fault]:
    """Yield the media references of a step, and a fault for each bad one."""
    observation = step.get("observation")
    if not isinstance(observation, dict):
        return
    media = observation.get("media")
    if media is not None and not isinstance(media, dict):
        yield (codes.STEPS_TYPE, "observation.media", "media is not an object")
    for path, block in blobs.references(observation):
        found = blobs.read_reference(path, block)
        if found is not None:
            yield found
