"""Trainers as processes of this machine: the default, for laptops, lab machines and tests.

A work is a directory (``_directory.py``) and a supervisor (``_supervisor.py``) that outlives
whoever submitted it. Any process of the same user finds the work by its name.

It is no sandbox. A trainer runs as the user of this process, with resource limits, without this
process's environment, and reads what that user may read.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from continuon_training.executors import _supervisor
from continuon_training.executors._directory import SERVICE, WorkDirectory
from continuon_training.executors.base import (
    ExecutorQuotaError,
    ExecutorRefusedError,
    ExecutorUnavailableError,
    Submitted,
    check_name,
)
from continuon_training.executors.settings import executor_settings

if TYPE_CHECKING:
    from continuon_training.executors.base import LogChunk, Work, WorkStatus

__all__ = ["SubprocessExecutor", "create"]

KEEP_S: Final = 14 * 24 * 3600
"""How long a finished work can be asked about; longer than Pub/Sub repeats a message (7 days)."""

MAX_WAITING: Final = 256
"""Works that may wait or run at once; each waiting one is a process of some 10 MB."""

SCRATCH_FILE_BYTES: Final = 64 * 1024**3
"""The largest file a trainer may write: far above any checkpoint, below a disk."""

_START_S: Final = 30.0
"""How long a supervisor may take to say that it lives: 20 ms, or much more on a loaded machine."""

_INHERITED: Final = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CUDA_VISIBLE_DEVICES"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)
"""What a trainer gets of this process's environment. Anything else may be a credential."""


def create() -> SubprocessExecutor:
    """Return the executor of this process's settings."""
    settings = executor_settings()
    return SubprocessExecutor(
        settings.continuon_subprocess_dir,
        slots=settings.continuon_subprocess_slots,
        command=tuple(shlex.split(settings.continuon_subprocess_command)),
        grace_s=settings.continuon_subprocess_grace_s,
        log_bytes=settings.continuon_subprocess_log_bytes,
    )


