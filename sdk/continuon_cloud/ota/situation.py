"""What the robot's own software tells the agent, in small files: its state and its task totals.

Facts that are not there are left out, and the cloud takes none of them for a yes. A file that was
not renewed for ten minutes is not believed: what wrote it may have died.
"""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from continuon.contracts.ota import RobotState, TaskTotals

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_state", "read_tasks"]

MAX_AGE_S: Final = 600.0
_MAX_FILE_BYTES: Final = 64 * 1024


_READY: Final = {"idle": True, "docked": True, "battery_percent": 100, "in_remote_session": False}


def read_state(path: Path | None, disk: Path, *, assume_ready: bool = False) -> RobotState:
    """Return the robot's state from a JSON file such as ``{"idle": true, "docked": true}``.

    Args:
        path: Of the file; None when nothing writes one.
        disk: A folder on the disk that bundles go to.
        assume_ready: Take what the file does not say as in favour of an update: for a robot on
            mains power that may be updated at any time.
    """
    free = shutil.disk_usage(disk).free
    document = (_READY if assume_ready else {}) | _read(path, max_age_s=MAX_AGE_S)
    try:
        return RobotState.model_validate({**document, "free_bytes": free})
    except ValidationError:
        return RobotState(free_bytes=free)


def read_tasks(path: Path | None, bundle_id: str) -> TaskTotals | None:
    """Return the totals since ``bundle_id`` was installed.

    The file is ``{"bundle_id": ..., "successes": 17, "trials": 20}``; totals of another bundle are
    not this one's.
    """
    document = _read(path, max_age_s=None)
    if document.get("bundle_id") != bundle_id:
        return None
    try:
        return TaskTotals.model_validate(document)
    except ValidationError:
        return None


def _read(path: Path | None, *, max_age_s: float | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES)
        age_s = time.time() - path.stat().st_mtime
        document = json.loads(data)
    except (OSError, ValueError, RecursionError):
        return {}
    fresh = max_age_s is None or -max_age_s <= age_s <= max_age_s
    return document if fresh and isinstance(document, dict) else {}
