"""Where the services' faults reach the wire: around gRPC's handlers, and around an application.

A service that no rule is about is passed straight through, at the price of one look-up.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.requests import Request

from continuon_local.grpc_wire.codes import CallError, Code
from continuon_local.service_faults import RETRY_AFTER_S, canonical_code, http_status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from continuon_local.grpc_wire.call import Call, Handler
    from continuon_local.grpc_wire.connection import Resolve
    from continuon_local.service_faults import ServiceFault, ServiceFaults

    Serve = Callable[[Call], Awaitable[None]]
    Refusal = Callable[[Request, int, str, str], Response]

__all__ = ["FaultyApp", "faulty_calls"]

_RETRIED = frozenset({429, 503})


def _message(code: str | int) -> str:
    return f"The fault plan of the local cloud answers {code} here."


async def _sleep_ms(wait_ms: int) -> None:
    if wait_ms:
        await asyncio.sleep(wait_ms / 1000)


def faulty_calls(resolve: Resolve, faults: ServiceFaults, service: str) -> Resolve:
    """Return handlers whose calls may fail on purpose.

    Args:
        resolve: Returns the handler of a path, to be wrapped.
        faults: Decides.
        service: The service's name in rules.
    """

    def resolved(path: str) -> Handler:
        handler = resolve(path)
        if not faults.concerns(service):
            return handler
        fault = faults.decide(service, path.rpartition("/")[2])
        return replace(handler, serve=_faulty(handler.serve, fault))

    return resolved


def _faulty(serve: Serve, fault: ServiceFault) -> Serve:
    async def served(call: Call) -> None:
        await _fail(fault.wait_before_ms, fault.code_before)
        await serve(call)
        await _fail(fault.wait_after_ms, fault.code_after)

    return served


async def _fail(wait_ms: int, code: str | int | None) -> None:
    await _sleep_ms(wait_ms)
    if code is not None:
        raise CallError(Code[canonical_code(code)], _message(code))


class FaultyApp:
    """An ASGI application whose calls may fail on purpose.

    Args:
        app: Which to wrap.
        faults: Decides.
        service: The service's name in rules.
        name_of: Names a call from its method and raw path, as the API's reference does.
        refusal: Makes the answer from the request, the status, the canonical code and a message.
    """

    def __init__(
        self,
        app: ASGIApp,
        faults: ServiceFaults,
        service: str,
        *,
        name_of: Callable[[str, str], str],
        refusal: Refusal,
    ) -> None:
        self._app = app
        self._faults = faults
        self._service = service
        self._name_of = name_of
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not self._faults.concerns(self._service):
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["raw_path"].decode("latin-1").partition("?")[0]
        name = self._name_of(method, path)
        fault = self._faults.decide(self._service, name, f"{method} {path}")
        await self._serve(fault, scope, receive, send)

    async def _serve(self, fault: ServiceFault, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(receive)
        await _sleep_ms(fault.wait_before_ms)
        if fault.code_before is not None:
            await self._refuse(fault.code_before, scope, body, send)
        elif fault.code_after is not None:
            await self._app(scope, body.receive, _lost)
            await _sleep_ms(fault.wait_after_ms)
            await self._refuse(fault.code_after, scope, body, send)
        else:
            await self._app(scope, receive, _delayed(send, fault.wait_after_ms))

    async def _refuse(self, code: str | int, scope: Scope, body: _Body, send: Send) -> None:
        # Who is refused before the body has been read might never read the answer.
        await body.drain()
        status = http_status(code)
        response = self._refusal(Request(scope), status, canonical_code(code), _message(code))
        if status in _RETRIED:
            response.headers["retry-after"] = str(RETRY_AFTER_S)
        await response(scope, body.receive, send)


class _Body:
    """A request's body, which may be read to its end once, by whoever comes that far."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._ended = self._ended or not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        while not self._ended:
            await self.receive()


async def _lost(_message: Message) -> None:
    """Send an answer nowhere."""


def _delayed(send: Send, wait_ms: int) -> Send:
    async def delayed(message: Message) -> None:
        if message["type"] == "http.response.start":
            await _sleep_ms(wait_ms)
        await send(message)

    return delayed if wait_ms else send
