"""Watch one trainer to its end, whatever becomes of the process that asked for it.

Run by path, as ``python -IS _supervisor.py LOCK_FD DIRECTORY``, with its orders as one JSON object
on standard input. It needs the standard library only and starts in some 20 ms. What it promises:

* It holds the lock that it inherited for as long as it lives; the kernel gives it up with it. So
  "does it run?" is asked of the lock and never of a process id, which may be another's by now.
* It writes ``started`` before the trainer exists and ``exit.json`` after it has ended. Between
  them a reader who finds the lock free knows that the supervisor itself was killed.
* It enforces the time limit, takes ``cancel`` (a file) and SIGTERM as orders to stop, first with
  SIGTERM to the trainer's group, then with SIGKILL, and leaves none of its descendants behind.
* It keeps the first part of the output and its end, and masks secrets in both.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MaskedLog", "main"]

CHECK_S: Final = 0.2
"""How often the order to cancel is looked for; every other wake-up is an event."""

READ_BYTES: Final = 64 * 1024
"""One read of the trainer's output: the size of a pipe on Linux."""

TAIL_BYTES: Final = 64 * 1024
"""How much of the end is kept of output that was too long: a traceback is what people look for."""

DRAIN_S: Final = 2.0
"""How long output may follow after the trainer ended, should an escaped child hold the pipe."""

NOT_STARTED: Final = 127
"""What a shell reports for a command that it could not start."""

MASK: Final = b"***"
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36


class MaskedLog:
    """A file that holds the first ``limit`` bytes and the end of what is written, masked.

    Args:
        file: Where it goes; unbuffered.
        limit: Bytes after which only the end is kept.
        secrets: Byte strings to replace, none of which holds a line feed.
    """

    def __init__(self, file: IO[bytes], limit: int, secrets: list[bytes]) -> None:
        self._file = file
        self._left = limit
        self._secrets = sorted((secret for secret in secrets if secret), key=len, reverse=True)
        self._longest = len(self._secrets[0]) if self._secrets else 1
        self._carry = b""
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._dropped = 0

    def write(self, data: bytes) -> None:
        """Take some output; what might be the beginning of a secret waits for the rest."""
        data = self._carry + data
        for secret in self._secrets:
            data = data.replace(secret, MASK)
        ready = max(data.rfind(b"\n") + 1, len(data) - self._longest + 1)
        self._carry = data[ready:]
        self._keep(data[:ready])

    def close(self) -> None:
        """Write what waited, and the end of what was left out."""
        self._keep(self._carry)
        note = b"\n[... %d bytes left out ...]\n" % self._dropped
        with suppress(OSError):
            self._file.write((note if self._dropped else b"") + b"".join(self._tail))
        self._file.close()

    def _keep(self, data: bytes) -> None:
        head, rest = data[: self._left], data[self._left :]
        self._left -= len(head)
        with suppress(OSError):  # a full disk costs the log, not the training
            self._file.write(head)
        if rest:
            self._tail.append(rest)
            self._tail_bytes += len(rest)
        while len(self._tail) > 1 and self._tail_bytes - len(self._tail[0]) >= TAIL_BYTES:
            out = self._tail.popleft()
            self._tail_bytes -= len(out)
            self._dropped += len(out)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _write_durably(path: Path, document: Mapping[str, Any]) -> None:
    """Write so that after a power failure there is the whole document or none."""
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        file.write(json.dumps(document).encode())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Supervisor:
    """One work's supervision. See the module.

    Args:
        directory: The work's own directory.
        orders: command, environment, secrets (names in the environment), timeout_s, grace_s,
            log_bytes, slots, slots_dir, limits (by name of the RLIMIT).
    """

    def __init__(self, directory: Path, orders: Mapping[str, Any]) -> None:
        self._directory = directory
        self._orders = orders
        self._terminated = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)

    def run(self) -> None:
        """Wait for a slot, run the trainer, record its end."""
        self._listen()
        slot = self._take_slot()
        if slot is None:
            self._record(None, "terminated" if self._terminated else "cancelled")
            return
        self._record(*self._run_trainer())

    def _listen(self) -> None:
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def _on_terminate(self, _number: int, _frame: object) -> None:
        self._terminated = True

    def _told_to_stop(self) -> str | None:
        if self._terminated:
            return "terminated"
        return "cancelled" if (self._directory / "cancel").exists() else None

    def _record(self, exit_code: int | None, reason: str) -> None:
        record = {"exit_code": exit_code, "reason": reason}
        _write_durably(self._directory / "exit.json", record)

    def _take_slot(self) -> int | None:
        """Hold one of the machine's slots as long as this process lives; None if told to stop."""
        folder = Path(self._orders["slots_dir"])
        files = [
            os.open(folder / str(index), os.O_RDWR | os.O_CREAT, 0o600)
            for index in range(self._orders["slots"])
        ]
        while self._told_to_stop() is None:
            for file in files:
                with suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return file
            time.sleep(CHECK_S)
        return None

    def _run_trainer(self) -> tuple[int | None, str]:
        log = self._open_log()
        output, trainer_output = os.pipe()
        executed, closed_by_exec = os.pipe()
        leader = os.fork()
        if leader == 0:
            self._become_trainer(trainer_output)
        os.close(trainer_output)
        os.close(closed_by_exec)
        os.read(executed, 1)  # until it is the trainer, in a group of its own
        try:
            _write_durably(self._directory / "trainer.json", {"pid": leader})
            return self._watch(leader, output, log)
        finally:
            _signal_group(leader, signal.SIGKILL)
            log.close()

    def _open_log(self) -> MaskedLog:
        environment = self._orders["environment"]
        secrets = [environment[name].encode() for name in self._orders["secrets"]]
        file = (self._directory / "log").open("wb", buffering=0)
        return MaskedLog(file, self._orders["log_bytes"], secrets)

    def _become_trainer(self, output: int) -> NoReturn:
        command = self._orders["command"]
        try:
            os.setsid()
            supervisor = os.getppid()
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != supervisor:  # it died before it could be told to take us along
                os._exit(NOT_STARTED)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            for name, limit in self._orders["limits"].items():
                _limit(getattr(resource, name), limit)
            os.chdir(self._orders["environment"]["CONTINUON_WORK_DIR"])
            os.execvpe(command[0], command, self._orders["environment"])  # noqa: S606 - as ordered
        except BaseException as error:  # noqa: BLE001 - a fork must never run its parent's code
            os.write(2, f"{command[0]} could not be started: {error}\n".encode())
            os._exit(NOT_STARTED)

    def _watch(self, leader: int, output: int, log: MaskedLog) -> tuple[int | None, str]:
        deadline = time.monotonic() + self._orders["timeout_s"]
        kill_at: float | None = None
        reason, status = "exited", None
        sources = [output, self._wake_read]
        while status is None:
            ready, _, _ = select.select(sources, [], [], CHECK_S)
            if self._wake_read in ready:
                os.read(self._wake_read, READ_BYTES)
            if output in ready and not _copy(output, log):
                sources.remove(output)
            status = _reap(leader)
            now = time.monotonic()
            if kill_at is None:
                told = self._told_to_stop() or ("timeout" if now >= deadline else None)
                if told and status is None:
                    reason, kill_at = told, now + self._orders["grace_s"]
                    _signal_group(leader, signal.SIGTERM)
            elif now >= kill_at:
                _signal_group(leader, signal.SIGKILL)
        _signal_group(leader, signal.SIGKILL)  # what the trainer left behind
        _end_descendants()
        if output in sources:
            _drain(output, log)
        return os.waitstatus_to_exitcode(status), reason


