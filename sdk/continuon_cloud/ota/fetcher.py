"""Fetching metadata: at most so many bytes, in at most so many seconds, redirected nowhere."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import httpx
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    SlowRetrievalError,
)
from tuf.ngclient import FetcherInterface

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from continuon_cloud.ota.clock import TrustedClock

__all__ = ["METADATA_DEADLINE_S", "CappedFetcher"]

METADATA_DEADLINE_S: Final = 60.0
"""For one file from the first byte sent to the last received. At most 2 MB: 34 kB/s."""

_MAX_BYTES: Final = 2 * 1024 * 1024


class CappedFetcher(FetcherInterface):
    """Fetches on the event loop for the thread in which the verifier runs.

    The deadline covers everything, headers included: a timeout for each read alone would let a
    server that sends a byte every few seconds hold the robot for days.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        loop: asyncio.AbstractEventLoop,
        clock: TrustedClock,
        *,
        deadline_s: float = METADATA_DEADLINE_S,
    ) -> None:
        self._http = http
        self._loop = loop
        self._clock = clock
        self._deadline_s = deadline_s

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield self.download_bytes(url, _MAX_BYTES)

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Return the content of ``url``.

        Raises:
            DownloadLengthMismatchError: It is longer than ``max_length``.
            SlowRetrievalError: It took longer than the deadline.
            DownloadHTTPError: The answer is not 200.
            DownloadError: There is no answer.
        """
        return self._wait(self._get(url, max_length))

    def _wait(self, work: Coroutine[None, None, bytes]) -> bytes:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _get(self, url: str, max_length: int) -> bytes:
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._read(url, max_length)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise SlowRetrievalError(f"{_file(url)} takes too long") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DownloadError(f"{_file(url)}: {type(error).__name__}") from error

    async def _read(self, url: str, max_length: int) -> bytes:
        # Not compressed: a cap on what arrives would not be one on what it unpacks to.
        headers = {"accept-encoding": "identity", "cache-control": "no-cache"}
        async with self._http.stream("GET", url, headers=headers) as response:
            self._note_date(response)
            if response.status_code != httpx.codes.OK:
                raise DownloadHTTPError(
                    f"{_file(url)}: HTTP {response.status_code}", response.status_code
                )
            if response.headers.get("content-encoding", "identity") != "identity":
                raise DownloadError(f"{_file(url)} is compressed, which was not asked for")
            content = bytearray()
            async for piece in response.aiter_raw():
                content += piece
                if len(content) > max_length:
                    raise DownloadLengthMismatchError(f"{_file(url)} is longer than {max_length}")
            return bytes(content)

    def _note_date(self, response: httpx.Response) -> None:
        try:
            moment = parsedate_to_datetime(response.headers.get("date", ""))
        except ValueError:
            return
        if moment.tzinfo is not None:
            self._clock.hear(moment)


def _file(url: str) -> str:
    return url.rpartition("/")[2][:100]
