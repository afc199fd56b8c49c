"""From gRPC to Python methods: generic handlers, one place where errors become statuses."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from continuon_local.firestore.access import caller_of
from continuon_local.firestore.errors import StatusError, invalid_argument, unimplemented

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

    from continuon_local.firestore.access import Access, Caller
    from continuon_local.firestore.messages import Message

    Unary = Callable[[Message, Caller], Awaitable[bytes]]
    Stream = Callable[[Message, Caller], AsyncGenerator[bytes]]
    Bidi = Callable[[AsyncIterator[Message], Caller], AsyncGenerator[bytes]]
    Context = grpc.aio.ServicerContext[Any, Any]

__all__ = ["Method", "MethodTable"]

SERVICE = "google.firestore.v1.Firestore"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC: its request class and exactly one of three shapes of implementation.

    Implementations take the request (or the requests) and the caller, and give serialized answers.
    """

    request: Message
    unary: Unary | None = None
    stream: Stream | None = None
    bidi: Bidi | None = None


def _parse(kind: Message, raw: bytes) -> Message:
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise invalid_argument("The request could not be parsed.") from error


def _status_of(error: Exception, method: str) -> StatusError:
    if isinstance(error, StatusError):
        return error
    if isinstance(error, sqlite3.Error):
        _LOG.exception("storage failed in %s", method)
        return StatusError(grpc.StatusCode.UNAVAILABLE, f"The local database failed: {error}")
    _LOG.exception("internal error in %s", method)
    return StatusError(grpc.StatusCode.INTERNAL, f"Internal error in {method}.")


class MethodTable(grpc.GenericRpcHandler):
    """Serves the methods of the Firestore service, and UNIMPLEMENTED for all others."""

    def __init__(self, methods: Mapping[str, Method], access: Access) -> None:
        self._access = access
        self._handlers = {
            f"/{SERVICE}/{name}": self._handler(name, method) for name, method in methods.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler for a call."""
        path = handler_call_details.method
        return self._handlers.get(path) or self._unknown(path)

    def _unknown(self, path: str) -> Any:
        async def refuse(_: bytes, context: Context) -> bytes:
            error = unimplemented(path.removeprefix("/"))
            await context.abort(error.code, error.message)

        return grpc.unary_unary_rpc_method_handler(refuse)

    def _handler(self, name: str, method: Method) -> Any:
        # Requests are parsed by us, so that a malformed one is refused as Google refuses it.
        if method.unary is not None:
            serve = self._serve_unary(name, method.request, method.unary)
            return grpc.unary_unary_rpc_method_handler(serve)
        if method.stream is not None:
            stream = self._serve_stream(name, method.request, method.stream)
            return grpc.unary_stream_rpc_method_handler(stream)
        assert method.bidi is not None  # noqa: S101 - the table is ours
        bidi = self._serve_bidi(name, method.request, method.bidi)
        return grpc.stream_stream_rpc_method_handler(bidi)

    def _serve_unary(self, name: str, kind: Message, implementation: Unary) -> Any:
        async def serve(raw: bytes, context: Context) -> bytes:
            try:
                request = _parse(kind, raw)
                caller = caller_of(context.invocation_metadata())
                self._access.check(caller, name, request)
                response = await implementation(request, caller)
            except Exception as error:  # noqa: BLE001 - every error becomes a status
                status = _status_of(error, name)
            else:
                return response
            return await context.abort(status.code, status.message)

        return serve

    def _serve_stream(self, name: str, kind: Message, implementation: Stream) -> Any:
        async def serve(raw: bytes, context: Context) -> None:
            try:
                request = _parse(kind, raw)
                caller = caller_of(context.invocation_metadata())
                self._access.check(caller, name, request)
                async with aclosing(implementation(request, caller)) as responses:
                    async for response in responses:
                        await context.write(response)
            except Exception as error:  # noqa: BLE001 - every error becomes a status
                status = _status_of(error, name)
            else:
                return
            await context.abort(status.code, status.message)

        return serve

    def _serve_bidi(self, name: str, kind: Message, implementation: Bidi) -> Any:
        async def serve(requests: AsyncIterator[bytes], context: Context) -> None:
            try:
                caller = caller_of(context.invocation_metadata())
                self._access.check(caller, name, None)
                parsed = (_parse(kind, raw) async for raw in requests)
                # Closed here and now, so that a listener is gone when its client is.
                async with aclosing(implementation(parsed, caller)) as responses:
                    async for response in responses:
                        await context.write(response)
            except Exception as error:  # noqa: BLE001 - every error becomes a status
                status = _status_of(error, name)
            else:
                return
            await context.abort(status.code, status.message)

        return serve
