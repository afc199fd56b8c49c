"""End what a killed supervisor left running, and nothing else.

Linux only, where /proc says what a process is. A process counts as one of the work when its
environment, fixed by the kernel at its start, names the work, and it is this user's; a process id
alone proves nothing, because it may be another's by now.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

__all__ = ["end_orphans"]


def end_orphans(directory: Path) -> int:
    """Send SIGKILL to the processes of the work in ``directory``; return how many there were."""
    marker = f"CONTINUON_WORK_NAME={directory.name}".encode()
    place = f"CONTINUON_WORK_DIR={directory / 'scratch'}".encode()
    ended = 0
    for entry in Path("/proc").glob("[0-9]*"):
        # Unreadable: another user's process, or one that ended while we looked.
        with suppress(OSError):
            variables = (entry / "environ").read_bytes().split(b"\0")
            if marker in variables and place in variables:
                os.kill(int(entry.name), signal.SIGKILL)
                ended += 1
    return ended
