"""One work of the subprocess back end, as its directory tells it.

Its files::

    <name>/lock          held by the submitter, then by the supervisor for as long as it lives
           started       the supervisor exists; written before the trainer is
           trainer.json  the trainer runs; its process id, for people
           cancel        the order to stop
           log           output, limited and masked
           exit.json     how it ended; written once, durably
           scratch/      the trainer's working directory and HOME; removed afterwards

From these files alone any process of the same user says how a work is:

=========  =========  ===========  ==========================================================
lock       started    exit.json    meaning
=========  =========  ===========  ==========================================================
free       no         no           gone: never started; may be submitted again
held       no         no           pending: its submitter or supervisor is starting it
held       yes        no           pending until ``trainer.json``, then running
either     yes        yes          over
free       yes        no           failed: the supervisor itself was killed; never restarted
=========  =========  ===========  ==========================================================
"""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import shutil
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from continuon_training.executors._orphans import end_orphans
from continuon_training.executors.base import (
    ExecutorUnavailableError,
    LogChunk,
    WorkState,
    WorkStatus,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["SERVICE", "WorkDirectory"]

SERVICE: Final = "The subprocess back end"

LOG_CHUNK_BYTES: Final = 256 * 1024
"""One chunk of output: a fraction of what an HTTP answer of a function may hold (32 MB)."""

_SUBMITTER_S: Final = 20.0
"""How long another submitter of the same name may hold its lock before it counts as stuck."""

_RETRY_S: Final = 0.02


class WorkDirectory:
    """See the module.

    Args:
        path: The directory; its last part is the work's name. It need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def scratch(self) -> Path:
        """The trainer's working directory and HOME."""
        return self.path / "scratch"

    @property
    def was_started(self) -> bool:
        """Whether a supervisor ever lived: then its name is used up."""
        return (self.path / "started").exists()

    @contextmanager
    def submission(self) -> Iterator[int | None]:
        """Create the directory and hold its lock, or give None: the name was started before.

        Raises:
            ExecutorUnavailableError: Another submitter holds the lock and does not get on.
        """
        with suppress(FileExistsError):
            self.path.mkdir(mode=0o700)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._acquire(lock)
            yield None if self.was_started else lock
        finally:
            # A supervisor inherited the lock and keeps it: it belongs to the open file.
            os.close(lock)

    def _acquire(self, lock: int) -> None:
        until = time.monotonic() + _SUBMITTER_S
        while not self.was_started:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            if time.monotonic() > until:
                raise ExecutorUnavailableError(SERVICE, "the work is being submitted elsewhere")
            time.sleep(_RETRY_S)

    def is_held(self) -> bool:
        """Whether a submitter or a supervisor of this work lives, by the kernel's account."""
        try:
            lock = os.open(self.path / "lock", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            # Shared, so that two who ask do not take each other for a supervisor.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def is_finished_before(self, moment_s: float) -> bool:
        """Whether nothing has happened here since ``moment_s``, in seconds since the epoch."""
        try:
            changed_s = max(self.path.stat().st_mtime, self._changed_s("exit.json"))
        except FileNotFoundError:  # pruned by another submitter
            return False
        return changed_s < moment_s and not self.is_held()

    def _changed_s(self, file: str) -> float:
        try:
            return (self.path / file).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def status(self) -> WorkStatus:
        """Say how the work is; see the module's table."""
        record = self._exit_record()
        if record is None and self.is_held():
            running = (self.path / "trainer.json").exists()
            return WorkStatus(state=WorkState.RUNNING if running else WorkState.PENDING)
        # It may have ended between the two looks.
        record = record or self._exit_record()
        if record is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)
            return _ended(record)
        if not self.was_started:
            return WorkStatus(state=WorkState.GONE)
        end_orphans(self.path)
        message = "Its supervisor was killed, or the machine went down."
        return WorkStatus(state=WorkState.FAILED, message=message, preempted=True)

    def cancel(self) -> None:
        """Leave the order to stop, also for who submits later; stop what a lost supervisor left."""
        with suppress(FileExistsError):
            self.path.mkdir(mode=0o700)
        (self.path / "cancel").touch(mode=0o600)
        self.status()

    def log(self, offset: int) -> LogChunk:
        """Return output from the byte ``offset`` on, cut between two characters."""
        # Asked before reading: what is there then is all there will be.
        over = self.status().state.is_over
        try:
            with (self.path / "log").open("rb") as file:
                file.seek(offset)
                data = file.read(LOG_CHUNK_BYTES)
                more = bool(file.read(1))
        except FileNotFoundError:
            data, more = b"", False
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(data, final=over and not more)
        waiting, _ = decoder.getstate()
        return LogChunk(text, offset + len(data) - len(waiting), over and not more)

    def _exit_record(self) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads((self.path / "exit.json").read_bytes())
        except FileNotFoundError:
            return None
        return record


def _ended(record: dict[str, Any]) -> WorkStatus:
    code, reason = record["exit_code"], record["reason"]
    if reason == "exited" and code == 0:
        return WorkStatus(state=WorkState.SUCCEEDED, exit_code=0)
    messages = {
        "exited": _exit_message(code or 0),
        "timeout": "It ran into its time limit.",
        "cancelled": "It was cancelled.",
        "terminated": "Its supervisor was told to end; the machine may have gone down.",
    }
    return WorkStatus(
        state=WorkState.FAILED,
        exit_code=code,
        message=messages[reason],
        preempted=reason == "terminated",
        timed_out=reason == "timeout",
    )


def _exit_message(code: int) -> str | None:
    """Say what the exit status alone does not."""
    if code >= 0:
        return None
    with suppress(ValueError):
        return f"It was ended by {signal.Signals(-code).name}."
    return f"It was ended by signal {-code}."
