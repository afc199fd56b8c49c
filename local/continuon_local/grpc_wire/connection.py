"""One HTTP/2 connection of a gRPC client, as a protocol of asyncio.

Whatever arrives in one read is worked off at once, and what that answers leaves in one write.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from continuon_local.grpc_wire.call import STREAM_WINDOW, Call
from continuon_local.grpc_wire.codes import CallError, Code
from continuon_local.grpc_wire.frames import (
    DEFAULT_WINDOW,
    FRAME_HEAD,
    MAX_FRAME_BYTES,
    MAX_WINDOW,
    PREFACE,
    Flag,
    FrameType,
    H2Error,
    Reason,
    Setting,
    frame,
    pad_stripped,
    read_settings,
    reset,
    settings,
    window_update,
)
from continuon_local.grpc_wire.headers import MAX_BLOCK_BYTES, HeadReader
from continuon_local.grpc_wire.sending import Sender
from continuon_local.grpc_wire.started import start

if TYPE_CHECKING:
    from collections.abc import Callable

    from continuon_local.grpc_wire.call import Handler
    from continuon_local.grpc_wire.headers import Head

    Resolve = Callable[[str], Handler]

__all__ = ["Connection"]

_LOG = logging.getLogger(__name__)
_CONNECTION_WINDOW = 16 * 1024 * 1024
"""Bytes of all calls of a connection that may be."""

_MAX_CALLS = 10_000
"""Calls at a time on one connection."""

_NOT_GRPC = b"\x08\x03415"  # :status, not indexed
_PRIORITY_BYTES = 5


class Connection(asyncio.Protocol):
    """Speaks to one client.

    Args:
        resolve: Returns what serves a path; also for one that nothing serves.
        limit: The largest message of a client, in bytes.
        open_connections: Where the connection is kept while it is open.

    Attributes:
        calls: Those in progress, by their streams.
    """

    def __init__(self, resolve: Resolve, limit: int, open_connections: set[Connection]) -> None:
        self._resolve = resolve
        self._limit = limit
        self._open_connections = open_connections
        self._heads = HeadReader()
        self._rest = b""
        self._block: tuple[int, int, bytearray] | None = None
        self._last_stream = 0
        self._received = 0
        self._has_preface = False
        self._is_closing = False
        self.calls: dict[int, Call] = {}
        self._loop = asyncio.get_running_loop()
        self._takes: dict[int, Callable[[int, int, bytes], None]] = {
            FrameType.DATA: self._on_data,
            FrameType.HEADERS: self._on_headers,
            FrameType.PRIORITY: self._ignore,
            FrameType.RST_STREAM: self._on_reset,
            FrameType.SETTINGS: self._on_settings,
            FrameType.PUSH_PROMISE: self._on_push,
            FrameType.PING: self._on_ping,
            FrameType.GOAWAY: self._ignore,
            FrameType.WINDOW_UPDATE: self._on_window_update,
            FrameType.CONTINUATION: self._on_continuation,
        }

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: say how much we take."""
        # A stream's; uvloop's has no common class with asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._sender = Sender(self._transport, self.calls)
        self._open_connections.add(self)
        ours = {
            Setting.MAX_CONCURRENT_STREAMS: _MAX_CALLS,
            Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            Setting.MAX_HEADER_LIST_SIZE: MAX_BLOCK_BYTES,
        }
        more = window_update(0, _CONNECTION_WINDOW - DEFAULT_WINDOW)
        self._sender.write(settings(ours) + more)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the base's signature
        """End every call: nobody is there to hear its answer."""
        self._is_closing = True
        self._open_connections.discard(self)
        for call in tuple(self.calls.values()):
            self._abandon(call)

    def data_received(self, data: bytes) -> None:
        """Work off every whole frame; what that answers leaves in one write."""
        data = self._rest + data if self._rest else data
        self._sender.holds = True
        try:
            end = self._read(data)
        except H2Error as error:
            self._is_closing = True
            self._sender.give_up(self._last_stream, error.reason)
            self._transport.close()
            return
        self._rest = data[end:]
        self._sender.flush()

    def pause_writing(self) -> None:
        """Stop sending, and reading: who does not read answers should not ask either."""
        self._sender.is_full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._sender.is_full = False
        self._transport.resume_reading()
        self._sender.push_unsent()

    # The end.

    def say_goodbye(self) -> None:
        """Tell the client to begin no more calls here."""
        self._sender.give_up(self._last_stream, Reason.NO_ERROR)

    def close(self) -> None:
        """End every call and the connection."""
        self._is_closing = True
        for call in tuple(self.calls.values()):
            self._abandon(call)
        self._transport.close()

    def _abandon(self, call: Call) -> None:
        self._sender.forget(call)
        if call.task is not None:
            call.task.cancel()

    # Frames from the client.

    def _read(self, data: bytes) -> int:
        """Take every whole frame; return where the rest begins."""
        at, size = 0, len(data)
        if not self._has_preface:
            if size < len(PREFACE) and PREFACE.startswith(data):
                return 0
            if not data.startswith(PREFACE):
                raise H2Error(Reason.PROTOCOL_ERROR, "no HTTP/2 preface")
            self._has_preface, at = True, len(PREFACE)
        while size - at >= FRAME_HEAD.size and not self._is_closing:
            high, low, kind, flags, stream = FRAME_HEAD.unpack_from(data, at)
            length = high << 16 | low
            if length > MAX_FRAME_BYTES:
                raise H2Error(Reason.FRAME_SIZE_ERROR, "frame too large")
            begin = at + FRAME_HEAD.size
            if begin + length > size:
                break
            at = begin + length
            if self._block is not None and kind != FrameType.CONTINUATION:
                raise H2Error(Reason.PROTOCOL_ERROR, "a header block was left unfinished")
            take = self._takes.get(kind)
            if take is not None:
                take(flags, stream & MAX_WINDOW, data[begin:at])
        return at

    def _ignore(self, flags: int, stream: int, payload: bytes) -> None:
        """Take note of nothing."""

    def _on_push(self, _flags: int, _stream: int, _payload: bytes) -> None:
        raise H2Error(Reason.PROTOCOL_ERROR, "clients do not push")

    def _on_headers(self, flags: int, stream: int, payload: bytes) -> None:
        block = pad_stripped(flags, payload)
        if flags & Flag.PRIORITY:
            block = block[_PRIORITY_BYTES:]
        if flags & Flag.END_HEADERS:
            self._begin(stream, block, ends=bool(flags & Flag.END_STREAM))
        else:
            self._block = (stream, flags, bytearray(block))

    def _on_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream:
            raise H2Error(Reason.PROTOCOL_ERROR, "a continuation of nothing")
        _, first_flags, block = self._block
        block += payload
        if len(block) > MAX_BLOCK_BYTES:
            raise H2Error(Reason.ENHANCE_YOUR_CALM, "headers too large")
        if flags & Flag.END_HEADERS:
            self._block = None
            self._begin(stream, bytes(block), ends=bool(first_flags & Flag.END_STREAM))

    def _begin(self, stream: int, block: bytes, *, ends: bool) -> None:
        head = self._heads.read(block)
        call = self.calls.get(stream)
        if call is not None and ends:
            self._deliver(call, b"", last=True)  # trailers of the client, of no interest
            return
        if not stream % 2 or stream <= self._last_stream:
            raise H2Error(Reason.PROTOCOL_ERROR, f"no call can begin on stream {stream}")
        self._last_stream = stream
        if not head.is_grpc:
            last = Flag.END_HEADERS | Flag.END_STREAM
            self._sender.write(frame(FrameType.HEADERS, last, stream, _NOT_GRPC))
        elif len(self.calls) >= _MAX_CALLS:
            self._sender.write(reset(stream, Reason.REFUSED_STREAM))
        else:
            self._open(stream, head, ends=ends)

    def _open(self, stream: int, head: Head, *, ends: bool) -> None:
        handler, room = self._resolve(head.path), self._sender.initial_room
        call = Call(self._sender, stream, head, handler, room=room, limit=self._limit)
        self.calls[stream] = call
        call.said_all = ends
        if ends or handler.streams_requests:
            self._serve(call)

    def _serve(self, call: Call) -> None:
        if call.handler.at_once:
            call.task = start(self._run(call))
        else:
            call.task = self._loop.create_task(self._run(call))
        if call.task is not None and call.head.timeout_s is not None:
            call.timer = self._loop.call_later(call.head.timeout_s, self._expire, call)

    async def _run(self, call: Call) -> None:
        failure: CallError | None = None
        try:
            await call.handler.serve(call)
        except CallError as error:
            failure = error
        except Exception:  # noqa: BLE001 - it is logged, and the client hears of it
            _LOG.exception("%s failed", call.head.path)
            failure = CallError(Code.INTERNAL, f"Internal error in {call.head.path}.")
        self._sender.finish(call, failure)

    def _expire(self, call: Call) -> None:
        late = CallError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
        self._sender.finish(call, late)
        if call.task is not None:
            call.task.cancel()

    def _on_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._received += len(payload)
        if self._received > _CONNECTION_WINDOW:
            raise H2Error(Reason.FLOW_CONTROL_ERROR, "more than was granted")
        if self._received > _CONNECTION_WINDOW // 2:
            self._sender.write(window_update(0, self._received))
            self._received = 0
        call = self.calls.get(stream)
        if call is not None:
            data = pad_stripped(flags, payload)
            call.unread += len(payload) - len(data)
            self._deliver(call, data, last=bool(flags & Flag.END_STREAM))
        elif stream > self._last_stream or not stream:
            raise H2Error(Reason.PROTOCOL_ERROR, "data of no call")

    def _deliver(self, call: Call, data: bytes, *, last: bool) -> None:
        try:
            call.receive(data, last=last)
        except CallError as error:
            self._sender.finish(call, error)
            if call.task is not None:
                call.task.cancel()
            return
        if call.unread > STREAM_WINDOW + DEFAULT_WINDOW:
            raise H2Error(Reason.FLOW_CONTROL_ERROR, "more than was granted to a call")
        if last and not call.handler.streams_requests:
            self._serve(call)

    def _on_reset(self, _flags: int, stream: int, _payload: bytes) -> None:
        call = self.calls.get(stream)
        if call is not None:
            self._abandon(call)
        elif stream > self._last_stream or not stream:
            raise H2Error(Reason.PROTOCOL_ERROR, "the end of no call")

    def _on_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream:
            raise H2Error(Reason.PROTOCOL_ERROR, "settings of a call")
        if flags & Flag.ACK:
            return
        for name, value in read_settings(payload):
            if name == Setting.INITIAL_WINDOW_SIZE:
                self._sender.set_initial_room(value)
        self._sender.write(frame(FrameType.SETTINGS, Flag.ACK, 0))
        self._sender.push_unsent()

    def _on_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream or len(payload) != 8:  # noqa: PLR2004 - RFC 9113, section 6.7
            raise H2Error(Reason.FRAME_SIZE_ERROR, "a ping is eight bytes, of no call")
        if not flags & Flag.ACK:
            self._sender.write(frame(FrameType.PING, Flag.ACK, 0, payload))

    def _on_window_update(self, _flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4:  # noqa: PLR2004 - RFC 9113, section 6.9
            raise H2Error(Reason.FRAME_SIZE_ERROR, "a window update is four bytes")
        increment = int.from_bytes(payload) & MAX_WINDOW
        if not increment:
            raise H2Error(Reason.PROTOCOL_ERROR, "a window update of nothing")
        call = self.calls.get(stream)
        if not stream or call is not None:
            self._sender.add_room(call, increment)
        elif stream > self._last_stream:
            raise H2Error(Reason.PROTOCOL_ERROR, "a window of no call")
