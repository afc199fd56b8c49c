"""Named crash points, so that a test can kill a function between any two steps.

``CONTINUON_FAULT=ingest.promoted`` makes the process die, as SIGKILL would, when it reaches that
point. With ``ingest.promoted@once:/path``, it dies the first time only: the file at that path
remembers, and removing it arms the point again. Several points are separated by commas. Settings
refuse the variable outside demo projects.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["EXIT_STATUS", "crash_point"]

EXIT_STATUS = 137
"""What a shell reports for a process that SIGKILL ended."""


def crash_point(name: str) -> None:
    """Die here if the environment says so."""
    plans = os.environ.get("CONTINUON_FAULT")
    if not plans:
        return
    for plan in plans.split(","):
        point, _, marker = plan.partition("@once:")
        if point == name and _is_armed(marker):
            os._exit(EXIT_STATUS)


def _is_armed(marker: str) -> bool:
    if not marker:
        return True
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
