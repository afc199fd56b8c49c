"""Named points at which a test may cut the power or fill the disk.

``CONTINUON_FAULT=ota.current_replaced`` kills this very process at that point, ``...:3`` at the
third time, ``ota.*:17`` at the seventeenth point of any name, and ``...:17:full`` raises "no space
left on device" there instead. Unset, a point costs one look-up.
"""

from __future__ import annotations

import errno
import os
import signal
from enum import StrEnum

__all__ = ["FaultPoint", "reach"]

_VARIABLE = "CONTINUON_FAULT"


class FaultPoint(StrEnum):
    """Before and after everything that the agent writes."""

    STATE_CHANGING = "ota.state_changing"
    STATE_CHANGED = "ota.state_changed"
    METADATA_WRITTEN = "ota.metadata_written"
    METADATA_SYNCED = "ota.metadata_synced"
    DOWNLOAD_WRITING = "ota.download_writing"
    DOWNLOAD_SYNCED = "ota.download_synced"
    SLOT_CLEARING = "ota.slot_clearing"
    SLOT_CLEARED = "ota.slot_cleared"
    FILE_WRITING = "ota.file_writing"
    FILE_SYNCED = "ota.file_synced"
    SLOT_WRITTEN = "ota.slot_written"
    SLOT_RENAMED = "ota.slot_renamed"
    CURRENT_WRITTEN = "ota.current_written"
    CURRENT_REPLACED = "ota.current_replaced"
    HEALTH_STARTED = "ota.health_started"
    HEALTH_KNOWN = "ota.health_known"
    DOWNLOAD_REMOVED = "ota.download_removed"


_ANY = "ota.*"
_seen: dict[str, int] = {}


def reach(point: FaultPoint) -> None:
    """Pass ``point``, or die there without any clean-up.

    Raises:
        OSError: The fault is a full disk.
    """
    armed = os.environ.get(_VARIABLE)
    if not armed:
        return
    name, _, rest = armed.partition(":")
    if name not in {point.value, _ANY}:
        return
    _seen[name] = _seen.get(name, 0) + 1
    nth, _, kind = rest.partition(":")
    if _seen[name] != int(nth or "1"):
        return
    if kind == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
