"""A trainer as a child of the worker: what it is given, what it says, and how it is ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import site
import sys
from collections import deque
from typing import TYPE_CHECKING, Final, Self

from continuon.contracts.training import TRAINER_CONTRACT
from continuon_cloud.errors import SettingsError
from continuon_cloud.training import guard
from continuon_cloud.training.output import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from continuon.contracts.training import LeaseResponse

__all__ = ["DEFAULT_COMMAND", "TrainerProcess", "trainer_environment"]

DEFAULT_COMMAND: Final = (sys.executable, "-m", "behaviour_cloning", "--job")

GRACE_S: Final = 20.0
"""How long a trainer may take to end after SIGTERM; then its group is killed."""

_DRAIN_S: Final = 5.0
"""How long output may follow after the trainer ended."""

_TAIL_LINES: Final = 40
_LINE_BYTES: Final = 64 * 1024

_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_PASSED: Final = frozenset(
    {
        *("PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP"),
        *("LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONUNBUFFERED"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *_PROXIES,
        *(name.upper() for name in _PROXIES),
    }
)
_PASSED_PREFIXES: Final = (
    "LC_",
    "CONDA_",
    "CUDA_",
    "NVIDIA_",
    "ROCR_",
    "HIP_",
    "TPU_",
    "XLA_",
    "JAX_",
    "TF_",
    "PYTORCH_",
    "NCCL_",
    "OMP_",
    "MKL_",
    "OPENBLAS_",
)
"""What a trainer is given of the worker's environment. A list of what is let through, because the
worker's own holds what a trainer must not have: sessions, and credentials of other services."""


def trainer_environment(
    lease: LeaseResponse,
    *,
    api_url: str,
    folder: Path,
    cache: Path,
    passed: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """Return the environment of a trainer: contract 1, and nothing of the person's.

    Args:
        lease: The job and its token.
        api_url: Of the cloud, as this machine reaches it.
        folder: Of this attempt; it is the trainer's home too, so that it finds no session there.
        cache: Of episodes.
        passed: Further variables that the worker was told to let through.
        environment: The worker's own.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }
    # Packages that were installed for the user stay importable, wherever home points.
    home = {"HOME": str(folder), "PYTHONUSERBASE": site.getuserbase()}
    chosen = {name: environment[name] for name in passed if name in environment}
    return {
        **kept,
        **home,
        **chosen,
        "CONTINUON_TRAINER_CONTRACT": str(TRAINER_CONTRACT),
        "CONTINUON_API_URL": api_url,
        "CONTINUON_JOB_ID": lease.job_id,
        "CONTINUON_JOB_ATTEMPT": str(lease.attempt),
        "CONTINUON_JOB_TOKEN": lease.token,
        "CONTINUON_WORK_DIR": str(folder),
        "CONTINUON_CACHE_DIR": str(cache),
    }


class TrainerProcess:
    """A running trainer; it ends with this process, whatever ends this process."""

    def __init__(
        self, process: asyncio.subprocess.Process, token: str, on_line: Callable[[str], None]
    ) -> None:
        self._process = process
        self._token = token
        self._on_line = on_line
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        on_line: Callable[[str], None],
    ) -> Self:
        """Start a trainer in a process group of its own.

        Raises:
            SettingsError: The machine cannot start a process.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-IS",
                guard.__file__,
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
                limit=_LINE_BYTES,
            )
        except OSError as error:
            message = f"cannot start a trainer: {error.strerror or error}"
            raise SettingsError(message, code="worker.no_process") from error
        return cls(process, environment["CONTINUON_JOB_TOKEN"], on_line)

    @property
    def tail(self) -> str:
        """The last lines it said."""
        return "\n".join(self._tail)

    async def wait(self) -> int:
        """Wait for its end and return the exit status; 128 and a signal's number when killed."""
        status = await self._process.wait()
        # Whatever it started goes with it; a straggler would hold the output open, or a GPU.
        self._signal(signal.SIGKILL)
        # A child that left the group may hold the output open for ever.
        await asyncio.wait({self._reader}, timeout=_DRAIN_S)
        self._reader.cancel()
        return 128 - status if status < 0 else status

    async def end(self, *, grace_s: float = GRACE_S) -> int:
        """Ask its group to end, then make it; return the exit status."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await self._process.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
        return await self.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def _read(self) -> None:
        stream = self._process.stdout
        if stream is None:
            raise AssertionError("the output is a pipe")
        line = b""
        while data := await stream.read(_LINE_BYTES):
            *lines, line = (line + data).split(b"\n")
            if len(line) > _LINE_BYTES:
                lines, line = [*lines, line], b""
            for one in lines:
                self._say(one)
        if line:
            self._say(line)

    def _say(self, line: bytes) -> None:
        text = without_secrets(line.decode("utf-8", "replace").rstrip("\r"), self._token)
        self._tail.append(text)
        self._on_line(text)
