"""The methods of the Firestore service, the same for gRPC, REST and WebChannel.

Here a call meets access control, and here every error becomes a status.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from continuon_local.firestore.errors import StatusError, invalid_argument, unimplemented
from continuon_local.grpc_wire.codes import Code

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

    from continuon_local.firestore.access import Access, Caller
    from continuon_local.firestore.messages import Message

    Unary = Callable[[Message, Caller], Awaitable[bytes]]
    Stream = Callable[[Message, Caller], AsyncGenerator[bytes]]
    Bidi = Callable[[AsyncIterator[Message], Caller], AsyncGenerator[bytes]]

__all__ = ["Calls", "Method", "parse", "status_of"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC: its messages and exactly one of three shapes of implementation.

    Implementations take the request (or the requests) and the caller, and give serialized answers.
    Those of streams in both directions ask for access themselves, message by message.
    """

    request: Message
    response: Message
    unary: Unary | None = None
    stream: Stream | None = None
    bidi: Bidi | None = None


def parse(kind: Message, raw: bytes) -> Message:
    """Parse a message; a malformed one is refused as Google refuses it.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise invalid_argument("The request could not be parsed.") from error


def status_of(error: Exception, method: str) -> StatusError:
    """Return the status that a call ends with; what nobody foresaw is logged."""
    if isinstance(error, StatusError):
        return error
    if isinstance(error, sqlite3.Error):
        _LOG.exception("storage failed in %s", method)
        return StatusError(Code.UNAVAILABLE, f"The local database failed: {error}")
    _LOG.exception("internal error in %s", method)
    return StatusError(Code.INTERNAL, f"Internal error in {method}.")


class Calls:
    """All methods, behind access control.

    Args:
        methods: By the name of the RPC.
        access: Decides what a caller may do.
    """

    def __init__(self, methods: Mapping[str, Method], access: Access) -> None:
        self.methods = methods
        self.access = access

    def method(self, name: str) -> Method:
        """Return a method.

        Raises:
            StatusError: UNIMPLEMENTED, naming it.
        """
        method = self.methods.get(name)
        if method is None:
            raise unimplemented(name)
        return method

    async def unary(self, name: str, request: Message, caller: Caller) -> bytes:
        """Answer a call that has one answer."""
        implementation = self.method(name).unary
        assert implementation is not None  # noqa: S101 - the table is ours
        self.access.check(caller, name, request)
        return await implementation(request, caller)

    async def stream(self, name: str, request: Message, caller: Caller) -> AsyncGenerator[bytes]:
        """Answer a call that has many answers."""
        implementation = self.method(name).stream
        assert implementation is not None  # noqa: S101 - the table is ours
        self.access.check(caller, name, request)
        async with aclosing(implementation(request, caller)) as responses:
            async for response in responses:
                yield response

    def bidi(
        self, name: str, requests: AsyncIterator[Message], caller: Caller
    ) -> AsyncGenerator[bytes]:
        """Answer a stream of requests."""
        implementation = self.method(name).bidi
        assert implementation is not None  # noqa: S101 - the table is ours
        return implementation(requests, caller)
