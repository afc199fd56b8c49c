"""Fixtures for every tier. Tiers are folders; each folder's conftest enforces its own rule."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

os.environ.setdefault("GOOGLE_CLOUD_PROJECT", "demo-continuon")


@contextmanager
def local_services(
    *names: str, data_dir: Path | None = None, faults: Path | None = None
) -> Iterator[dict[str, int]]:
    """Run services of the local cloud in a process of their own; yield their ports by name."""
    with service_process(*names, data_dir=data_dir, faults=faults) as (_, ports):
        yield ports


@contextmanager
def service_process(
    *names: str, data_dir: Path | None = None, faults: Path | None = None
) -> Iterator[tuple[int, dict[str, int]]]:
    """Run services of the local cloud; yield the process's id and their ports by name."""
    command = [sys.executable, "-m", "continuon_local.serve", *names]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    if faults is not None:
        command += ["--faults", str(faults)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"{names} did not start: exit status {process.wait(10)}"
        yield process.pid, json.loads(line)["ports"]
    finally:
        process.terminate()
        process.wait(15)
        if process.stdout is not None:
            process.stdout.close()


REPOSITORY = Path(__file__).resolve().parent.parent
READY_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class LocalCloudProcess:
    """A running local cloud: where it listens and what points a client at it."""

    pid: int
    urls: dict[str, str]
    env: dict[str, str]

    @property
    def url(self) -> str:
        """The hosting gateway: the front door of the product."""
        return self.urls["hosting"]


@contextmanager
def run_local_cloud(root: Path = REPOSITORY, *options: str) -> Iterator[LocalCloudProcess]:
    """Run ``continuon-local up`` on the project in ``root`` with free ports; yield it when ready.

    It keeps nothing unless ``options`` name a ``--data-dir``.
    """
    kept = "--data-dir" in options
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.json"
        command = [sys.executable, "-m", "continuon_local.cli", "up", "--root", str(root)]
        command += ["--ports", "auto", "--ready-file", str(ready)]
        process = subprocess.Popen([*command, *([] if kept else ["--ephemeral"]), *options])
        try:
            _wait_until_ready(process, ready)
            document = json.loads(ready.read_text(encoding="utf-8"))
            yield LocalCloudProcess(pid=document["pid"], urls=document["urls"], env=document["env"])
        finally:
            process.terminate()
            process.wait(20)


def _wait_until_ready(process: subprocess.Popen[bytes], ready: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not ready.exists():
        assert process.poll() is None, f"the local cloud ended with status {process.returncode}"
        assert time.monotonic() < deadline, "the local cloud was not ready in time"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def local_cloud() -> Iterator[LocalCloudProcess]:
    """The local cloud on this repository, one for the whole session, its data thrown away."""
    with run_local_cloud() as cloud:
        yield cloud
