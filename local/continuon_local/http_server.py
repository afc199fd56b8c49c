"""An ASGI application served by uvicorn inside the event loop that is already running."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

__all__ = ["HttpServer"]

STOP_GRACE_S = 3
"""How long :meth:`HttpServer.stop` waits for open requests before it cancels them, in seconds."""

_BACKLOG = 512
_STARTED_POLL_S = 0.005


class _QuietServer(uvicorn.Server):
    """A uvicorn server that leaves the signal handlers to the process that hosts it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """One application on one loopback port.

    Attributes:
        port: The bound port; before :meth:`start` the port that was asked for (0: any free one).
    """

    def __init__(self, app: ASGIApp, *, host: str, port: int) -> None:
        self.port = port
        self._host = host
        self._server = _QuietServer(
            uvicorn.Config(
                app,
                interface="asgi3",  # its guess takes a bound method for an ASGI 2 class
                lifespan="off",
                ws="none",
                proxy_headers=False,  # loopback is the client here, not a proxy to be believed
                log_config=None,
                access_log=False,
                log_level="warning",
                timeout_graceful_shutdown=STOP_GRACE_S,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bind the port and begin to serve.

        Raises:
            OSError: The port is taken.
        """
        listener = self._bind()
        self.port = listener.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._task.done():
                await self._task
            await asyncio.sleep(_STARTED_POLL_S)

    async def stop(self) -> None:
        """Finish open requests, close the port. Safe to call twice and before the start."""
        if self._task is None:
            return
        self._server.should_exit = True
        task, self._task = self._task, None
        await task

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Connections inherit it. asyncio sets it only where the socket names its protocol,
            # and without it an answer in two writes waits 40 ms for a delayed acknowledgement.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind((self._host, self.port))
            listener.listen(_BACKLOG)
            listener.settimeout(0)
        except OSError:
            listener.close()
            raise
        return listener
