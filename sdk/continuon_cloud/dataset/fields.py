"""Numbers out of a step, by dotted paths."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from continuon_cloud.dataset.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["numbers_at", "proprioception_of"]

_JOINTS: Final = (
    "observation.robot_state.joint_positions",
    "observation.robot_state.joint_velocities",
)
_HAND: Final = (
    "observation.robot_state.end_effector_pose.position",
    "observation.robot_state.end_effector_pose.orientation_quat",
    "observation.robot_state.gripper_open",
)

_STEP_LIMIT: Final = 3.4028234663852886e38
"""Largest 32-bit float: what is beyond becomes infinite in a float32 array."""


def numbers_at(step: dict[str, Any], paths: Sequence[str], where: str) -> tuple[float, ...]:
    """Return the numbers at ``paths``, one path after the other; booleans count as 0 and 1.

    Args:
        step: A step in the documented shape.
        paths: Dotted, as ``observation.robot_state.joint_positions``.
        where: The episode and step, for messages.

    Raises:
        DatasetError: A path leads to nothing, to an empty list, or to something else than finite
            numbers.
    """
    found: list[float] = []
    for path in paths:
        found += _at(step, path, where)
    return tuple(found)


def proprioception_of(step: dict[str, Any], where: str) -> tuple[str, ...]:
    """Return the paths of what a robot knows of its own body, going by one of its steps.

    The joints where they are recorded; else, as arms do that are driven in space, the pose of the
    hand and the gripper.

    Raises:
        DatasetError: ``dataset.no_proprioception``: there is neither.
    """
    state = step.get("observation", {}).get("robot_state") or {}
    if joints := tuple(path for path in _JOINTS if state.get(path.rpartition(".")[2])):
        return joints
    if (state.get("end_effector_pose") or {}).get("valid"):
        return _HAND if "gripper_open" in state else _HAND[:-1]
    raise DatasetError(
        f"{where} has neither joint positions nor a valid pose of the hand",
        code="dataset.no_proprioception",
        hint="Name the fields to learn from.",
    )


def _at(step: dict[str, Any], path: str, where: str) -> list[float]:
    value: Any = step
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            raise DatasetError(f"{where} has no {path}", code="dataset.field_missing")
        value = value[name]
    if value == []:
        raise DatasetError(
            f"{path} is empty in {where}",
            code="dataset.field_empty",
            hint="This robot records no such state; name other fields.",
        )
    items = value if isinstance(value, list) else [value]
    # What nearly every list is; a number out of range, or none at all, is named below.
    if all(type(item) is float and -_STEP_LIMIT <= item <= _STEP_LIMIT for item in items):
        return items
    return [_number(item, path, where) for item in items]


def _number(item: Any, path: str, where: str) -> float:
    if not isinstance(item, bool | int | float):
        raise DatasetError(f"{path} is not numbers in {where}", code="dataset.field_type")
    # Compared before the conversion: an integer may be beyond the range of a double.
    if not -_STEP_LIMIT <= item <= _STEP_LIMIT or not math.isfinite(item):
        raise DatasetError(
            f"{path} holds a number beyond the range of float32 in {where}",
            code="dataset.not_finite",
        )
    return float(item)
