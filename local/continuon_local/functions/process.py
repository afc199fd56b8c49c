"""One function's process: started by the first request, kept warm, replaced when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpcore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from continuon_local.events.manifest import FunctionSpec
    from continuon_local.functions.logs import FunctionLog

__all__ = ["FunctionProcess", "StartError"]

START_TIMEOUT_S = 60
"""How long a process may take to listen; Cloud Run's start-up probe gives up later, at 240 s."""

STOP_GRACE_S = 2
"""How long a process may take to end after SIGTERM, in seconds; Cloud Run gives 10."""

_MAX_CONNECTIONS = 1000
"""Cloud Run's upper bound for concurrent requests of one instance."""

_KEEP_ALIVE_S = 3600
_OUTPUT_GRACE_S = 1
_CHILD = Path(__file__).with_name("_child.py")
_log = logging.getLogger(__name__)


class StartError(Exception):
    """The process ended, or did not listen in time; the message has the end of its output."""


class FunctionProcess:
    """The process that serves one function.

    Args:
        spec: What to run.
        environment: Builds the process's whole environment; called at every start.
        log: Where its output goes.
    """

    def __init__(
        self, spec: FunctionSpec, environment: Callable[[], Mapping[str, str]], log: FunctionLog
    ) -> None:
        self._spec = spec
        self._environment = environment
        self._log = log
        self._starting: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._pool: httpcore.AsyncConnectionPool | None = None
        self._following: asyncio.Task[None] | None = None
        self._stopped = False
        self._ready = asyncio.Event()
        self.port = 0
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """The process id while the process lives."""
        return self._process.pid if self._alive and self._process is not None else None

    @property
    def _alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def connections(self) -> httpcore.AsyncConnectionPool:
        """Return connections to the running process, starting it where needed.

        Callers that come while it starts wait for the same start; one that gives up waiting does
        not end the start for the others.

        Raises:
            StartError: It could not be started.
        """
        if not self._alive or self._pool is None:
            if self._starting is None or self._starting.done():
                self._starting = asyncio.create_task(self._start())
                self._starting.add_done_callback(_retrieve_error)
            await asyncio.shield(self._starting)
        if self._pool is None:
            raise StartError(f"{self._spec.id}: the local cloud is stopping")
        return self._pool

    async def listening(self) -> None:
        """Wait until the process accepts requests; never starts it."""
        await self._ready.wait()

    async def gone(self, within_s: float = STOP_GRACE_S) -> None:
        """Wait for the end of a process that has closed connections, ``within_s`` at most."""
        process = self._process
        if process is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), within_s)

    def kill(self) -> None:
        """End the process at once, as a crash or an out-of-memory kill would."""
        self._signal(signal.SIGKILL)

    async def stop(self) -> None:
        """End the process: politely first, then not. Safe to call twice."""
        self._stopped = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        await self._end()

    async def _start(self) -> None:
        if self._stopped:
            raise StartError(f"{self._spec.id}: the local cloud is stopping")
        await self._end()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)  # noqa: FBT003 - the socket interface
        self._control = ours
        with theirs:
            self._process = await self._spawn(theirs)
        self.starts += 1
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._following = asyncio.create_task(self._log.follow(self._process.stdout))
        self.port = await self._announced_port(ours)
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=_MAX_CONNECTIONS, keepalive_expiry=_KEEP_ALIVE_S
        )
        self._ready.set()

    async def _spawn(self, control: socket.socket) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                str(_CHILD),
                str(control.fileno()),
                cwd=self._spec.source,
                env=dict(self._environment()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=(control.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            raise StartError(f"function {self._spec.id!r} did not start: {error}") from error

    async def _announced_port(self, control: socket.socket) -> int:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                announced = await loop.sock_recv(control, 16)
        except (TimeoutError, OSError):
            announced = b""
        if announced:
            return int(announced)
        await self._end()
        lines = "\n".join(f"  | {line}" for line in self._log.last_lines)
        message = f"function {self._spec.id!r} did not start:\n{lines}"
        _log.error("%s", message)
        raise StartError(message)

    async def _end(self) -> None:
        self._ready.clear()
        process, self._process = self._process, None
        pool, self._pool = self._pool, None
        if process is not None:
            await _end_group(process)
        if pool is not None:
            await pool.aclose()
        if self._following is not None:
            await _finished_or_cancelled(self._following)
            self._following = None
        if self._control is not None:
            self._control.close()
            self._control = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            _signal_group(self._process.pid, number)


def _retrieve_error(task: asyncio.Task[None]) -> None:
    """Look at a start's error, so that one nobody waited for is not reported as forgotten."""
    if not task.cancelled():
        task.exception()


async def _finished_or_cancelled(task: asyncio.Task[None]) -> None:
    """Wait shortly: a stray grandchild may keep the output open for ever."""
    _, unfinished = await asyncio.wait([task], timeout=_OUTPUT_GRACE_S)
    for one in unfinished:
        one.cancel()
    await asyncio.gather(*unfinished, return_exceptions=True)


async def _end_group(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_GRACE_S)
    # Whatever the function itself started shares its group and must not outlive it.
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
