"""What a connection sends: answers, as far as the client has room, several of them in one write."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from continuon_local.grpc_wire.codes import Code
from continuon_local.grpc_wire.frames import (
    DEFAULT_WINDOW,
    FRAME_HEAD,
    MAX_FRAME_BYTES,
    MAX_WINDOW,
    Flag,
    FrameType,
    H2Error,
    Reason,
    frame,
    reset,
    window_update,
)
from continuon_local.grpc_wire.headers import ANSWER_HEAD, only_trailers, trailers

if TYPE_CHECKING:
    from continuon_local.grpc_wire.call import Call
    from continuon_local.grpc_wire.codes import CallError

__all__ = ["Sender"]

_OK = trailers(Code.OK, "")
_LAST = Flag.END_HEADERS | Flag.END_STREAM
_HEADERS, _DATA = int(FrameType.HEADERS), int(FrameType.DATA)


class Sender:
    """The sending half of a connection.

    Args:
        transport: Where to.
        calls: The connection's calls; one whose answer has been sent is taken out.

    Attributes:
        is_full: Whether the kernel takes no more for now.
        holds: Whether what is written waits for a call of :meth:`flush` that is sure to come.
    """

    def __init__(self, transport: asyncio.Transport, calls: dict[int, Call]) -> None:
        self._transport = transport
        self._calls = calls
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._soon: dict[int, Call] = {}
        self._unsent: dict[int, Call] = {}
        self._room = DEFAULT_WINDOW
        self.initial_room = DEFAULT_WINDOW
        self.is_full = False
        self.holds = False

    def write(self, data: bytes) -> None:
        """Send frames, together with what else is written until the loop sleeps."""
        self._out.append(data)
        self._flush_later()

    def _flush_later(self) -> None:
        if not self.holds:
            self.holds = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what has been written."""
        if self._soon:
            soon, self._soon = self._soon, {}
            for call in soon.values():
                self.push(call)
        self.holds = False
        if self._out:
            out, self._out = self._out, []
            self._transport.write(b"".join(out))

    def push_soon(self, call: Call) -> None:
        """Send what waits of a call, together with what else is sent until the loop sleeps."""
        self._soon[call.stream] = call
        self._flush_later()

    def push(self, call: Call) -> None:
        """Send of what waits as much as the client has room for, and the end after it."""
        if self._calls.get(call.stream) is not call:
            return
        outgoing = call.outgoing
        if not call.has_begun and (outgoing or call.trailers is not None):
            call.has_begun = True
            self.write(frame(_HEADERS, Flag.END_HEADERS, call.stream, ANSWER_HEAD))
        while outgoing and not self.is_full:
            count = min(len(outgoing), MAX_FRAME_BYTES, self._room, call.room)
            if count <= 0:
                break
            head = FRAME_HEAD.pack(count >> 16, count & 0xFFFF, _DATA, 0, call.stream)
            self.write(head + outgoing[:count])
            del outgoing[:count]
            self._room -= count
            call.room -= count
        if outgoing:
            self._unsent[call.stream] = call
        elif call.trailers is not None:
            self.write(frame(_HEADERS, _LAST, call.stream, call.trailers))
            self._end(call)
        call.was_sent()

    def push_unsent(self) -> None:
        """Go on with every call that waited for room."""
        unsent, self._unsent = self._unsent, {}
        for call in unsent.values():
            self.push(call)

    def finish(self, call: Call, error: CallError | None) -> None:
        """End a call: after what it has sent, with a status."""
        if self._calls.get(call.stream) is not call or call.trailers is not None:
            return
        if error is None:
            call.trailers = _OK
            self.push(call)
            return
        if call.has_begun or call.outgoing:
            call.trailers = trailers(error.code, error.message)
            self.push(call)
            return
        block = only_trailers(error.code, error.message)
        self.write(frame(_HEADERS, _LAST, call.stream, block[:MAX_FRAME_BYTES]))
        self._end(call)

    def _end(self, call: Call) -> None:
        self.forget(call)
        if not call.said_all:
            # The client may still be talking; it need not (RFC 9113, section 8.1).
            self.write(reset(call.stream, Reason.NO_ERROR))

    def forget(self, call: Call) -> None:
        """Drop a call, with what it has not sent."""
        self._calls.pop(call.stream, None)
        self._unsent.pop(call.stream, None)
        if call.timer is not None:
            call.timer.cancel()

    def grant(self, call: Call, count: int) -> None:
        """Let the client send more bytes of a call."""
        self.write(window_update(call.stream, count))

    def set_initial_room(self, room: int) -> None:
        """Follow the client's setting, for the calls in progress too (RFC 9113, section 6.9.2)."""
        for call in self._calls.values():
            call.room += room - self.initial_room
        self.initial_room = room

    def add_room(self, call: Call | None, count: int) -> None:
        """Follow a window update of a call, or of the connection.

        Raises:
            H2Error: The window is larger than any may be.
        """
        if call is None:
            self._room += count
            room = self._room
            self.push_unsent()
        else:
            call.room += count
            room = call.room
            self.push(call)
        if room > MAX_WINDOW:
            raise H2Error(Reason.FLOW_CONTROL_ERROR, "window too large")

    def give_up(self, last_stream: int, reason: Reason) -> None:
        """Say why the connection ends, and which call was the last to be heard."""
        payload = last_stream.to_bytes(4) + int(reason).to_bytes(4)
        self.write(frame(FrameType.GOAWAY, 0, 0, payload))
        self.flush()
