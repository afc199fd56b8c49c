"""The storage service in a process of its own, and the unmodified Google client beside it."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from google.oauth2 import service_account

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from google.cloud.storage import Bucket, Client

BUCKET = "episodes"


@dataclass
class Running:
    """A service and how to reach it."""

    base: str
    data_dir: Path
    process: subprocess.Popen[str]

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.base.removeprefix("http://").partition(":")
        return host, int(port)

    def kill(self) -> None:
        """End it as a power cut would: without a chance to clean up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def events(self) -> list[tuple[str, str]]:
        with closing(sqlite3.connect(self.data_dir / "storage.db")) as connection:
            rows = connection.execute("SELECT type, subject FROM event_outbox ORDER BY position")
            return [(row[0].rpartition(".")[2], row[1]) for row in rows]

    def bodies(self) -> list[Path]:
        return [path for path in (self.data_dir / "storage").glob("?/*") if path.is_file()]


@contextmanager
def running(data_dir: Path) -> Iterator[Running]:
    """Start the storage service over ``data_dir``; end it if the test has not."""
    command = [sys.executable, "-m", "continuon_local.serve", "storage"]
    process = subprocess.Popen(  # noqa: S603 - this interpreter, our module
        [*command, "--data-dir", str(data_dir)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())["ports"]
        yield Running(f"http://127.0.0.1:{ports['storage']}", data_dir, process)
    finally:
        process.terminate()
        process.wait(15)
        if process.stdout is not None:
            process.stdout.close()


@dataclass
class Cloud:
    """A service with a bucket, seen through the Google client."""

    service: Running
    client: Client
    bucket: Bucket

    def sign(self, name: str, method: str, headers: Mapping[str, str] | None = None) -> str:
        load = service_account.Credentials.from_service_account_file
        key_file = self.service.data_dir / "service-account.json"
        arguments: dict[str, Any] = {
            "version": "v4",
            "expiration": timedelta(minutes=10),
            "method": method,
            "headers": dict(headers or {}),
            "credentials": load(key_file),  # type: ignore[no-untyped-call]
            "api_access_endpoint": self.service.base,
        }
        url: str = self.bucket.blob(name).generate_signed_url(**arguments)
        return url
