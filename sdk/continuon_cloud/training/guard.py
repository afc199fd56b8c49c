"""Run a trainer and end it with whoever started it, however that one ended.

Run by path, as ``python guard.py COMMAND ...``, as the leader of a process group of its own, with
a pipe as standard input that its parent holds open and never writes to. The end of the pipe means
that the parent is gone, by SIGKILL too: then the whole group is killed, because nobody would stop
it any more. Needs the standard library only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

__all__ = ["main"]

NOT_STARTED = 127
"""What a shell reports for a command that it could not start."""

SIGNALLED = 128
"""Added to a signal's number, as a shell does it."""


def main(command: list[str]) -> int:
    """Run ``command`` to its end and return its exit status."""
    # The group gets SIGTERM as a whole; the trainer decides what it means, and this one waits.
    for number in (signal.SIGTERM, signal.SIGINT):
        # A function, not SIG_IGN: that one the trainer would inherit.
        signal.signal(number, lambda _number, _frame: None)
    threading.Thread(target=_kill_with_parent, daemon=True).start()
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - the user's own
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror or error}\n")
        return NOT_STARTED
    status = child.wait()
    return SIGNALLED - status if status < 0 else status


def _kill_with_parent() -> None:
    # Returns at the end of the pipe only: nothing is ever written into it.
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
