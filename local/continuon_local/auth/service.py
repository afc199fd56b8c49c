"""The Auth service of the local cloud: Firebase Authentication in emulator mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.auth.admin import AdminCalls
from continuon_local.auth.app import create_app
from continuon_local.auth.faults import faulty_app
from continuon_local.auth.store import AuthStore
from continuon_local.auth.users import UserCalls
from continuon_local.http_server import HttpServer

if TYPE_CHECKING:
    from continuon_local.service import ServiceContext

__all__ = ["AuthService"]


class AuthService:
    """Serves Identity Toolkit and Secure Token on one port; accounts live in ``auth.db``.

    Point clients at it with ``FIREBASE_AUTH_EMULATOR_HOST=127.0.0.1:PORT``.
    """

    name = "auth"

    def __init__(self, context: ServiceContext, *, port: int) -> None:
        self._context = context
        self._asked_port = port
        self._store: AuthStore | None = None
        self._server: HttpServer | None = None

    @property
    def port(self) -> int:
        """The bound port, once :meth:`start` has returned."""
        return self._asked_port if self._server is None else self._server.port

    async def start(self) -> None:
        """Open the data, bind the port, begin to serve."""
        context = self._context
        folder = context.data_dir
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._store = AuthStore(None if folder is None else folder / "auth.db")
        users = UserCalls(self._store, context.clock, context.project_id)
        admins = AdminCalls(self._store, context.clock)
        app = faulty_app(create_app(users, admins, context.project_id), context.faults)
        self._server = HttpServer(app, host=context.host, port=self._asked_port)
        await self._server.start()

    async def stop(self) -> None:
        """Finish open requests, close the port and the data. Safe to call twice."""
        if self._server is not None:
            await self._server.stop()
        if self._store is not None:
            self._store.close()
            self._store = None
