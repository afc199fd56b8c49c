"""Sending one file to the object store, from the offset that the store confirms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import httpx

from continuon_cloud.queue.failures import (
    PermanentFailure,
    TemporaryFailure,
    describe,
    from_store,
)
from continuon_cloud.queue.faults import FaultPoint, reach

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from continuon_cloud.queue.backoff import RateLimit
    from continuon_cloud.queue.records import FileTask
    from continuon_cloud.queue.store import QueueStore

__all__ = ["CHUNK_QUANTUM_BYTES", "DEFAULT_CHUNK_BYTES", "Transfer"]

CHUNK_QUANTUM_BYTES: Final = 256 * 1024
"""Cloud Storage takes all chunks but the last in multiples of this."""

DEFAULT_CHUNK_BYTES: Final = 8 * 1024**2
"""Of one request of a resumable session: what a broken link costs at most, against a round trip."""

_PIECE_BYTES: Final = 64 * 1024
"""Read, limited and reported at once."""

_RESUME_INCOMPLETE: Final = 308
_RANGE: Final = re.compile(r"^bytes=0-([0-9]{1,15})$")
_STORED: Final = frozenset({200, 201})
_GONE: Final = frozenset({404, 410})
_UPLOAD_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
"""A store may take a while to answer after the last byte of a large object."""


class _SessionGoneError(Exception):
    """The store does not know the session any more."""


class Transfer:
    """Sends the files of one item."""

    def __init__(
        self,
        item_id: str,
        *,
        store: QueueStore,
        http: httpx.AsyncClient,
        limit: RateLimit,
        chunk_bytes: int,
        on_progress: Callable[[FileTask, int], None],
    ) -> None:
        self._item_id = item_id
        self._store = store
        self._http = http
        self._limit = limit
        self._chunk_bytes = chunk_bytes
        self._on_progress = on_progress

    async def send(self, file: FileTask) -> None:
        """Send ``file`` and note that the store has it.

        Raises:
            Failure: Of the kind that says what to do next. What was confirmed is kept.
        """
        if file.done:
            return
        _refuse_if_changed(file)
        if file.resumable or file.session_uri:
            await self._send_in_session(file)
        else:
            await self._send_whole(file)
        reach(FaultPoint.FILE_STORED)
        self._store.stored(self._item_id, file.position)
        reach(FaultPoint.FILE_SAVED)
        self._on_progress(file, file.size_bytes)

    async def _send_whole(self, file: FileTask) -> None:
        response = await self._request(
            file.method,
            file.url or "",
            headers={**file.headers, "content-length": str(file.size_bytes)},
            content=self._bytes(file, 0, file.size_bytes),
        )
        if response.status_code not in _STORED:
            raise from_store(response)

    async def _send_in_session(self, file: FileTask) -> None:
        uri, offset = file.session_uri, 0
        if uri is not None:
            try:
                offset = await self._query(file, uri)
            except _SessionGoneError:
                self._store.session(self._item_id, file.position, None)
                uri = None
        if uri is None:
            uri = await self._start(file)
        if file.size_bytes == 0:
            # There is no byte to send; naming the total is what finishes an empty object.
            await self._query(file, uri)
        while offset < file.size_bytes:
            offset = await self._send_chunk(file, uri, offset)

    async def _start(self, file: FileTask) -> str:
        response = await self._request(
            "POST", file.url or "", headers={**file.headers, "content-length": "0"}
        )
        location = response.headers.get("location")
        if response.status_code not in _STORED or not location:
            raise from_store(response)
        reach(FaultPoint.SESSION_STARTED)
        uri = str(response.url.join(location))
        self._store.session(self._item_id, file.position, uri)
        reach(FaultPoint.SESSION_SAVED)
        return uri

    async def _query(self, file: FileTask, uri: str) -> int:
        """Return the offset up to which the store has the file."""
        response = await self._request(
            "PUT",
            uri,
            headers={"content-length": "0", "content-range": f"bytes */{file.size_bytes}"},
        )
        return self._confirmed(file, response)

    async def _send_chunk(self, file: FileTask, uri: str, offset: int) -> int:
        length = min(self._chunk_bytes, file.size_bytes - offset)
        span = f"bytes {offset}-{offset + length - 1}/{file.size_bytes}"
        try:
            response = await self._request(
                "PUT",
                uri,
                headers={"content-length": str(length), "content-range": span},
                content=self._bytes(file, offset, length),
            )
            reach(FaultPoint.CHUNK_ANSWERED)
            confirmed = self._confirmed(file, response)
        except _SessionGoneError as error:
            self._store.session(self._item_id, file.position, None)
            raise TemporaryFailure(
                describe("storage.session_gone", "The upload session ended.")
            ) from error
        reach(FaultPoint.CHUNK_SAVED)
        if confirmed <= offset:
            raise TemporaryFailure(
                describe("storage.no_progress", "The store kept nothing of what was sent.")
            )
        return confirmed

    def _confirmed(self, file: FileTask, response: httpx.Response) -> int:
        """Read the store's word on how much it has, and keep it."""
        status = response.status_code
        if status in _GONE:
            raise _SessionGoneError
        if status in _STORED:
            return file.size_bytes
        if status != _RESUME_INCOMPLETE:
            raise from_store(response)
        found = _RANGE.match(response.headers.get("range", ""))
        confirmed = min(int(found[1]) + 1, file.size_bytes) if found else 0
        self._store.progressed(self._item_id, file.position, confirmed)
        self._on_progress(file, confirmed)
        return confirmed

    async def _request(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str],
        content: AsyncIterator[bytes] | None = None,
    ) -> httpx.Response:
        try:
            return await self._http.request(
                method, url, headers=headers, content=content, timeout=_UPLOAD_TIMEOUT
            )
        except (httpx.TransportError, httpx.InvalidURL) as error:
            # The URL is a secret for as long as it works: only the kind of the failure is kept.
            raise TemporaryFailure(
                describe(
                    "network.broken",
                    "The connection to the object store failed.",
                    detail=type(error).__name__,
                )
            ) from error
        except OSError as error:
            # From reading the source. If it is gone or changed, the next attempt sets it aside.
            raise TemporaryFailure(
                describe(
                    "source.unreadable", "The file cannot be read.", detail=error.strerror or ""
                )
            ) from error

    async def _bytes(self, file: FileTask, offset: int, length: int) -> AsyncIterator[bytes]:
        sent, end = offset, offset + length
        with file.source.open("rb") as content:
            content.seek(offset)
            while sent < end:
                piece = content.read(min(_PIECE_BYTES, end - sent))
                if not piece:
                    return
                await self._limit.take(len(piece))
                reach(FaultPoint.BYTES_MOVING)
                yield piece
                sent += len(piece)
                self._on_progress(file, sent)


def _refuse_if_changed(file: FileTask) -> None:
    try:
        now = file.source.stat()
    except OSError:
        now = None
    if now is None or (now.st_size, now.st_mtime_ns) != (file.size_bytes, file.mtime_ns):
        raise PermanentFailure(
            describe(
                "source.changed",
                "The file is gone or is not what was queued.",
                detail=f"{file.source} changed after it was added; add the episode again.",
            )
        )