class SubprocessExecutor:
    """See the module.

    Args:
        root: The directory of all works; made private, and refused if it is another user's.
        slots: How many trainers run at once on this machine; the same for everybody who uses
            ``root``. Later ones are PENDING, in no order.
        command: The trainer where a work names none. ``python`` means this interpreter.
        grace_s: Seconds between SIGTERM and SIGKILL.
        log_bytes: How much output is kept from its beginning, in bytes.
    """

    name = "subprocess"
    starts_work = True

    def __init__(
        self,
        root: Path,
        *,
        slots: int = 1,
        command: tuple[str, ...] = (),
        grace_s: float = 10.0,
        log_bytes: int = 8 * 1024 * 1024,
    ) -> None:
        self._root = root.absolute()
        self._slots = slots
        self._command = command
        self._grace_s = grace_s
        self._log_bytes = log_bytes

    async def submit(self, work: Work) -> Submitted:
        """Start the work unless its name was started before; see the protocol."""
        check_name(work.name)
        _check_resources(work)
        return await asyncio.to_thread(self._submit, work)

    async def poll(self, name: str) -> WorkStatus:
        """Read how the work is from its directory."""
        return await asyncio.to_thread(self._directory(name).status)

    async def cancel(self, name: str) -> None:
        """Leave the order to stop; the supervisor follows it within a fraction of a second."""
        await asyncio.to_thread(self._cancel, self._directory(name))

    async def logs(self, name: str, offset: int = 0) -> LogChunk:
        """Return output from the byte ``offset`` on."""
        return await asyncio.to_thread(self._directory(name).log, max(0, offset))

    def _directory(self, name: str) -> WorkDirectory:
        return WorkDirectory(self._root / "works" / check_name(name))

    def _cancel(self, directory: WorkDirectory) -> None:
        try:
            self._make_folders()
            directory.cancel()
        except OSError as error:
            raise ExecutorUnavailableError(SERVICE, f"{error.strerror}") from error

    def _submit(self, work: Work) -> Submitted:
        directory = self._directory(work.name)
        try:
            self._prepare(directory)
            with directory.submission() as lock:
                if lock is None:
                    return Submitted(work.name, created=False)
                directory.scratch.mkdir(mode=0o700, exist_ok=True)
                self._start(directory, lock, self._orders(work, directory.scratch))
        except OSError as error:
            raise ExecutorUnavailableError(SERVICE, f"{error.strerror}") from error
        return Submitted(work.name, created=True)

    def _prepare(self, directory: WorkDirectory) -> None:
        self._make_folders()
        if not directory.was_started and self._prune() >= MAX_WAITING:
            raise ExecutorQuotaError(SERVICE, f"{MAX_WAITING} works wait or run on this machine")

    def _make_folders(self) -> None:
        for folder in (self._root, self._root / "works", self._root / "slots"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._root.stat()
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            message = f"{self._root} must be this user's own and closed to others (0700)."
            raise ExecutorRefusedError("executor.state_directory", message)

    def _prune(self) -> int:
        """Forget works that ended long ago; return how many wait or run."""
        # The clock of this machine's files, not the invocation's moment.
        long_ago = time.time() - KEEP_S
        unfinished = 0
        for path in (self._root / "works").iterdir():
            work = WorkDirectory(path)
            if work.is_finished_before(long_ago):
                shutil.rmtree(path, ignore_errors=True)
            else:
                unfinished += work.is_held()
        return unfinished

    def _orders(self, work: Work, scratch: Path) -> dict[str, Any]:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        own = {"HOME": str(scratch), "CONTINUON_WORK_DIR": str(scratch)}
        own |= {"CONTINUON_WORK_NAME": work.name, "PYTHONUNBUFFERED": "1"}
        own |= dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
            str(math.ceil(work.resources.cpu)),
        )
        command = list(work.command or self._command)
        if command[0] in {"python", "python3"}:
            command[0] = sys.executable
        return {
            "command": command,
            "environment": inherited | own | dict(work.environment) | dict(work.secrets),
            "secrets": list(work.secrets),
            "timeout_s": work.timeout_s,
            "grace_s": self._grace_s,
            "log_bytes": self._log_bytes,
            "slots": self._slots,
            "slots_dir": str(self._root / "slots"),
            "limits": _limits(work),
        }

    def _start(self, directory: WorkDirectory, lock: int, orders: dict[str, Any]) -> None:
        # I, because a script's own folder would come first among the imports, and ours holds a
        # `subprocess`. Standard input, because arguments and files can be read by others.
        command = [sys.executable, "-IS", _supervisor.__file__, str(lock), str(directory.path)]
        with (
            (directory.path / "supervisor.log").open("wb") as errors,
            subprocess.Popen(  # noqa: S603 - our own script
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=(lock,),
                start_new_session=True,
                env={name: os.environ[name] for name in ("LANG", "PATH") if name in os.environ},
            ) as process,
        ):
            try:
                answer, _ = process.communicate(json.dumps(orders).encode(), timeout=_START_S)
            except subprocess.TimeoutExpired:
                process.kill()
                answer = b""
        if answer != b"started\n":
            raise ExecutorUnavailableError(SERVICE, "its supervisor did not start")


def _check_resources(work: Work) -> None:
    wanted = work.resources
    processors = os.cpu_count() or 1
    memory_mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024**2
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
    for what, asked, there in (
        ("processors", wanted.cpu, processors),
        ("MiB of memory", wanted.memory_mib, memory_mib),
        ("GPUs", wanted.gpu_count, gpus),
    ):
        if asked > there:
            message = f"The job asks for {asked} {what}; this machine has {there}."
            raise ExecutorRefusedError("executor.resources", message)


def _limits(work: Work) -> dict[str, int]:
    """Resource limits of each process of the work.

    DATA and not AS: it counts memory that is written to, while JAX and CUDA reserve address space
    by the terabyte. CORE: a core dump would hold the token. CPU is the second line behind the
    supervisor's clock.
    """
    limits = {
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": math.ceil(work.timeout_s * max(1.0, work.resources.cpu)) + 60,
        "RLIMIT_FSIZE": SCRATCH_FILE_BYTES,
    }
    if sys.platform == "linux":  # elsewhere DATA does not cover what allocators use
        limits["RLIMIT_DATA"] = work.resources.memory_mib * 1024**2
    return limits
