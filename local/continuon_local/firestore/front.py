"""One port for gRPC and HTTP/1.1, as Google's emulator has it.

The first bytes of a connection tell: gRPC's client preface begins ``PRI``, which is no HTTP/1.1
method. An HTTP/1.1 connection is handed to the web server whole, for the bytes were only peeked
at. A gRPC connection is relayed to gRPC's own socket, because its server takes no connection that
somebody else accepted; the relay forwards what the kernel has in one receive and one send.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["Front"]

_PREFACE = b"PRI "
_BACKLOG = 512
_CHUNK_BYTES = 256 * 1024
"""One receive of the relay; it is also all that the relay ever holds of one direction."""

_SHORT_READ_WAIT_S = 0.005
"""A client that has sent less than four bytes is looked at again after so long."""

_STOP_GRACE_S = 1.0


def _unwatch(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    loop.remove_reader(sock)
    loop.remove_writer(sock)


class _Relay:
    """Two sockets, what comes in at one goes out at the other."""

    def __init__(self, front: Front, client: socket.socket, server: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._front = front
        self._ends = (client, server)
        self._closed_ways = 0
        for source, target in ((client, server), (server, client)):
            self._loop.add_reader(source, self._forward, source, target)

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        buffer = self._front.buffer
        sent = 0
        try:
            count = source.recv_into(buffer)
            with contextlib.suppress(BlockingIOError):
                sent = target.send(buffer[:count]) if count else 0
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not count:
            self._finish(source, target)
        elif sent < count:
            self._loop.remove_reader(source)
            self._loop.add_writer(target, self._flush, source, target, bytes(buffer[sent:count]))

    def _flush(self, source: socket.socket, target: socket.socket, rest: bytes) -> None:
        try:
            sent = target.send(rest)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if sent < len(rest):
            self._loop.add_writer(target, self._flush, source, target, rest[sent:])
            return
        self._loop.remove_writer(target)
        self._loop.add_reader(source, self._forward, source, target)

    def _finish(self, source: socket.socket, target: socket.socket) -> None:
        """One side has said all it will say."""
        self._loop.remove_reader(source)
        self._closed_ways += 1
        if self._closed_ways == len(self._ends):
            self.close()
        else:
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close both ends."""
        for end in self._ends:
            if end.fileno() >= 0:
                _unwatch(self._loop, end)
                end.close()
        self._front.relays.discard(self)


class Front:
    """Accepts connections and hands each to who speaks its protocol.

    Args:
        app: Answers HTTP/1.1.
        grpc_path: The UNIX socket on which gRPC listens.
        host: The address to bind.
        port: The port to bind, 0 for a free one.

    Attributes:
        port: The bound port.
        relays: The gRPC connections open.
        buffer: What every relay receives into; only one does at a time.
    """

    def __init__(self, app: ASGIApp, grpc_path: str, *, host: str, port: int) -> None:
        self.port = port
        self.relays: set[_Relay] = set()
        self.buffer = memoryview(bytearray(_CHUNK_BYTES))
        self._host = host
        self._grpc_path = grpc_path
        self._state = ServerState()
        self._config = uvicorn.Config(
            app,
            interface="asgi3",
            lifespan="off",
            ws="none",
            proxy_headers=False,  # loopback is the client here, not a proxy to be believed
            log_config=None,
            access_log=False,
            log_level="warning",
        )
        self._config.load()
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bind the port and begin to accept.

        Raises:
            OSError: The port is taken.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind((self._host, self.port))
            listener.listen(_BACKLOG)
            listener.setblocking(False)  # noqa: FBT003 - the signature is the library's
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self.port = listener.getsockname()[1]
        self._spawn(self._accept(listener))

    def _spawn(self, coroutine: object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError:
                # Out of file descriptors, or the client has already gone.
                await asyncio.sleep(_SHORT_READ_WAIT_S)
                continue
            self._spawn(self._dispatch(connection))

    async def _dispatch(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)  # noqa: FBT003 - the signature is the library's
            head = await self._peek(connection)
            if head == _PREFACE:
                await self._relay(connection)
            elif head:
                await self._serve_http(connection)
            else:
                connection.close()
        except (OSError, asyncio.CancelledError):
            connection.close()

    async def _peek(self, connection: socket.socket) -> bytes:
        """Return the first bytes as soon as they tell what they begin, or nothing."""
        while True:
            await self._readable(connection)
            head = connection.recv(len(_PREFACE), socket.MSG_PEEK)
            if len(head) == len(_PREFACE) or not _PREFACE.startswith(head) or not head:
                return head
            await asyncio.sleep(_SHORT_READ_WAIT_S)

    async def _readable(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not readable.done():
                readable.set_result(None)

        loop.add_reader(connection, wake)
        try:
            await readable
        finally:
            loop.remove_reader(connection)

    async def _relay(self, connection: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server.setblocking(False)  # noqa: FBT003 - the signature is the library's
            await asyncio.get_running_loop().sock_connect(server, self._grpc_path)
        except BaseException:
            server.close()
            raise
        self.relays.add(_Relay(self, connection, server))

    async def _serve_http(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        kind = self._config.http_protocol_class
        protocol: asyncio.Protocol = kind(  # type: ignore[call-arg]
            config=self._config, server_state=self._state, app_state={}
        )
        return protocol

    async def stop(self) -> None:
        """Close the port, let open answers end, then close what is left. Safe to call twice."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in tuple(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            _, late = await asyncio.wait(self._state.tasks, timeout=_STOP_GRACE_S)
            for running in late:
                running.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for relay in tuple(self.relays):
            relay.close()
