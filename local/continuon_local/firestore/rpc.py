"""From gRPC to the methods: handlers that parse and refuse as Google does."""

from __future__ import annotations

from contextlib import aclosing
from functools import lru_cache
from typing import TYPE_CHECKING

from continuon_local.firestore.access import caller_of
from continuon_local.firestore.calls import parse, status_of
from continuon_local.firestore.errors import unimplemented
from continuon_local.grpc_wire.call import Handler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from continuon_local.firestore.access import Caller
    from continuon_local.firestore.calls import Calls, Method
    from continuon_local.grpc_wire.call import Call

    Serve = Callable[[Call], Awaitable[None]]

__all__ = ["SERVICE", "MethodTable"]

SERVICE = "google.firestore.v1.Firestore"


@lru_cache(maxsize=256)
def _caller(metadata: tuple[tuple[str, str], ...]) -> Caller:
    """Read the caller; a client sends the same metadata over and over."""
    return caller_of(metadata)


class MethodTable:
    """Serves the methods of the Firestore service, and UNIMPLEMENTED for all others."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._handlers = {
            f"/{SERVICE}/{name}": self._handler(name, method)
            for name, method in calls.methods.items()
        }

    def resolve(self, path: str) -> Handler:
        """Return the handler for a call."""
        return self._handlers.get(path) or _unknown(path)

    def _handler(self, name: str, method: Method) -> Handler:
        # Requests are parsed by us, so that a malformed one is refused as Google refuses it.
        if method.unary is not None:
            return Handler(_with_status(name, self._unary(name, method)), at_once=True)
        if method.stream is not None:
            return Handler(_with_status(name, self._stream(name, method)), at_once=True)
        return Handler(_with_status(name, self._bidi(name, method)), streams_requests=True)

    def _unary(self, name: str, method: Method) -> Serve:
        async def serve(call: Call) -> None:
            request = parse(method.request, call.request())
            await call.send(await self._calls.unary(name, request, _caller(call.head.metadata)))

        return serve

    def _stream(self, name: str, method: Method) -> Serve:
        async def serve(call: Call) -> None:
            request, caller = parse(method.request, call.request()), _caller(call.head.metadata)
            async with aclosing(self._calls.stream(name, request, caller)) as responses:
                async for response in responses:
                    await call.send(response)

        return serve

    def _bidi(self, name: str, method: Method) -> Serve:
        async def serve(call: Call) -> None:
            caller = _caller(call.head.metadata)
            parsed = (parse(method.request, raw) async for raw in call.requests())
            # Closed here and now, so that a listener is gone when its client is.
            async with aclosing(self._calls.bidi(name, parsed, caller)) as responses:
                async for response in responses:
                    await call.send(response)

        return serve


def _with_status(name: str, serve: Serve) -> Serve:
    async def answered(call: Call) -> None:
        try:
            await serve(call)
        except Exception as error:
            raise status_of(error, name) from error

    return answered


def _unknown(path: str) -> Handler:
    async def refuse(_: Call) -> None:
        raise unimplemented(path.removeprefix("/"))

    return Handler(refuse)
