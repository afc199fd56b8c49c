"""What the benchmarks share: processes, their CPU time, and a client that keeps connections."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "ROOT",
    "Served",
    "cpu_per_request_ms",
    "free_port",
    "import_time_ms",
    "local_cloud",
    "median",
    "serve_function",
]

ROOT = Path(__file__).resolve().parent.parent
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_START_TIMEOUT_S = 60.0


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def median(values: Sequence[float]) -> float:
    """Return the median, rounded to four significant places for a table."""
    return float(f"{statistics.median(values):.4g}")


def _group_cpu_s(group: int) -> float:
    """Return user and system time of every living process of a process group, in seconds."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            total += (int(fields[11]) + int(fields[12])) * _TICK_S
    return total


@dataclass(frozen=True)
class Served:
    """A function served by functions-framework in a process group of its own."""

    url: str
    group: int
    first_answer_s: float

    def cpu_s(self) -> float:
        """Return the CPU time it has used so far, in seconds."""
        return _group_cpu_s(self.group)


@contextmanager
def serve_function(
    source: Path,
    target: str,
    *,
    env: Mapping[str, str] | None = None,
    event: Mapping[str, Any] | None = None,
) -> Iterator[Served]:
    """Serve ``target`` as production does; ready at its first answer.

    Args:
        source: The codebase's ``main.py``.
        target: The entry point.
        env: Added to this process's environment.
        event: For an event function: the storage object that a first event reports.
    """
    port = free_port()
    command = [sys.executable, "-m", "functions_framework", "--source", str(source)]
    command += ["--target", target, "--port", str(port), "--host", "127.0.0.1"]
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, **(env or {})},
        cwd=source.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for_answer(_probe(url, event), process)
        yield Served(url, process.pid, time.perf_counter() - started)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def _probe(url: str, event: Mapping[str, Any] | None) -> httpx.Request:
    if event is None:
        return httpx.Request("GET", f"{url}/api/health")
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-type": "google.cloud.storage.object.v1.finalized",
        "ce-source": "//storage.googleapis.com/projects/_/buckets/continuon-rlds",
    }
    return httpx.Request("POST", url, headers=headers, json=event)


def _wait_for_answer(probe: httpx.Request, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    with httpx.Client(timeout=30) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"the function ended with status {process.returncode}")
            try:
                client.send(probe)
            except httpx.TransportError:
                time.sleep(0.005)
            else:
                return
    raise RuntimeError("the function did not answer")


async def _drive(requests: Sequence[httpx.Request], concurrency: int) -> int:
    """Send every request once, over at most ``concurrency`` connections; count the failures."""
    failures = 0
    pending = iter(requests)
    limits = httpx.Limits(max_connections=concurrency)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:

        async def worker() -> None:
            nonlocal failures
            for request in pending:
                response = await client.send(request)
                failures += response.status_code >= httpx.codes.BAD_REQUEST

        await asyncio.gather(*(worker() for _ in range(concurrency)))
    return failures


def cpu_per_request_ms(
    served: Served, requests: Sequence[httpx.Request], *, concurrency: int = 4
) -> float:
    """Return the server's CPU time for each request, in milliseconds.

    Raises:
        RuntimeError: A request failed: the figure would be of something else.
    """
    before = served.cpu_s()
    failures = asyncio.run(_drive(requests, concurrency))
    used = served.cpu_s() - before
    if failures:
        raise RuntimeError(f"{failures} of {len(requests)} requests failed")
    return used / len(requests) * 1000


def import_time_ms(statement: str, path: Path) -> float:
    """Return the wall time of ``statement`` in a fresh interpreter beyond that of an empty one."""

    def run(code: str) -> float:
        started = time.perf_counter()
        env = {**os.environ, "PYTHONPATH": str(path)}
        subprocess.run([sys.executable, "-c", code], check=True, env=env)
        return time.perf_counter() - started

    pairs = [(run(statement), run("pass")) for _ in range(5)]
    return statistics.median(loaded - empty for loaded, empty in pairs) * 1000


@contextmanager
def local_cloud() -> Iterator[dict[str, Any]]:
    """Run a local cloud on free ports that keeps nothing; yield its ready document."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.json"
        command = [sys.executable, "-m", "continuon_local.cli", "up", "--root", str(ROOT)]
        command += ["--ephemeral", "--ports", "auto", "--ready-file", str(ready)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + _START_TIMEOUT_S
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the local cloud did not start")
                time.sleep(0.02)
            document: dict[str, Any] = json.loads(ready.read_text(encoding="utf-8"))
            yield document
        finally:
            process.terminate()
            process.wait(20)
