"""Named points at which a test may end the process, as a power cut would.

``CONTINUON_FAULT=name`` or ``name:3`` (the third time) kills this very process there. Unset, a
point costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum

__all__ = ["FaultPoint", "reach"]

_VARIABLE = "CONTINUON_FAULT"


class FaultPoint(StrEnum):
    """Between every two steps of an upload."""

    SPOOL_WRITING = "spool_writing"
    SPOOL_RENAMED = "spool_renamed"
    ITEM_ADDED = "item_added"
    URLS_GRANTED = "urls_granted"
    URLS_SAVED = "urls_saved"
    SESSION_STARTED = "session_started"
    SESSION_SAVED = "session_saved"
    BYTES_MOVING = "bytes_moving"
    CHUNK_ANSWERED = "chunk_answered"
    CHUNK_SAVED = "chunk_saved"
    FILE_STORED = "file_stored"
    FILE_SAVED = "file_saved"
    UPLOAD_SAVED = "upload_saved"
    SPOOL_FREED = "spool_freed"
    VERDICT_KNOWN = "verdict_known"
    VERDICT_SAVED = "verdict_saved"


_seen: dict[FaultPoint, int] = {}


def reach(point: FaultPoint) -> None:
    """Pass ``point``, or die there without any clean-up."""
    armed = os.environ.get(_VARIABLE)
    if not armed:
        return
    name, _, nth = armed.partition(":")
    if name != point.value:
        return
    _seen[point] = _seen.get(point, 0) + 1
    if _seen[point] >= int(nth or "1"):
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
