"""Google's own system tests of its Python clients, unmodified, from their source packages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from conftest import local_services

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SuiteResult", "firestore_suite", "prepare", "storage_suite"]

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache" / "conformance"
FIRESTORE = "google_cloud_firestore-2.34.1"
STORAGE = "google_cloud_storage-3.17.1"
_SDISTS = ("google-cloud-firestore==2.34.1", "google-cloud-storage==3.17.1")
# The suites are written for the event-loop fixture that pytest-asyncio 0.21 still has.
_PACKAGES = (
    *_SDISTS,
    "google-cloud-testutils==1.10.1",
    "mock",
    "pyyaml",
    "pytest==7.4.4",
    "pytest-asyncio==0.21.2",
    "pytest-subtests<0.14",
    "pytest-timeout",
    "google-cloud-kms",
    "google-cloud-iam",
    "google-cloud-pubsub==2.44.0",
    "opentelemetry-sdk",
    "aiohttp",
    "brotli",
)
_INSTALL_S = 600
_RUN_S = 900


@dataclass(frozen=True)
class SuiteResult:
    """How one suite ended on one target; ``failed`` maps a test to what it said."""

    name: str
    target: str
    passed: int
    skipped: int
    failed: dict[str, str]


def prepare() -> str | None:
    """Download the suites and what they need; return why that did not work, or None."""
    ready = CACHE / ".ready"
    if ready.exists() and ready.read_text(encoding="utf-8") == "\n".join(_PACKAGES):
        return None
    CACHE.mkdir(parents=True, exist_ok=True)
    python = CACHE / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "-q"]
    names = ",".join(item.split("==")[0] for item in _SDISTS)
    commands = [
        [sys.executable, "-m", "venv", str(CACHE / "venv")],
        [*pip, "install", *_PACKAGES],
        [*pip, "download", "--no-deps", "--no-binary", names, "-d", str(CACHE), *_SDISTS],
    ]
    for command in commands:
        done = subprocess.run(  # noqa: S603 - pip of the folder made here
            command, capture_output=True, text=True, timeout=_INSTALL_S, check=False
        )
        if done.returncode != 0:
            return f"the package index gave no suites: {done.stderr.strip().splitlines()[-1:]}"
    for name in (FIRESTORE, STORAGE):
        with tarfile.open(CACHE / f"{name}.tar.gz") as archive:
            archive.extractall(CACHE, filter="data")
    ready.write_text("\n".join(_PACKAGES), encoding="utf-8")
    return None


def firestore_suite(target: str, address: str) -> SuiteResult:
    """Run python-firestore's system tests against ``address``."""
    environment = {"FIRESTORE_EMULATOR_HOST": address, "GCLOUD_PROJECT": "demo-conformance"}
    return _run(FIRESTORE, target, CACHE / FIRESTORE / "tests" / "system", ".", environment)


def storage_suite() -> SuiteResult:
    """Run google-cloud-storage's system tests against our storage.

    The client signs with the local cloud's service account, and asks a token server of ours for
    the token that an emulator takes.
    """
    with tempfile.TemporaryDirectory() as name, _token_server() as token_uri:
        folder = Path(name)
        with local_services("storage", "pubsub", data_dir=folder) as ports:
            account = json.loads(next(folder.rglob("service-account.json")).read_text())
            key = folder / "key.json"
            key.write_text(json.dumps({**account, "token_uri": token_uri}))
            environment = {
                "API_ENDPOINT_OVERRIDE": f"http://127.0.0.1:{ports['storage']}",
                "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{ports['pubsub']}",
                "GOOGLE_APPLICATION_CREDENTIALS": str(key),
                "GOOGLE_CLOUD_PROJECT": "demo-continuon",
            }
            return _run(STORAGE, "ours", CACHE / STORAGE, "tests/system", environment)


def _run(
    name: str, target: str, folder: Path, tests: str, environment: dict[str, str]
) -> SuiteResult:
    results = CACHE / f"{name}-{target}.xml"
    command = [str(CACHE / "venv" / "bin" / "python"), "-m", "pytest", "-q", tests]
    command += ["-c", os.devnull, "--rootdir=.", "-p", "no:cacheprovider", "--tb=native"]
    command += ["--timeout=60", f"--junitxml={results}"]
    kept = {"PATH", "HOME", "LANG", "TMPDIR"}
    env = {key: value for key, value in os.environ.items() if key in kept} | environment
    results.unlink(missing_ok=True)
    done = subprocess.run(  # noqa: S603 - pytest of the folder made here
        command, cwd=folder, env=env, timeout=_RUN_S, check=False, capture_output=True, text=True
    )
    failed = _failures(results)
    return SuiteResult(
        name, target, _count(done.stdout, "passed"), _count(done.stdout, "skipped"), failed
    )


def _count(output: str, word: str) -> int:
    """Return a number of pytest's last line, which counts subtests too."""
    numbers = re.findall(rf"(\d+) {word}", output)
    return int(numbers[-1]) if numbers else 0


def _failures(results: Path) -> dict[str, str]:
    failed = {}
    # The file was written by the pytest that was started above.
    for case in ET.parse(results).iter("testcase"):  # noqa: S314
        test = f"{case.get('classname', '').rsplit('.', 1)[-1]}::{case.get('name')}"
        trouble = [child for child in case if child.tag in {"failure", "error"}]
        if trouble:
            failed[test] = (trouble[0].get("message") or "")[:300]
    return failed


class _Tokens(BaseHTTPRequestHandler):
    """Answers every request for a token with the one that emulators take."""

    def do_POST(self) -> None:
        """Hand out the token."""
        self.rfile.read(int(self.headers.get("content-length", "0")))
        body = json.dumps({"access_token": "owner", "expires_in": 3600, "token_type": "Bearer"})
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments: object) -> None:
        """Stay silent."""


@contextmanager
def _token_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Tokens)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