def _copy(output: int, log: MaskedLog) -> bool:
    data = os.read(output, READ_BYTES)
    log.write(data)
    return bool(data)


def _drain(output: int, log: MaskedLog) -> None:
    until = time.monotonic() + DRAIN_S
    while (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select([output], [], [], left)
        if not ready or not _copy(output, log):
            return


def _reap(leader: int) -> int | None:
    """Collect every child that ended; return the leader's wait status if it is among them."""
    found = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == leader:
                found = ended[1]
    return found


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _end_descendants() -> None:
    """End orphans that left the group; Linux hands them to this process, see _listen."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    until = time.monotonic() + DRAIN_S
    while time.monotonic() < until:
        try:
            pids = [int(pid) for pid in children.read_text().split()]
        except OSError:  # another system, or a kernel without the file: the group is all we know
            return
        if not pids:
            return
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _reap(0)
        time.sleep(0.01)


def _limit(which: int, limit: int) -> None:
    _soft, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(which, (limit, limit))


def main(arguments: list[str]) -> int:
    """Read the orders, detach from the caller, supervise."""
    lock, directory = int(arguments[0]), Path(arguments[1])
    os.set_inheritable(lock, False)  # noqa: FBT003 - its own signature
    try:
        orders = json.loads(sys.stdin.buffer.read())
    except ValueError:
        return 1  # the caller died while it wrote: nothing was started
    if os.fork():
        return 0  # init adopts the supervisor, so no caller has to outlive it
    _write_durably(directory / "started", {"pid": os.getpid()})
    os.write(1, b"started\n")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    Supervisor(directory, orders).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
