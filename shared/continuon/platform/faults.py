"""Named crash points, so that a test can kill a function between any two steps.

``CONTINUON_FAULT=ingest.promoted`` makes the process die, as SIGKILL would, when it reaches that
point. With ``once:/path``, it dies the first time only: the file at that path remembers. Settings
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
    plan = os.environ.get("CONTINUON_FAULT")
    if not plan:
        return
    point, _, marker = plan.partition("@once:")
    if point != name:
        return
    if marker:
        try:
            Path(marker).touch(exist_ok=False)
        except FileExistsError:
            return
    os._exit(EXIT_STATUS)
