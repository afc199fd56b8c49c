"""Forwards one ASGI request to a function's process, streaming both ways."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpcore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from starlette.types import Receive, Scope, Send

    from continuon_local.functions.process import FunctionProcess

__all__ = ["MAX_REQUEST_BYTES", "Headers", "Outcome", "answer", "forward", "request"]

Header = tuple[bytes, bytes]
Headers = list[Header]

MAX_REQUEST_BYTES = 32 * 1024 * 1024
"""The largest request over HTTP/1 that Cloud Run functions take, in bytes."""

_DYING_S = 1.0
"""How long a process that closed a connection is given to be gone, in seconds."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that are about one connection and never forwarded (RFC 9110, section 7.6.1)."""


class _TooLargeError(Exception):
    """The body is longer than :data:`MAX_REQUEST_BYTES`."""


class _GoneError(Exception):
    """The client closed the connection before the request was complete."""


class Outcome:
    """How far the answer got."""

    def __init__(self) -> None:
        self.started = False
        self.status = 0


async def answer(send: Send, status: int, text: str, headers: Sequence[Header] = ()) -> None:
    """Send a whole answer: plain text, unless ``headers`` name another content type."""
    body = text.encode()
    fixed = [(b"content-length", str(len(body)).encode())]
    if not any(name == b"content-type" for name, _ in headers):
        fixed.append((b"content-type", b"text/plain; charset=utf-8"))
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})


async def forward(
    process: FunctionProcess,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    target: bytes,
    headers: Headers,
    timeout_s: float,
) -> Outcome:
    """Send the request of ``scope`` to ``process`` as ``target`` and stream the answer back.

    Failures become answers, as the platform gives them: 413 for a body over the limit, 504 after
    ``timeout_s``, 502 when the process dies under the request. An answer that has begun is cut off.
    The time that a cold start takes does not count.

    Raises:
        StartError: The process could not be started.
    """
    outcome = Outcome()
    if _declared_length(scope) <= MAX_REQUEST_BYTES:
        await process.connections()
    try:
        async with asyncio.timeout(timeout_s):
            await _exchange(process, scope, receive, send, target, headers, outcome)
    except TimeoutError:
        await _fail(send, outcome, 504, "upstream request timeout")
    except _TooLargeError:
        await _fail(send, outcome, 413, "the request is larger than 32 MiB")
    except _GoneError:
        outcome.status = 499
    except (httpcore.NetworkError, httpcore.ProtocolError):
        # A dying process may accept one more connection; answer when the next finds another one.
        await process.gone(_DYING_S)
        await _fail(send, outcome, 502, "the function ended before it answered")
    return outcome


async def _fail(send: Send, outcome: Outcome, status: int, text: str) -> None:
    if not outcome.started:
        await answer(send, status, text)
    outcome.status = status


async def _exchange(  # noqa: PLR0917 - private, called once
    process: FunctionProcess,
    scope: Scope,
    receive: Receive,
    send: Send,
    target: bytes,
    headers: Headers,
    outcome: Outcome,
) -> None:
    if _declared_length(scope) > MAX_REQUEST_BYTES:
        raise _TooLargeError
    response = await request(
        process, scope["method"], target, _framed(headers, scope), _body(receive)
    )
    try:
        await _relay(response, send, outcome)
    finally:
        await response.aclose()


async def request(
    process: FunctionProcess,
    method: str,
    target: bytes,
    headers: Headers,
    body: bytes | AsyncIterator[bytes],
) -> httpcore.Response:
    """Send one request to ``process``, starting it where needed; the answer's body is unread.

    A refused connection means that the process just died and that nothing was sent: a new process
    gets the request.
    """
    for last in (False, True):
        pool = await process.connections()
        url = httpcore.URL(scheme=b"http", host=b"127.0.0.1", port=process.port, target=target)
        message = httpcore.Request(method, url, headers=headers, content=body)
        try:
            return await pool.handle_async_request(message)
        except httpcore.ConnectError:
            if last:
                raise
            await process.gone()
    raise AssertionError  # pragma: no cover - the second round returns or raises


async def _relay(response: httpcore.Response, send: Send, outcome: Outcome) -> None:
    outcome.status = response.status
    outcome.started = True
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": [
                (name, value)
                for name, value in response.headers
                if name.lower() not in HOP_BY_HOP and name.lower() not in {b"server", b"date"}
            ],
        }
    )
    async for chunk in response.aiter_stream():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value)
    return 0


def _framed(headers: Headers, scope: Scope) -> Headers:
    kept = [(name, value) for name, value in headers if name not in HOP_BY_HOP]
    if any(name == b"transfer-encoding" for name, _ in scope["headers"]):
        kept.append((b"transfer-encoding", b"chunked"))
    return kept


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > MAX_REQUEST_BYTES:
            raise _TooLargeError
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            return
