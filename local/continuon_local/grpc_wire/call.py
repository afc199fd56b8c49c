"""One call: the messages that its client sent, and what is on the way back."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from continuon_local.grpc_wire.codes import CallError, Code

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from continuon_local.grpc_wire.headers import Head

__all__ = ["FULL_BYTES", "STREAM_WINDOW", "Call", "Handler", "Wire"]

_PREFIX_BYTES = 5
"""A flag and the length before each message."""

STREAM_WINDOW = 1024 * 1024
"""Bytes of one call that may be under way to us."""

_WAITING_MESSAGES = 16
"""Messages that wait for their handler before the client has to wait as well."""

FULL_BYTES = 64 * 1024
"""Of answers that wait for the client; more, and the handler waits."""

_ZLIB_OR_GZIP = 47
"""``wbits`` for both of the compressions that gRPC names."""


@dataclass(frozen=True, slots=True)
class Handler:
    """What serves the calls of one method.

    Attributes:
        serve: Awaited with the call; raises :class:`CallError` to end it with a status.
        streams_requests: Whether it starts before its client has said everything.
        at_once: Whether it may run up to its first pause without a task, which is quicker; then it
            must not ask for its task before, as ``asyncio.timeout`` does.
    """

    serve: Callable[[Call], Awaitable[None]]
    streams_requests: bool = False
    at_once: bool = False


class Wire(Protocol):
    """The connection, as its calls see it."""

    def push(self, call: Call) -> None:
        """Send of what waits as much as the client has room for."""
        ...

    def push_soon(self, call: Call) -> None:
        """Do so before the loop sleeps: with what else is sent until then."""
        ...

    def grant(self, call: Call, count: int) -> None:
        """Let the client send more bytes."""
        ...


class Call:
    """One call in progress.

    Args:
        wire: The connection.
        stream: Its number there.
        head: How the client began it.
        handler: What serves it.
        room: Bytes that the client takes before it says more.
        limit: The largest message, in bytes.

    Attributes:
        outgoing: What has not been sent yet, framed as messages.
        room: Bytes that the client still takes.
        unread: Bytes received that have not been granted anew.
        has_begun: Whether the answer's head has been sent.
        trailers: The end of the answer, once it is known.
        said_all: Whether the client has sent its last byte.
        task: What serves it, where it did not end at once.
        timer: What ends it at its deadline, then.
    """

    __slots__ = (
        "_arrived",
        "_drained",
        "_limit",
        "_messages",
        "_partial",
        "_wire",
        "handler",
        "has_begun",
        "head",
        "outgoing",
        "room",
        "said_all",
        "stream",
        "task",
        "timer",
        "trailers",
        "unread",
    )

    def __init__(
        self, wire: Wire, stream: int, head: Head, handler: Handler, *, room: int, limit: int
    ) -> None:
        self._wire = wire
        self._limit = limit
        self._partial = bytearray()
        self._messages: deque[bytes] = deque()
        self._arrived: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self.stream = stream
        self.head = head
        self.handler = handler
        self.room = room
        self.unread = 0
        self.outgoing = bytearray()
        self.has_begun = False
        self.trailers: bytes | None = None
        self.said_all = False
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def receive(self, data: bytes, *, last: bool) -> None:
        """Take in what one frame brought.

        Raises:
            CallError: A message is too large or cannot be decompressed.
        """
        self.said_all = self.said_all or last
        partial = self._partial
        whole = len(data) - _PREFIX_BYTES
        if not partial and whole >= 0 and not data[0] and int.from_bytes(data[1:5]) == whole:
            self._messages.append(data[_PREFIX_BYTES:])
        else:
            partial += data
            self._split(partial)
        self.unread += len(data)
        self._grant()
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _split(self, partial: bytearray) -> None:
        while len(partial) >= _PREFIX_BYTES:
            size = int.from_bytes(partial[1:_PREFIX_BYTES])
            if size > self._limit:
                raise self._too_large(size)
            end = _PREFIX_BYTES + size
            if len(partial) < end:
                return
            message = bytes(partial[_PREFIX_BYTES:end])
            self._messages.append(self._inflated(message) if partial[0] else message)
            del partial[:end]

    def _too_large(self, size: int) -> CallError:
        return CallError(
            Code.RESOURCE_EXHAUSTED, f"Received message larger than max ({size} vs. {self._limit})"
        )

    def _inflated(self, message: bytes) -> bytes:
        if self.head.encoding not in {"gzip", "deflate"}:
            raise CallError(
                Code.UNIMPLEMENTED, f"Messages compressed as {self.head.encoding} are not taken."
            )
        inflate = zlib.decompressobj(_ZLIB_OR_GZIP)
        try:
            plain = inflate.decompress(message, self._limit + 1)
        except zlib.error as error:
            raise CallError(Code.INTERNAL, f"A message cannot be decompressed: {error}") from error
        if len(plain) > self._limit:
            raise self._too_large(len(plain))
        return plain

    def _grant(self) -> None:
        if self.unread < STREAM_WINDOW // 4 or self.said_all:
            return
        if len(self._messages) < _WAITING_MESSAGES:
            self._wire.grant(self, self.unread)
            self.unread = 0

    def request(self) -> bytes:
        """Return the one message of a call that has one.

        Raises:
            CallError: There is none, or more than one.
        """
        if len(self._messages) != 1:
            raise CallError(Code.INTERNAL, "The call needs exactly one request message.")
        return self._messages.popleft()

    async def requests(self) -> AsyncGenerator[bytes]:
        """Yield the messages of a stream as they arrive, until the client has sent its last."""
        loop = asyncio.get_running_loop()
        while True:
            while self._messages:
                yield self._messages.popleft()
                self._grant()
            if self.said_all:
                return
            self._arrived = loop.create_future()
            await self._arrived

    async def send(self, message: bytes) -> None:
        """Send one message; wait where the client does not keep up."""
        outgoing = self.outgoing
        outgoing += b"\x00" + len(message).to_bytes(4) + message
        if len(outgoing) < FULL_BYTES:
            self._wire.push_soon(self)
            return
        self._wire.push(self)
        # Also who is never held up lets others have their turn.
        await asyncio.sleep(0)
        while len(outgoing) >= FULL_BYTES:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def was_sent(self) -> None:
        """Let the handler go on when enough has been sent."""
        if self._drained is not None and len(self.outgoing) < FULL_BYTES:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None
