"""Services and functions as processes of their own, to stop and start one at a time."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["ServiceProcess", "free_port", "function_process"]


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass
class ServiceProcess:
    """One service of the local cloud that keeps its port and data over restarts."""

    name: str
    data_dir: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        command = [sys.executable, "-m", "continuon_local.serve", self.name]
        command += ["--data-dir", str(self.data_dir), "--port", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
        assert self._process.stdout is not None
        assert json.loads(self._process.stdout.readline())["ports"] == {self.name: self.port}

    def stop(self) -> None:
        """End it. Safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        process.wait(15)
        assert process.stdout is not None
        process.stdout.close()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"


@contextlib.contextmanager
def function_process(
    codebase: str, target: str, signature_type: str, environment: Mapping[str, str]
) -> Iterator[str]:
    """Serve one function with the Functions Framework; yield its URL."""
    port = free_port()
    source = REPOSITORY / "functions" / codebase
    command = [sys.executable, "-m", "functions_framework", "--host", "127.0.0.1"]
    command += ["--target", target, "--source", str(source / "main.py"), "--port", str(port)]
    command += ["--signature-type", signature_type]
    process = subprocess.Popen(command, cwd=source, env={**os.environ, **environment})  # noqa: S603 - our own
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_listening(process, url)
        yield url
    finally:
        process.terminate()
        process.wait(15)


def _wait_until_listening(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, f"the function ended with status {process.returncode}"
        assert time.monotonic() < deadline, "the function does not listen"
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"{url}/robots.txt", timeout=5)
            return
        time.sleep(0.1)
