"""Our Firestore and, where it is installed, Google's emulator: started alike, asked alike."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.cloud import firestore

from harness import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "PROJECT",
    "Target",
    "address_of",
    "memory_mb",
    "official_command",
    "ours",
    "serve",
    "targets",
]

PROJECT = "demo-bench"
_CLASS = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
_JAR = Path("platform", "cloud-firestore-emulator", "cloud-firestore-emulator.jar")
_READY_TIMEOUT_S = 60.0
_POLL_S = 0.01


@dataclass(frozen=True)
class Target:
    """A running Firestore.

    Attributes:
        ready_s: From the start of the process to its first answer, in seconds.
    """

    name: str
    pid: int
    client: firestore.Client
    ready_s: float


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """Return resident memory of one process in MB: now, or with ``VmHWM`` the most so far."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"process {pid} says nothing about {field}")


def official_command() -> list[str] | None:
    """Return how to start Google's emulator, up to the port; None where it is not installed."""
    java, gcloud = shutil.which("java"), shutil.which("gcloud")
    if java is None or gcloud is None:
        return None
    command = [gcloud, "info", "--format=value(installation.sdk_root)"]
    root = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    jar = Path(root.stdout.strip()) / _JAR
    return [java, "-cp", str(jar), _CLASS, "start", "--host=127.0.0.1"] if jar.is_file() else None


@contextmanager
def serve(*services: str, data_dir: Path | None = None) -> Iterator[tuple[int, Mapping[str, int]]]:
    """Run services of the local cloud in a process of their own; yield its id and their ports."""
    command = [sys.executable, "-m", "continuon_local.serve", *services]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ports: dict[str, int] = json.loads(process.stdout.readline())["ports"]
        yield process.pid, ports
    finally:
        _end(process)


@contextmanager
def ours(name: str = "ours", data_dir: Path | None = None) -> Iterator[Target]:
    """Run our Firestore; without ``data_dir`` in memory, as Google's emulator is."""
    started = time.perf_counter()
    with serve("firestore", data_dir=data_dir) as (pid, ports):
        port = ports["firestore"]
        _wait_for_answer(port)
        ready_s = time.perf_counter() - started
        yield Target(name, pid, _client(port), ready_s)


@contextmanager
def _official(command: Sequence[str]) -> Iterator[Target]:
    port = free_port()
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for_answer(port)
        ready_s = time.perf_counter() - started
        yield Target("official", process.pid, _client(port), ready_s)
    finally:
        _end(process)


@contextmanager
def targets() -> Iterator[list[Target]]:
    """Run our Firestore and, where it is installed, Google's emulator beside it."""
    with ExitStack() as running:
        found = [running.enter_context(ours())]
        command = official_command()
        if command is not None:
            found.append(running.enter_context(_official(command)))
        yield found


def _client(port: int) -> firestore.Client:
    # The client reads the variable when it is made, and not again.
    os.environ["FIRESTORE_EMULATOR_HOST"] = f"127.0.0.1:{port}"
    try:
        return firestore.Client(project=PROJECT)
    finally:
        del os.environ["FIRESTORE_EMULATOR_HOST"]


def address_of(client: firestore.Client) -> str:
    """Return ``HOST:PORT`` of the server that a client was made for."""
    return str(client._emulator_host)  # noqa: SLF001 - there is no other way to ask it


def _wait_for_answer(port: int) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(_POLL_S)
    raise RuntimeError(f"nothing answers on port {port}")


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(20)
    if process.stdout is not None:
        process.stdout.close()
