"""The shapes that other clients of the fleet write, brought to the documented one.

A shape is normalised only when that loses nothing and needs no guess; everything else is refused
as `shape.unknown`. Unknown keys are kept as they are.
"""

from __future__ import annotations

from typing import Any, Final

from continuon.rlds.errors import EpisodeError

CANONICAL: Final = "canonical"
KOTLIN: Final = "kotlin"
FLUTTER: Final = "flutter"

_STEP_KEYS: Final = {
    "stepIndex": "step_index",
    "timestampNs": "timestamp_ns",
    "timestampNanos": "timestamp_nanos",
    "isFirst": "is_first",
    "isLast": "is_last",
    "isTerminal": "is_terminal",
    "stepMetadata": "step_metadata",
    "headsetPose": "headset_pose",
    "rightHandPose": "right_hand_pose",
    "leftHandPose": "left_hand_pose",
    "orientationQuat": "orientation_quat",
    "gloveFrame": "glove",
    "robotState": "robot_state",
    "jointPositions": "joint_positions",
    "jointVelocities": "joint_velocities",
    "jointEfforts": "joint_efforts",
    "endEffectorPose": "end_effector_pose",
    "endEffectorTwist": "end_effector_twist",
    "gripperOpen": "gripper_open",
    "frameId": "frame_id",
    "wallTimeMillis": "wall_time_millis",
    "videoFrameId": "video_frame_id",
    "depthFrameId": "depth_frame_id",
    "videoTimestampNanos": "video_timestamp_nanos",
    "depthTimestampNanos": "depth_timestamp_nanos",
    "languageInstruction": "language_instruction",
}
"""Keys of the XR app's `RldsEpisodeWriter` and ours."""

_METADATA_KEYS: Final = {
    "schemaVersion": "schema_version",
    "episodeId": "episode_id",
    "robotId": "robot_id",
    "xrMode": "xr_mode",
    "controlRole": "control_role",
    "environmentId": "environment_id",
    "stepCount": "step_count",
    "durationMs": "duration_ms",
}
_SOFTWARE_KEYS: Final = {
    "xrAppVersion": "xr_app",
    "brainVersion": "continuonbrain_os",
    "gloveFirmwareVersion": "glove_firmware",
}
_PREFIX: Final = "continuon."


class ShapeFault(EpisodeError):  # noqa: N818 - a fault of the data, like `Fault` in rules
    """A value cannot be normalised without loss or guessing.

    Attributes:
        path: Dotted path of the value.
    """

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


def detect_step_shape(step: dict[str, Any]) -> str:
    """Tell the shape of an episode from one of its steps: `canonical` or `kotlin`."""
    observation = step.get("observation")
    action = step.get("action")
    inner = observation if isinstance(observation, dict) else {}
    if not _STEP_KEYS.keys().isdisjoint(step) or not _STEP_KEYS.keys().isdisjoint(inner):
        return KOTLIN
    if isinstance(action, dict) and isinstance(action.get("command"), dict):
        return KOTLIN
    return CANONICAL


def normalise_step(step: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return a `kotlin` step in the documented shape, and what kind its command is.

    Raises:
        ShapeFault: Two keys mean the same, or the command object is not understood.
    """
    result: dict[str, Any] = _rename(step, _STEP_KEYS, "")
    action = result.get("action")
    if not isinstance(action, dict) or not isinstance(action.get("command"), dict):
        return result, ""
    numbers, kind = _command(action["command"])
    return {**result, "action": {**action, "command": numbers}}, kind


def _command(command: dict[str, Any]) -> tuple[Any, str]:
    """Turn a command object into its numbers and the name of what they mean.

    A joint delta is its list; an end effector velocity is linear x, y, z then angular x, y, z.
    """
    delta = _one_of(command, "deltaRadians", "delta_radians")
    linear = _one_of(command, "linearMps", "linear_mps")
    angular = _one_of(command, "angularRadS", "angular_rad_s")
    if isinstance(delta, list) and linear is None and angular is None:
        return delta, "joint_delta"
    if delta is None and isinstance(linear, dict) and isinstance(angular, dict):
        frame = _one_of(command, "referenceFrame", "reference_frame")
        if isinstance(frame, str):
            return _xyz(linear) + _xyz(angular), f"end_effector_velocity in {frame}"
    raise ShapeFault("the command object is neither a joint delta nor a twist", "action.command")


def _one_of(command: dict[str, Any], first: str, second: str) -> Any:
    if first in command and second in command:
        raise ShapeFault(f"both {first} and {second} are given", "action.command")
    return command.get(first, command.get(second))


def _xyz(vector: dict[str, Any]) -> list[Any]:
    if vector.keys() != {"x", "y", "z"}:
        raise ShapeFault("a twist needs exactly x, y and z", "action.command")
    return [vector["x"], vector["y"], vector["z"]]


def _rename(value: Any, table: dict[str, str], path: str) -> Any:
    if isinstance(value, list):
        return [_rename(item, table, path) for item in value]
    if not isinstance(value, dict):
        return value
    result: dict[str, Any] = {}
    for key, item in value.items():
        name = str(table.get(key, key))
        if name in result or (name != key and name in value):
            raise ShapeFault(f"{name} is given in two spellings", f"{path}{name}")
        result[name] = _rename(item, table, f"{path}{name}.")
    return result


def normalise_metadata(metadata: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return metadata without the `continuon.` prefix and camelCase, and whether it changed.

    Raises:
        ShapeFault: A field is given twice with different values.
    """
    result: dict[str, Any] = {}
    for key, value in metadata.items():
        bare = key.removeprefix(_PREFIX)
        name = _METADATA_KEYS.get(bare, bare)
        if name in result and result[name] != value:
            raise ShapeFault(f"{name} is given twice with different values", name)
        result[name] = value
    software = result.get("software")
    if isinstance(software, dict):
        result["software"] = _rename_flat(software)
    return result, result.keys() != metadata.keys() or result.get("software") != software


def _rename_flat(software: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in software.items():
        name = _SOFTWARE_KEYS.get(key, key)
        if name in result and result[name] != value:
            raise ShapeFault(f"{name} is given twice with different values", f"software.{name}")
        result[name] = value
    return result
