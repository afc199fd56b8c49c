"""One port for gRPC and HTTP/1.1, as Google's emulators have it.

The first bytes of a connection tell: HTTP/2's client preface begins ``PRI``, which is no method of
HTTP/1.1. Whoever speaks what comes takes the connection over, with the bytes read so far.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from continuon_local.grpc_wire.connection import Connection

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from continuon_local.grpc_wire.connection import Resolve

__all__ = ["Port"]

_PREFACE = b"PRI "
_BACKLOG = 512
_STOP_GRACE_S = 1.0


class _Undecided(asyncio.Protocol):
    """A connection whose first bytes have not come yet."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A stream's; uvloop's has no common class with asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._port.undecided.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the base's signature
        self._port.undecided.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._head += data
        if len(self._head) < len(_PREFACE) and _PREFACE.startswith(self._head):
            return
        transport = self._transport
        self._port.undecided.discard(transport)
        protocol = self._port.protocol(is_http2=self._head.startswith(_PREFACE))
        if protocol is None:
            transport.close()
            return
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(self._head)


class Port:
    """Accepts connections and hands each to who speaks its protocol.

    Args:
        resolve: Returns what serves a gRPC call, by its path.
        limit: The largest gRPC message of a client, in bytes.
        app: Answers HTTP/1.1; None for nobody does.
        host: The address to bind.
        port: The port to bind, 0 for a free one.

    Attributes:
        port: The bound port.
        undecided: Connections that have not said enough yet.
    """

    def __init__(
        self, resolve: Resolve, *, limit: int, app: ASGIApp | None, host: str, port: int
    ) -> None:
        self.port = port
        self.undecided: set[asyncio.Transport] = set()
        self._resolve = resolve
        self._limit = limit
        self._app = app
        self._host = host
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._web: Any = None

    async def start(self) -> None:
        """Bind the port and begin to accept.

        Raises:
            OSError: The port is taken.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Undecided(self), self._host, self.port, backlog=_BACKLOG
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def protocol(self, *, is_http2: bool) -> asyncio.Protocol | None:
        """Return who takes over a connection; None where nobody speaks what comes."""
        if is_http2:
            return Connection(self._resolve, self._limit, self._connections)
        if self._app is None:
            return None
        if self._web is None:
            # Only now: many a process never hears anything but gRPC.
            from continuon_local.grpc_wire.web import Web  # noqa: PLC0415

            self._web = Web(self._app)
        protocol: asyncio.Protocol = self._web.protocol()
        return protocol

    async def stop(self, grace_s: float = _STOP_GRACE_S) -> None:
        """Close the port, let calls in progress end, then close what is left. Safe to call twice.

        Args:
            grace_s: How long calls may take to end, in seconds.
        """
        if self._server is not None:
            self._server.close()
            self._server = None
        for transport in tuple(self.undecided):
            transport.close()
        for connection in tuple(self._connections):
            connection.say_goodbye()
        tasks = [
            call.task
            for connection in self._connections
            for call in connection.calls.values()
            if call.task is not None
        ]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        for connection in tuple(self._connections):
            connection.close()
        if self._web is not None:
            await self._web.stop(grace_s)
        await asyncio.sleep(0)
