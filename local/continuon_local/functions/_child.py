"""The process of one function: load it with the Functions Framework and serve it.

Started by path with ``python -P``, so that nothing but the framework and the codebase is importable
by accident. Descriptor ``argv[1]`` is a socket to the host: this process writes its port on it
once it accepts requests, and ends as soon as the other end closes, which happens whatever way the
host dies.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import functions_framework
import uvicorn

if TYPE_CHECKING:
    from collections.abc import Callable

KEEP_ALIVE_S = 24 * 3600
"""The host decides when a connection closes; an idle one never races with a request."""


class _AnnouncingServer(uvicorn.Server):
    """A server that says on ``control`` which port it serves."""

    def __init__(self, config: uvicorn.Config, control: socket.socket) -> None:
        super().__init__(config)
        self._control = control

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        self._control.sendall(f"{port}\n".encode())


def _end_with_host(control: socket.socket) -> None:
    control.recv(1)
    os.killpg(0, signal.SIGKILL)


def _attribution() -> Any:
    """Load the module beside this file by path; its package stays out of the function's reach."""
    path = Path(__file__).with_name("_attribution.py")
    spec = importlib.util.spec_from_file_location("_continuon_attribution", path)
    assert spec is not None  # noqa: S101 - a file path always has one
    assert spec.loader is not None  # noqa: S101 - same
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Serve ``FUNCTION_TARGET`` of ``FUNCTION_SOURCE`` on a free loopback port."""
    control = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_end_with_host, args=(control,), daemon=True).start()
    attribution = _attribution()
    attribution.install()
    create_app: Callable[[str, str, str], Any] = functions_framework.create_app
    app = create_app(
        os.environ["FUNCTION_TARGET"],
        os.environ["FUNCTION_SOURCE"],
        os.environ["FUNCTION_SIGNATURE_TYPE"],
    )
    if hasattr(app, "wsgi_app"):
        sys.exit("the function is not decorated with functions_framework.aio: it cannot be hosted")
    config = uvicorn.Config(
        attribution.remember_request(app),
        interface="asgi3",
        host="127.0.0.1",
        port=0,
        log_level="error",
        access_log=False,
        proxy_headers=False,  # as in production, where the proxy is not on loopback
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    _AnnouncingServer(config, control).run()


if __name__ == "__main__":
    main()
