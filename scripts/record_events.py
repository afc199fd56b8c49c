"""Record what Google's Firestore emulator posts to a functions emulator.

Writes ``tests/events/recorded/firestore_emulator.json``; needs Java, the Google Cloud CLI and its
component ``cloud-firestore-emulator``. The steps are those of the recording that is there.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDING = Path(__file__).parents[1] / "tests" / "events" / "recorded" / "firestore_emulator.json"
PROJECT = "demo-continuon"
_CLASS = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
_JAR = Path("platform", "cloud-firestore-emulator", "cloud-firestore-emulator.jar")
_DELIVERIES = 4
_SETTLE_S = 1.0
_TIMEOUT_S = 30.0


class _Recorder(ThreadingHTTPServer):
    """Takes every POST and answers 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.taken: list[dict[str, Any]] = []


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Write down path, CloudEvents headers and body."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        kept = {
            name.lower(): value
            for name, value in self.headers.items()
            if name.lower().startswith("ce-") or name.lower() == "content-type"
        }
        assert isinstance(self.server, _Recorder)  # noqa: S101 - it made this handler
        self.server.taken.append({"path": self.path, "headers": kept, "body": body.decode()})
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def _command() -> list[str]:
    java, gcloud = shutil.which("java"), shutil.which("gcloud")
    if java is None or gcloud is None:
        sys.exit("Java and the Google Cloud CLI are needed")
    found = subprocess.run(  # noqa: S603 - the CLI that was just found
        [gcloud, "info", "--format=value(installation.sdk_root)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [java, "-cp", str(Path(found.stdout.strip()) / _JAR), _CLASS]


@contextmanager
def _emulator(command: list[str], functions_port: int) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--host=127.0.0.1", f"--port={port}"]
    options.append(f"--functions_emulator=127.0.0.1:{functions_port}")
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([*command, "start", *options], stdout=quiet, stderr=quiet)  # noqa: S603 - same
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(_TIMEOUT_S)


def _call(method: str, url: str, body: Any) -> None:
    request = urllib.request.Request(  # noqa: S310 - http, on loopback
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json", "authorization": "Bearer owner"},
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310 - same
        return


def _wait_for_answer(url: str) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            _call("GET", url, None)
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _register(url: str) -> None:
    for kind in ("created", "updated", "deleted", "written"):
        for key, suffix in (("", ""), ("-auth", ".withAuthContext")):
            trigger = f"eventarcTrigger?eventarcTriggerId=us-central1-{kind}{key}-0"
            body = {
                "eventType": f"google.cloud.firestore.document.v1.{kind}{suffix}",
                "database": "(default)",
                "namespace": "(default)",
                "document": {"value": "users/{uid}", "matchType": "PATH_PATTERN"},
            }
            _call("POST", f"{url}/emulator/v1/projects/{PROJECT}/{trigger}", body)


def _deliveries(recorder: _Recorder) -> list[dict[str, Any]]:
    deadline = time.monotonic() + _TIMEOUT_S
    while len(recorder.taken) < _DELIVERIES and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(_SETTLE_S)
    taken, recorder.taken = recorder.taken, []
    return sorted(taken, key=lambda one: str(one["path"]))


def main() -> None:
    """Repeat every step of the recording and write down what it delivers now."""
    recording = json.loads(RECORDING.read_text(encoding="utf-8"))
    command, recorder = _command(), _Recorder()
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)  # noqa: S603 - same
    threading.Thread(target=recorder.serve_forever, daemon=True).start()
    with _emulator(command, recorder.server_address[1]) as url:
        _wait_for_answer(f"{url}/")
        _register(url)
        for step in recording["steps"]:
            _call(step["method"], url + step["path"], step["body"])
            step["deliveries"] = _deliveries(recorder)
            print(step["step"], len(step["deliveries"]))
    recorder.shutdown()
    recording["recorded_from"] = version.stdout.split("\n")[0].strip()
    RECORDING.write_text(
        json.dumps(recording, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
