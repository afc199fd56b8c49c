"""Storing a file under a granted URL, in one piece or in a resumable session."""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import httpx

from continuon.contracts.problems import Problem
from continuon_cloud.errors import ApiProblem, UnreachableError
from continuon_cloud.queue.backoff import backoff_s
from continuon_cloud.transport import seconds_until_retry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from continuon.contracts.episodes import SignedUpload

__all__ = ["file_sha256", "file_size", "store_file"]

CHUNK_BYTES: Final = 8 * 1024**2
"""Of one request of a session: what a broken link costs at most."""

_PIECE_BYTES: Final = 256 * 1024
_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
"""A store may take a while to answer after the last byte of a large object."""

_STORED: Final = frozenset({200, 201})
_EXISTS: Final = 412
_RESUME_INCOMPLETE: Final = 308
_SESSION_BREAKS: Final = 5
"""In a row, without a byte in between; then the caller asks for a new URL."""

_RANGE: Final = re.compile(r"^bytes=0-([0-9]{1,15})$")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_size(path: Path) -> int:
    """Return the bytes of a file."""
    return path.stat().st_size


@dataclass(frozen=True, slots=True)
class _Part:
    """Bytes of a file that one request sends."""

    path: Path
    offset: int
    length: int


async def store_file(http: httpx.AsyncClient, upload: SignedUpload, path: Path) -> None:
    """Send ``path`` as ``upload`` says.

    An object that is there already counts as stored: its name holds its digest, and the cloud
    compares it when a callback names it.

    Raises:
        UnreachableError: The network or the store failed; ask for a new URL and try again.
        ApiProblem: The store refuses; its status says whether to try again.
    """
    if upload.already_uploaded:
        return
    if upload.method == "POST":
        await _store_in_session(http, upload, path)
        return
    part = _Part(path, 0, file_size(path))
    headers = {**upload.headers, "content-length": str(part.length)}
    response = await _send(http, "PUT", upload.url, headers, part)
    if response.status_code not in _STORED | {_EXISTS}:
        raise _refused(response)


async def _store_in_session(http: httpx.AsyncClient, upload: SignedUpload, path: Path) -> None:
    started = await _send(http, "POST", upload.url, {**upload.headers, "content-length": "0"})
    if started.status_code == _EXISTS:
        return
    location = started.headers.get("location")
    if started.status_code not in _STORED or not location:
        raise _refused(started)
    uri = str(started.url.join(location))
    size, offset, breaks = file_size(path), 0, 0
    while offset < size:
        try:
            confirmed = await _send_chunk(http, uri, path, offset, size)
        except UnreachableError:
            breaks += 1
            if breaks == _SESSION_BREAKS:
                raise
            await asyncio.sleep(backoff_s(breaks))
            confirmed = await _confirmed_offset(http, uri, size, offset)
        breaks = 0 if confirmed > offset else breaks
        offset = confirmed


async def _send_chunk(http: httpx.AsyncClient, uri: str, path: Path, offset: int, size: int) -> int:
    length = min(CHUNK_BYTES, size - offset)
    headers = {
        "content-length": str(length),
        "content-range": f"bytes {offset}-{offset + length - 1}/{size}",
    }
    return _offset(await _send(http, "PUT", uri, headers, _Part(path, offset, length)), size)


async def _confirmed_offset(http: httpx.AsyncClient, uri: str, size: int, fallback: int) -> int:
    headers = {"content-length": "0", "content-range": f"bytes */{size}"}
    try:
        return _offset(await _send(http, "PUT", uri, headers), size)
    except UnreachableError:
        return fallback


def _offset(response: httpx.Response, size: int) -> int:
    if response.status_code in _STORED | {_EXISTS}:
        return size
    if response.status_code == _RESUME_INCOMPLETE:
        found = _RANGE.match(response.headers.get("range", ""))
        return min(int(found[1]) + 1, size) if found else 0
    if response.is_server_error:
        raise UnreachableError(f"the store answered {response.status_code}")
    raise _refused(response)


async def _send(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    headers: dict[str, str],
    part: _Part | None = None,
) -> httpx.Response:
    content = None if part is None else _pieces(part)
    try:
        return await http.request(method, url, headers=headers, content=content, timeout=_TIMEOUT)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        # The URL is a secret for as long as it works: only the kind of the failure is kept.
        raise UnreachableError(
            f"the connection to the store failed ({type(error).__name__})"
        ) from None


async def _pieces(part: _Part) -> AsyncIterator[bytes]:
    left = part.length
    with part.path.open("rb") as file:
        file.seek(part.offset)
        while left:
            piece = file.read(min(_PIECE_BYTES, left))
            if not piece:
                return
            left -= len(piece)
            yield piece


def _refused(response: httpx.Response) -> ApiProblem:
    problem = Problem(
        type="about:blank",
        title="The store refused.",
        status=response.status_code,
        detail=f"the store answered {response.status_code}",
        code=f"http.{response.status_code}",
    )
    retry_after_s = seconds_until_retry(response.headers, datetime.now(UTC))
    return ApiProblem(problem, retry_after_s=retry_after_s)
