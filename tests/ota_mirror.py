"""A mirror between robot and cloud, over real HTTP, that can be told to lie.

It serves a `TrustBench`: metadata, bundles with ranges, and the two calls of the agent. Lies are
per path: other bytes, a status, a stream without an end, bytes that trickle.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from dataclasses import dataclass, field
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast

from continuon.ota.manifest import target_path
from ota_trust import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from ota_trust import TrustBench

__all__ = ["Lie", "Mirror", "running_mirror"]

METADATA = "/api/ota/metadata/"
BUNDLES = "/bundles/"
OK = 200
_RANGE = re.compile(r"bytes=([0-9]+)-$")


@dataclass(frozen=True)
class Lie:
    """What to answer instead of the truth.

    Attributes:
        data: This content.
        status: This status.
        endless: Repeats ``data`` and never ends.
        trickle_s: Waits this long before every byte.
        stall_headers: Sends a header line now and then, and never ends them.
        cut_after: Closes the connection after so many bytes.
        headers: In addition.
        times: How often; for ever when 0.
    """

    data: bytes | None = None
    status: int = 200
    endless: bool = False
    trickle_s: float = 0.0
    stall_headers: bool = False
    cut_after: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 0


@dataclass
class Mirror:
    """The mirror as a test sees it.

    Attributes:
        offer: Version that `check` offers; None says there is nothing.
        direction: Of the offer.
        changes: Fields of the offer that are replaced.
        lies: By path; the longest path that begins like the request's wins.
        requests: Method, path and range of every request, in order.
        checks: Bodies of `check`.
        reports: Bodies of `report` that were applied.
        last_sequence: What the cloud has applied last.
        date: What the mirror says the time is; the bench's own when None.
    """

    bench: TrustBench
    url: str = ""
    offer: str | None = None
    direction: str = "forward"
    changes: dict[str, Any] = field(default_factory=dict)
    lies: dict[str, Lie] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    last_sequence: int = 0
    date: datetime | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def phases(self) -> list[str]:
        """Return the phases that were reported, in order."""
        return [report["phase"] for report in self.reports]

    def error_codes(self) -> list[str]:
        """Return the codes of the errors that were reported."""
        return [report["error"]["code"] for report in self.reports if report.get("error")]

    def fetched(self, start: str) -> list[str]:
        """Return the paths that were asked for and begin with ``start``."""
        return [path for _, path, _ in self.requests if path.startswith(start)]

    # --- What the cloud would say ---------------------------------------------------------------

    def check(self, body: dict[str, Any]) -> dict[str, Any]:
        self.checks.append(body)
        if self.offer is None:
            return {"update": False, "reason": "up_to_date", "retry_after_s": 900}
        path = target_path(MODEL, self.offer)
        data = self.bench.bundles.get(path, b"")
        bundle = {
            "bundle_id": f"{MODEL}-{self.offer}",
            "version": self.offer,
            "target_path": path,
            "url": f"{self.url}{BUNDLES}{path}?signature=secret",
            "size_bytes": len(data),
            "sha256": "0" * 64,
            "direction": self.direction,
            **self.changes,
        }
        return {"update": True, "bundle": bundle, "lease_expires_at": "2036-01-01T00:00:00Z"}

    def report(self, body: dict[str, Any]) -> dict[str, Any]:
        applied = body["sequence"] > self.last_sequence
        if applied:
            self.last_sequence = body["sequence"]
            self.reports.append(body)
        return {"applied": applied, "last_sequence": self.last_sequence}

    def content(self, path: str) -> bytes | None:
        if path.startswith(METADATA):
            return self.bench.files.get(path.removeprefix(METADATA))
        if path.startswith(BUNDLES):
            return self.bench.bundles.get(path.removeprefix(BUNDLES))
        return None

    def lie_about(self, path: str) -> Lie | None:
        fitting = [start for start in self.lies if path.startswith(start)]
        if not fitting:
            return None
        start = max(fitting, key=len)
        lie = self.lies[start]
        if lie.times == 1:
            del self.lies[start]
        elif lie.times:
            self.lies[start] = Lie(**{**lie.__dict__, "times": lie.times - 1})
        return lie


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    mirror: Mirror

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up on a lie are the point."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def mirror(self) -> Mirror:
        return cast("_Server", self.server).mirror

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        del timestamp
        return format_datetime(self.mirror.date or self.mirror.bench.now, usegmt=True)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path = self.path.partition("?")[0]
        self.mirror.requests.append(("POST", path, None))
        lie = self.mirror.lie_about(path)
        if lie is not None and lie.status != OK:
            self._lie(lie, lie.data or b"")
            return
        is_check = path == "/api/ota/check"
        answer = self.mirror.check(body) if is_check else self.mirror.report(body)
        if lie is not None:
            # Done all the same: only the answer is lost.
            self._lie(lie, lie.data or b"")
            return
        self._send(OK, json.dumps(answer).encode(), {})

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.mirror.requests.append(("GET", path, self.headers.get("range")))
        content = self.mirror.content(path)
        lie = self.mirror.lie_about(path)
        if lie is not None:
            self._lie(lie, lie.data if lie.data is not None else content or b"")
        elif content is None:
            self._send(404, b"", {})
        else:
            self._range(content)

    def _range(self, content: bytes) -> None:
        asked = _RANGE.match(self.headers.get("range") or "")
        if asked is None:
            self._send(200, content, {})
            return
        start = int(asked[1])
        if start >= len(content):
            self._send(416, b"", {})
            return
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206, content[start:], {"content-range": span})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _lie(self, lie: Lie, content: bytes) -> None:
        if lie.stall_headers:
            self._stall()
            return
        if not (lie.endless or lie.trickle_s or lie.cut_after is not None):
            self._send(lie.status, content, lie.headers)
            return
        asked = _RANGE.match(self.headers.get("range") or "")
        start = int(asked[1]) if asked and lie.data is None else 0
        self.send_response(206 if start else lie.status)
        if start:
            self.send_header("content-range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if not lie.endless:
            self.send_header("content-length", str(len(content) - start))
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        self._stream(lie, content[start:])

    def _stream(self, lie: Lie, content: bytes) -> None:
        if lie.cut_after is not None:
            self.wfile.write(content[: lie.cut_after])
        while lie.endless and not self.mirror.stop.is_set():
            self.wfile.write(content or bytes(4096))
        for byte in content if lie.trickle_s else b"":
            if self.mirror.stop.wait(lie.trickle_s):
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()

    def _stall(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.mirror.stop.wait(0.05):
            self.wfile.write(b"x-wait: 1\r\n")
            self.wfile.flush()


@contextlib.contextmanager
def running_mirror(bench: TrustBench) -> Iterator[Mirror]:
    """Serve ``bench`` on a free port of loopback."""
    server = _Server(("127.0.0.1", 0), _Handler)
    mirror = Mirror(bench, url=f"http://127.0.0.1:{server.server_address[1]}")
    server.mirror = mirror
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield mirror
    finally:
        mirror.stop.set()
        server.shutdown()
        thread.join(10)
        server.server_close()
