"""The Firebase CLI as a child process: found or installed, started, and ended with its children."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from conformance.targets import free_port
from conftest import REPOSITORY
from product import copied_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["HOW_TO_INSTALL", "PROJECT", "Running", "find", "running", "version"]

PROJECT = "demo-continuon"
CODEBASES = ("rlds", "fleet")
HOW_TO_INSTALL = "npm install --prefix .cache/firebase firebase-tools@15 (Node 20 or newer)"
_FOLDER = REPOSITORY / ".cache" / "firebase"
_INSTALL_S = 900
_READY_S = 120
_STOP_S = 20


def find() -> str | None:
    """Return the CLI: from the PATH, from ``.cache/firebase``, or freshly installed there."""
    installed = _FOLDER / "node_modules" / ".bin" / "firebase"
    found = shutil.which("firebase") or (str(installed) if installed.exists() else None)
    npm = shutil.which("npm")
    if found or npm is None:
        return found
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(_FOLDER)]
    subprocess.run(  # noqa: S603 - the npm of this machine
        [*command, "firebase-tools@15"], timeout=_INSTALL_S, check=False, capture_output=True
    )
    return str(installed) if installed.exists() else None


def version(program: str) -> str:
    """Return what the CLI says about itself."""
    done = subprocess.run(  # noqa: S603 - the CLI found above
        [program, "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip()


@dataclass(frozen=True)
class Running:
    """A CLI that is up.

    Attributes:
        urls: Base URLs by name: auth, functions, hosting.
        env: The variables that clients need.
        log_file: What the CLI and the functions print.
    """

    pid: int
    urls: dict[str, str]
    env: dict[str, str]
    log_file: Path

    def log(self) -> str:
        """Return everything printed so far."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def running(program: str, project: Path, environment: dict[str, str]) -> Iterator[Running]:
    """Run ``firebase emulators:start`` on a copy of the project until the block ends."""
    ports = _lay_out(project)
    log_file = project.parent / "firebase.log"
    command = [program, "emulators:start", "--only", "functions,hosting,auth"]
    command += ["--project", PROJECT, "--non-interactive"]
    addresses = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    env = {**environment, "FIREBASE_AUTH_EMULATOR_HOST": f"127.0.0.1:{ports['auth']}"}
    # A session of its own: the CLI's children are found by it when they outlive the CLI.
    with log_file.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - the CLI found above
            command,
            cwd=project,
            env={**os.environ, **env, "CI": "1", "FIREBASE_CLI_DISABLE_UPDATE_CHECK": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    up = Running(process.pid, addresses, env, log_file)
    try:
        _wait_until_ready(process, up)
        yield up
    finally:
        _end(process)


def _lay_out(project: Path) -> dict[str, int]:
    """Copy what is deployed, with a ``venv`` for each codebase and free ports; return the ports."""
    copied_project(project, codebases=CODEBASES)
    for codebase in CODEBASES:
        (project / "functions" / codebase / "venv").symlink_to(REPOSITORY / ".venv")
    ports = {name: free_port() for name in ("auth", "functions", "hosting", "hub", "logging")}
    path = project / "firebase.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    emulators: dict[str, Any] = {
        name: {"host": "127.0.0.1", "port": port} for name, port in ports.items()
    }
    path.write_text(json.dumps({**config, "emulators": {**emulators, "ui": {"enabled": False}}}))
    return ports


def _wait_until_ready(process: subprocess.Popen[bytes], up: Running) -> None:
    deadline = time.monotonic() + _READY_S
    while "All emulators ready" not in up.log():
        assert process.poll() is None, f"the CLI ended: {up.log()[-3000:]}"
        assert time.monotonic() < deadline, f"the CLI was not ready: {up.log()[-3000:]}"
        time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the CLI, then whatever of its session is left, by process id."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
            time.sleep(0.5)
    process.wait(_STOP_S)


def backends(up: Running) -> list[dict[str, Any]]:
    """Return what the Functions emulator says that it runs."""
    answer = httpx.get(f"{up.urls['functions']}/backends", timeout=30).raise_for_status().json()
    found: list[dict[str, Any]] = answer["backends"]
    return found
