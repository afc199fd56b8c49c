"""Downloading a bundle: continued by range, capped in bytes, rate and time, believed by hash."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx

from continuon_cloud.files import private_folder, sync_folder
from continuon_cloud.ota.errors import DownloadBrokeError, UpdateError
from continuon_cloud.ota.faults import FaultPoint, reach
from continuon_cloud.queue.backoff import RateLimit, backoff_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from continuon_cloud.ota.verification import VerifiedTarget

__all__ = ["BundleDownload", "DownloadLimits"]

_CONTENT_RANGE: Final = re.compile(r"^bytes ([0-9]+)-[0-9]+/(?:[0-9]+|\*)$")
_EXPIRED: Final = frozenset({400, 401, 403, 410})
_RANGE_NOT_SATISFIABLE: Final = 416


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """How patient a download is.

    Attributes:
        bytes_per_s: Cap of the rate; None for none.
        window_s: Over which the least rate is measured, in seconds.
        least_bytes_per_s: Below this a connection is given up and made anew. 1 KiB/s: a tenth of
            what GPRS brings.
        total_s: For one attempt, in seconds; a lease of the cloud lasts no longer.
        attempts: Breaks in a row, without a byte in between, before the attempt ends.
        slow_windows: Connections that were given up as too slow, before the attempt ends.
    """

    bytes_per_s: float | None = None
    window_s: float = 60.0
    least_bytes_per_s: float = 1024.0
    total_s: float = 4 * 3600.0
    attempts: int = 6
    slow_windows: int = 5


class _TooSlowError(Exception):
    """The connection brings next to nothing."""


class _ExpiredError(Exception):
    """The URL no longer opens anything."""


class BundleDownload:
    """The file of one bundle in ``folder``, whole or in part.

    The part's name is the hash that is signed, so a part is only ever continued to the same bundle.
    """

    def __init__(self, folder: Path, target: VerifiedTarget, limits: DownloadLimits) -> None:
        self._folder = private_folder(folder)
        self._target = target
        self._limits = limits
        self._rate = RateLimit(limits.bytes_per_s)
        self.path = folder / f"{target.sha256}.part"

    def missing_bytes(self) -> int:
        """Return how many bytes are still to come."""
        return max(self._target.size_bytes - self._have(), 0)

    async def run(
        self, http: httpx.AsyncClient, url: str, renew: Callable[[], Awaitable[str]]
    ) -> Path:
        """Download what is missing and return the verified file.

        Args:
            http: Follows no redirects.
            url: Reads the bundle; honours ``Range``.
            renew: Asks for another URL when this one has expired.

        Raises:
            DownloadBrokeError: The network or the time did not suffice; the part is kept.
            UpdateError: What came is not what is signed; the part is gone.
        """
        self._remove_others()
        # After a power cut the end of a part may be other bytes than were written. That is no
        # fault of the bundle: a part that was continued gets a second chance, from its beginning.
        chances = 2 if self._have() else 1
        try:
            async with asyncio.timeout(self._limits.total_s):
                while True:
                    await self._complete(http, url, renew)
                    chances -= 1
                    if await asyncio.to_thread(self._is_whole):
                        return self.path
                    self.path.unlink(missing_ok=True)
                    if not chances:
                        raise UpdateError(
                            "the downloaded bundle is not the signed one (SHA-256 differs)",
                            code="ota.corrupt",
                        )
        except TimeoutError as error:
            raise DownloadBrokeError("the download takes too long", code="ota.slow") from error

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)
        sync_folder(self._folder)
        reach(FaultPoint.DOWNLOAD_REMOVED)

    async def _complete(
        self, http: httpx.AsyncClient, url: str, renew: Callable[[], Awaitable[str]]
    ) -> None:
        failures = slow = 0
        while (have := self._have()) < self._target.size_bytes:
            try:
                await self._fetch(http, url, have)
            except _ExpiredError:
                failures += 1
                url = await renew()
            except _TooSlowError:
                slow += 1
            except (httpx.HTTPError, httpx.InvalidURL):
                failures = 1 if self._have() > have else failures + 1
            if failures >= self._limits.attempts:
                raise DownloadBrokeError("the download broke too often")
            if slow >= self._limits.slow_windows:
                raise DownloadBrokeError("the store sends next to nothing", code="ota.slow")
            if failures:
                await asyncio.sleep(backoff_s(failures))

    def _have(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    async def _fetch(self, http: httpx.AsyncClient, url: str, have: int) -> None:
        headers = {"accept-encoding": "identity"}
        if have:
            headers["range"] = f"bytes={have}-"
        try:
            # Connecting and headers: a server may also be slow there.
            async with asyncio.timeout(self._limits.window_s) as patience:
                async with http.stream("GET", url, headers=headers) as response:
                    patience.reschedule(None)
                    start = self._start(response, have)
                    await self._write(response, start)
        except TimeoutError as error:
            raise _TooSlowError from error

    def _start(self, response: httpx.Response, have: int) -> int:
        if response.status_code in _EXPIRED:
            raise _ExpiredError
        if response.status_code == _RANGE_NOT_SATISFIABLE:
            self.path.unlink(missing_ok=True)
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            found = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
            if found is None or int(found[1]) != have:
                raise UpdateError("the store answers another range", code="ota.wrong_range")
            return have
        if response.status_code != httpx.codes.OK:
            raise httpx.HTTPStatusError("", request=response.request, response=response)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise UpdateError("the store compressed the bundle", code="ota.encoded")
        return 0

    async def _write(self, response: httpx.Response, start: int) -> None:
        window = _Window(self._limits)
        with self.path.open("r+b" if start else "wb") as part:
            part.seek(start)
            try:
                async for piece in response.aiter_raw():
                    window.take(len(piece))
                    start += len(piece)
                    if start > self._target.size_bytes:
                        self.path.unlink()
                        raise UpdateError("more bytes than are signed", code="ota.too_long")
                    reach(FaultPoint.DOWNLOAD_WRITING)
                    part.write(piece)
                    await self._within_cap(window, len(piece))
            finally:
                part.flush()
                os.fsync(part.fileno())
        sync_folder(self._folder)
        reach(FaultPoint.DOWNLOAD_SYNCED)

    async def _within_cap(self, window: _Window, size_bytes: int) -> None:
        before = time.monotonic()
        await self._rate.take(size_bytes)
        window.pause(time.monotonic() - before)

    def _is_whole(self) -> bool:
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest == self._target.sha256 and self._have() == self._target.size_bytes

    def _remove_others(self) -> None:
        for entry in self._folder.iterdir():
            if entry != self.path:
                with contextlib.suppress(OSError):
                    entry.unlink()


class _Window:
    """Measures the rate over windows of time; pauses of our own cap do not count."""

    def __init__(self, limits: DownloadLimits) -> None:
        self._limits = limits
        self._began = time.monotonic()
        self._paused_s = 0.0
        self._came = 0

    def pause(self, seconds: float) -> None:
        """Leave ``seconds`` out."""
        self._paused_s += seconds

    def take(self, size_bytes: int) -> None:
        """Count what arrived.

        Raises:
            _TooSlowError: A window ended with too little.
        """
        self._came += size_bytes
        elapsed_s = time.monotonic() - self._began - self._paused_s
        if elapsed_s < self._limits.window_s:
            return
        if self._came < self._limits.least_bytes_per_s * elapsed_s:
            raise _TooSlowError
        self._began, self._paused_s, self._came = time.monotonic(), 0.0, 0
