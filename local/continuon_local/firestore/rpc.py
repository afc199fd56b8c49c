"""From gRPC to the methods: generic handlers that parse and abort as Google does."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from continuon_local.firestore.access import caller_of
from continuon_local.firestore.calls import parse, status_of
from continuon_local.firestore.errors import unimplemented

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from continuon_local.firestore.calls import Calls, Method

    Context = grpc.aio.ServicerContext[Any, Any]

__all__ = ["SERVICE", "MethodTable"]

SERVICE = "google.firestore.v1.Firestore"


class MethodTable(grpc.GenericRpcHandler):
    """Serves the methods of the Firestore service, and UNIMPLEMENTED for all others."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._handlers = {
            f"/{SERVICE}/{name}": self._handler(name, method)
            for name, method in calls.methods.items()
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
            return grpc.unary_unary_rpc_method_handler(self._serve_unary(name, method))
        if method.stream is not None:
            return grpc.unary_stream_rpc_method_handler(self._serve_stream(name, method))
        return grpc.stream_stream_rpc_method_handler(self._serve_bidi(name, method))

    def _serve_unary(self, name: str, method: Method) -> Any:
        async def serve(raw: bytes, context: Context) -> bytes:
            try:
                caller = caller_of(context.invocation_metadata())
                response = await self._calls.unary(name, parse(method.request, raw), caller)
            except Exception as error:  # noqa: BLE001 - every error becomes a status
                status = status_of(error, name)
            else:
                return response
            return await context.abort(status.code, status.message)

        return serve

    def _serve_stream(self, name: str, method: Method) -> Any:
        async def serve(raw: bytes, context: Context) -> None:
            try:
                caller = caller_of(context.invocation_metadata())
                request = parse(method.request, raw)
                async with aclosing(self._calls.stream(name, request, caller)) as responses:
                    async for response in responses:
                        await context.write(response)
            except Exception as error:  # noqa: BLE001 - every error becomes a status
                status = status_of(error, name)
            else:
                return
            await context.abort(status.code, status.message)

        return serve

    def _serve_bidi(self, name: str, method: Method) -> Any:
        async def serve(requests: AsyncIterator[bytes], context: Context) -> None:
            try:
                caller = caller_of(context.invocation_metadata())
                parsed = (parse(method.request, raw) async for raw in requests)
                # Closed here and now, so that a listener is gone when its client is.
                async with aclosing(self._calls.bidi(name, parsed, caller)) as responses:
                    async for response in responses:
                        await context.write(response)
            except Exception as error:  # noqa: BLE001 - every error becomes a status
                status = status_of(error, name)
            else:
                return
            await context.abort(status.code, status.message)

        return serve
