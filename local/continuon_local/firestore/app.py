"""Everything that the Firestore port answers over HTTP/1.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from continuon_local.firestore.errors import not_found
from continuon_local.firestore.json_errors import error_document, http_status
from continuon_local.firestore.rest import RestApi, json_response
from continuon_local.firestore.rpc import SERVICE
from continuon_local.firestore.webchannel import WebChannel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from continuon_local.firestore.calls import Calls
    from continuon_local.firestore.emulator import EmulatorApi

    Answer = Callable[[Request, str], Awaitable[Response]]

__all__ = ["FirestoreApp"]

_EXPOSED = "X-HTTP-Session-Id, Content-Type, Vary, X-Firestore-Status"


def _allow_origin(request: Request, response: Response) -> None:
    """Let web pages read the answer, as Google's emulator does: it holds test data only."""
    origin = request.headers.get("origin")
    if origin is None:
        return
    headers = response.headers
    headers["access-control-allow-origin"] = origin
    headers["access-control-allow-credentials"] = "true"
    headers["access-control-expose-headers"] = _EXPOSED
    headers["vary"] = "Origin"


def _preflight(request: Request) -> Response:
    asked = request.headers.get("access-control-request-headers", "")
    return Response(
        status_code=204,
        headers={
            "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
            "access-control-allow-headers": asked,
            "access-control-max-age": "3600",
        },
    )


class FirestoreApp:
    """The ASGI application."""

    def __init__(self, calls: Calls, emulator: EmulatorApi) -> None:
        self._channel = WebChannel(calls)
        self._routes: dict[str, Answer] = {
            "/v1/": RestApi(calls).answer,
            "/emulator/v1/": emulator.answer,
            f"/{SERVICE}/": self._channel.answer,
        }

    async def stop(self) -> None:
        """End what is still open."""
        await self._channel.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        response = await self._answer(request)
        _allow_origin(request, response)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        # The raw path: an id may contain an escaped colon or percent sign.
        path = request.scope["raw_path"].decode("latin-1").partition("?")[0]
        if request.method == "OPTIONS":
            return _preflight(request)
        if path == "/" and request.method in {"GET", "HEAD"}:
            return PlainTextResponse("Ok\n")
        for prefix, answer in self._routes.items():
            if path.startswith(prefix):
                return await answer(request, path.removeprefix(prefix))
        error = not_found(f"There is nothing at {path}.")
        return json_response(error_document(error), http_status(error))
