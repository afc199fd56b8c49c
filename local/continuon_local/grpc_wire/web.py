"""HTTP/1.1 connections, served by uvicorn's protocol."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["Web"]


class Web:
    """Makes the protocols of HTTP/1.1 connections, and ends them.

    Args:
        app: Answers.
    """

    def __init__(self, app: ASGIApp) -> None:
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

    def protocol(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        kind = self._config.http_protocol_class
        protocol: asyncio.Protocol = kind(  # type: ignore[call-arg]
            config=self._config, server_state=self._state, app_state={}
        )
        return protocol

    async def stop(self, grace_s: float) -> None:
        """Let open answers end for so many seconds, then end what is left."""
        for connection in tuple(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            _, late = await asyncio.wait(self._state.tasks, timeout=grace_s)
            for running in late:
                running.cancel()
            await asyncio.gather(*late, return_exceptions=True)
