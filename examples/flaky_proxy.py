"""A forward HTTP proxy on loopback that breaks one large upload half-way.

It stands for the radio link of a robot: the first request with a body of at least
``break_from_bytes`` loses its connection after half of it, everything else passes.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

__all__ = ["FlakyProxy"]

_CHUNK_BYTES = 16 * 1024


class FlakyProxy:
    """Use as an asynchronous context manager; ``url`` is what ``HTTP_PROXY`` wants.

    Attributes:
        breaks: How many connections it has broken so far.
    """

    def __init__(self, *, break_from_bytes: int) -> None:
        self._break_from_bytes = break_from_bytes
        self._server: asyncio.Server | None = None
        self.breaks = 0

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    @property
    def url(self) -> str:
        """The proxy's address."""
        assert self._server is not None  # noqa: S101 - only inside the context
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        # Each side may go away at any moment: that is what this proxy is about.
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._relay(client, answer)
        answer.close()

    async def _relay(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        head = (await client.readuntil(b"\r\n\r\n")).decode("latin-1")
        request_line, *fields = head.split("\r\n")
        method, url, version = request_line.split(" ")
        target = urlsplit(url)
        headers = [f for f in fields if f and not f.lower().startswith(("connection", "proxy-"))]
        length = next((int(f[15:]) for f in headers if f.lower().startswith("content-length:")), 0)
        path = target.path + (f"?{target.query}" if target.query else "")
        upstream, out = await asyncio.open_connection(target.hostname, target.port or 80)
        lines = [f"{method} {path} {version}", *headers, "Connection: close", "", ""]
        out.write("\r\n".join(lines).encode("latin-1"))
        if length >= self._break_from_bytes and not self.breaks:
            self.breaks += 1
            await _copy(client, out, length // 2)
            out.transport.abort()
            answer.transport.abort()
            return
        await _copy(client, out, length)
        while chunk := await upstream.read(_CHUNK_BYTES):
            answer.write(chunk)
            await answer.drain()
        out.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, size: int) -> None:
    while size > 0 and (chunk := await source.read(min(size, _CHUNK_BYTES))):
        size -= len(chunk)
        target.write(chunk)
        await target.drain()
