"""Where answers come from: our services, and Google's emulators where they are installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conftest import local_services

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Addresses", "References", "find_references", "google_emulators", "ours"]

_READY_S = 60
_STOP_S = 20
_FIRESTORE_CLASS = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"


@dataclass(frozen=True)
class Addresses:
    """``host:port`` of a Firestore and a Pub/Sub."""

    firestore: str
    pubsub: str


@dataclass(frozen=True)
class References:
    """Google's emulators on this machine."""

    java: str
    firestore_jar: Path
    pubsub_jar: Path
    version: str


def find_references() -> References | str:
    """Return Google's emulators, or one sentence about what is missing."""
    gcloud, java = shutil.which("gcloud"), shutil.which("java")
    if gcloud is None:
        return "the Google Cloud CLI is not installed"
    if java is None:
        return "Java is not installed"
    platform = Path(_output(gcloud, "info", "--format=value(installation.sdk_root)")) / "platform"
    firestore = platform / "cloud-firestore-emulator" / "cloud-firestore-emulator.jar"
    pubsub = sorted((platform / "pubsub-emulator" / "lib").glob("cloud-pubsub-emulator-*-all.jar"))
    if not firestore.exists() or not pubsub:
        return "the CLI's components cloud-firestore-emulator and pubsub-emulator are not installed"
    version = _output(java, "-cp", str(firestore), _FIRESTORE_CLASS, "--version").split("\n")[0]
    return References(java, firestore, pubsub[-1], f"{version}; {pubsub[-1].stem}")


@contextmanager
def google_emulators(references: References) -> Iterator[Addresses]:
    """Run Google's Firestore and Pub/Sub emulators until the block ends."""
    firestore, pubsub = free_port(), free_port()
    commands = [
        [
            *(references.java, "-cp", str(references.firestore_jar), _FIRESTORE_CLASS, "start"),
            *("--host=127.0.0.1", f"--port={firestore}"),
        ],
        [
            *(references.java, "-jar", str(references.pubsub_jar)),
            *("--host=127.0.0.1", f"--port={pubsub}"),
        ],
    ]
    processes = [_start(command) for command in commands]
    try:
        for process, port in zip(processes, (firestore, pubsub), strict=True):
            _wait_for_port(process, port)
        yield Addresses(f"127.0.0.1:{firestore}", f"127.0.0.1:{pubsub}")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(_STOP_S)


@contextmanager
def ours() -> Iterator[Addresses]:
    """Run our Firestore and Pub/Sub until the block ends."""
    with local_services("firestore", "pubsub") as ports:
        yield Addresses(f"127.0.0.1:{ports['firestore']}", f"127.0.0.1:{ports['pubsub']}")


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _output(*command: str) -> str:
    # The CLI and the Java that were found on the PATH.
    done = subprocess.run(  # noqa: S603 - see above
        command, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip()


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet)  # noqa: S603 - Google's own


def _wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"an emulator ended with status {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens on port {port} after {_READY_S} s")
