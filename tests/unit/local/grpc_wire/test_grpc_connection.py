"""The connection beside h2, an independent and strict implementation of HTTP/2."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections import defaultdict
from typing import Any, cast

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes

from continuon_local.grpc_wire.call import Call, Handler
from continuon_local.grpc_wire.codes import CallError, Code
from continuon_local.grpc_wire.connection import Connection
from continuon_local.grpc_wire.frames import PREFACE, FrameType, frame

_LIMIT = 3_000_000
_TURNS = 50


def _noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)  # noqa: S311 - the same bytes every time


class _Pipe(asyncio.Transport):
    """What a connection writes to, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_closed = False
        self.reads = True

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


async def _echo(call: Call) -> None:
    await call.send(call.request())


async def _count(call: Call) -> None:
    for number in range(int(call.request())):
        await call.send(b"%d" % number)


async def _later(call: Call) -> None:
    await asyncio.sleep(0)
    await call.send(call.request().upper())


async def _refuse(call: Call) -> None:
    raise CallError(Code.NOT_FOUND, f"100 % of {call.request().decode()} is missing: ü")


async def _break(call: Call) -> None:
    raise ValueError(call.head.path)


async def _chat(call: Call) -> None:
    async for request in call.requests():
        if request == b"stop":
            raise CallError(Code.ABORTED, "stopped")
        await call.send(request)


async def _metadata(call: Call) -> None:
    await call.send(repr(sorted(call.head.metadata)).encode())


class _Peer:
    """A client, and the connection that it talks to."""

    def __init__(self, chunk: int | None = None) -> None:
        self.cancelled: list[str] = []
        self.open: set[Connection] = set()
        self.pipe = _Pipe()
        self.connection = Connection(self._resolve, _LIMIT, self.open)
        self.connection.connection_made(self.pipe)
        self.client = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.client.initiate_connection()
        self._chunk = chunk
        self.data: dict[int, bytearray] = defaultdict(bytearray)
        self.trailers: dict[int, dict[str, str]] = {}
        self.status: dict[int, str] = {}
        self.resets: dict[int, int] = {}
        self.terminated: int | None = None
        self.acknowledges = True

    def _resolve(self, path: str) -> Handler:
        async def hang(_: Call) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(path)
                raise

        serve = {
            "/s/Echo": _echo,
            "/s/Count": _count,
            "/s/Later": _later,
            "/s/Refuse": _refuse,
            "/s/Break": _break,
            "/s/Chat": _chat,
            "/s/Metadata": _metadata,
        }.get(path, hang)
        chats = path == "/s/Chat"
        return Handler(serve, streams_requests=chats, at_once=not chats)

    def exchange(self) -> None:
        """Carry what each side has to say to the other, until both are silent."""
        while True:
            to_server, to_client = self.client.data_to_send(), bytes(self.pipe.written)
            self.pipe.written.clear()
            if not to_server and not to_client:
                return
            step = self._chunk or max(1, len(to_server))
            for at in range(0, len(to_server), step):
                self.connection.data_received(to_server[at : at + step])
            for event in self.client.receive_data(to_client):
                self._take(event)

    def _take(self, event: Any) -> None:
        if isinstance(event, DataReceived):
            self.data[event.stream_id] += event.data or b""
            if self.acknowledges and event.flow_controlled_length:
                self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, ResponseReceived):
            headers = cast("list[tuple[str, str]]", event.headers)
            self.status[event.stream_id] = dict(headers)[":status"]
            if "grpc-status" in dict(headers):
                self.trailers[event.stream_id] = dict(headers)
        elif isinstance(event, TrailersReceived):
            headers = cast("list[tuple[str, str]]", event.headers)
            self.trailers[event.stream_id] = dict(headers)
        elif isinstance(event, StreamReset):
            self.resets[event.stream_id] = int(event.error_code or 0)
        elif isinstance(event, ConnectionTerminated):
            self.terminated = int(event.error_code or 0)

    async def settle(self) -> None:
        """Let handlers run, and carry what they say."""
        for _ in range(_TURNS):
            self.exchange()
            await asyncio.sleep(0)

    def begin(self, path: str, *more: tuple[str, str], content: str = "application/grpc") -> int:
        stream = self.client.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", content),
            ("te", "trailers"),
            *more,
        ]
        self.client.send_headers(stream, headers)
        return stream

    def say(self, stream: int, message: bytes, *, last: bool = True, flag: int = 0) -> None:
        rest = bytes([flag]) + len(message).to_bytes(4) + message
        while rest:
            room = min(self.client.local_flow_control_window(stream), 16_384)
            if not room:
                self.exchange()
                assert self.client.local_flow_control_window(stream), "no more room is granted"
                continue
            self.client.send_data(stream, rest[:room])
            rest = rest[room:]
        if last:
            self.client.end_stream(stream)

    def call(self, path: str, message: bytes, *more: tuple[str, str]) -> int:
        stream = self.begin(path, *more)
        self.say(stream, message)
        self.exchange()
        return stream

    def messages(self, stream: int) -> list[bytes]:
        data, found = bytes(self.data[stream]), []
        while data:
            end = 5 + int.from_bytes(data[1:5])
            found.append(data[5:end])
            data = data[end:]
        return found

    def code(self, stream: int) -> Code:
        return Code(int(self.trailers[stream]["grpc-status"]))


async def test_answer_at_hand_leaves_without_a_turn_of_the_loop() -> None:
    peer = _Peer()
    stream = peer.call("/s/Echo", b"hello")
    assert peer.messages(stream) == [b"hello"]
    assert peer.code(stream) is Code.OK
    assert not peer.connection.calls


async def test_handler_that_waits_answers_later() -> None:
    peer = _Peer()
    streams = [peer.call("/s/Later", b"a%d" % number) for number in range(5)]
    await peer.settle()
    assert [peer.messages(stream) for stream in streams] == [[b"A%d" % n] for n in range(5)]


@pytest.mark.parametrize("chunk", [1, 7, 100])
async def test_bytes_may_arrive_cut_anywhere(chunk: int) -> None:
    peer = _Peer(chunk)
    texts = [_noise(n * 37) for n in range(1, 8)]
    streams = [peer.call("/s/Echo", text, ("x-number", str(len(text)))) for text in texts]
    assert [peer.messages(stream) for stream in streams] == [[text] for text in texts]


async def test_messages_larger_than_every_window_come_through_both_ways() -> None:
    peer = _Peer()
    peer.exchange()
    large = _noise(2_900_000)
    stream = peer.begin("/s/Echo")
    peer.say(stream, large)
    await peer.settle()
    assert peer.messages(stream) == [large]


async def test_stream_of_answers_waits_for_a_client_that_does_not_read() -> None:
    peer = _Peer()
    peer.acknowledges = False
    stream = peer.call("/s/Count", b"100000")
    await peer.settle()
    assert len(peer.data[stream]) == 65_535
    assert len(peer.connection.calls[stream].outgoing) < 70_000
    peer.acknowledges = True
    peer.client.acknowledge_received_data(65_535, stream)
    for _ in range(20):
        await peer.settle()
    assert peer.messages(stream) == [b"%d" % number for number in range(100_000)]
    assert peer.code(stream) is Code.OK


async def test_smaller_window_set_meanwhile_counts_for_calls_in_progress() -> None:
    peer = _Peer()
    peer.acknowledges = False
    stream = peer.call("/s/Count", b"100000")
    await peer.settle()
    sent = len(peer.data[stream])
    peer.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
    peer.exchange()
    peer.client.increment_flow_control_window(1000)
    peer.client.increment_flow_control_window(1000, stream)
    await peer.settle()
    assert len(peer.data[stream]) == sent, "the window is still below zero"


async def test_refusal_is_a_status_with_its_sentence() -> None:
    peer = _Peer()
    stream = peer.call("/s/Refuse", b"it")
    assert peer.code(stream) is Code.NOT_FOUND
    assert peer.trailers[stream]["grpc-message"] == "100 %25 of it is missing: %C3%BC"


async def test_handler_that_breaks_is_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    peer = _Peer()
    stream = peer.call("/s/Break", b"")
    assert peer.code(stream) is Code.INTERNAL
    assert "ValueError" in caplog.text
    assert "ValueError" not in peer.trailers[stream]["grpc-message"]


async def test_both_sides_may_stream() -> None:
    peer = _Peer()
    stream = peer.begin("/s/Chat")
    for number in range(40):
        peer.say(stream, b"%d" % number, last=False)
        await peer.settle()
    assert peer.messages(stream) == [b"%d" % number for number in range(40)]
    peer.client.end_stream(stream)
    await peer.settle()
    assert peer.code(stream) is Code.OK


async def test_server_may_end_a_stream_that_its_client_has_not() -> None:
    peer = _Peer()
    stream = peer.begin("/s/Chat")
    peer.say(stream, b"stop", last=False)
    await peer.settle()
    assert peer.code(stream) is Code.ABORTED
    assert peer.resets == {stream: 0}


async def test_client_that_resets_or_leaves_ends_its_handlers() -> None:
    peer = _Peer()
    first, _ = peer.call("/s/HangA", b""), peer.call("/s/HangB", b"")
    await peer.settle()
    peer.client.reset_stream(first)
    await peer.settle()
    assert peer.cancelled == ["/s/HangA"]
    peer.connection.connection_lost(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert peer.cancelled == ["/s/HangA", "/s/HangB"]
    assert not peer.open


async def test_deadline_ends_a_call() -> None:
    peer = _Peer()
    stream = peer.call("/s/Hang", b"", ("grpc-timeout", "1m"))
    while stream not in peer.trailers:
        await asyncio.sleep(0.001)
        peer.exchange()
    await peer.settle()
    assert peer.code(stream) is Code.DEADLINE_EXCEEDED
    assert peer.cancelled == ["/s/Hang"]


@pytest.mark.parametrize("size", [_LIMIT + 1, 2**32 - 1])
async def test_message_over_the_limit_is_refused_before_it_has_come(size: int) -> None:
    peer = _Peer()
    stream = peer.begin("/s/Echo")
    peer.client.send_data(stream, b"\x00" + size.to_bytes(4) + b"begin")
    peer.exchange()
    assert peer.code(stream) is Code.RESOURCE_EXHAUSTED
    assert not peer.connection.calls


async def test_compressed_request_is_taken_within_the_limit() -> None:
    peer = _Peer()
    stream = peer.begin("/s/Echo", ("grpc-encoding", "gzip"))
    peer.say(stream, gzip.compress(b"x" * 1000), flag=1)
    bomb = peer.begin("/s/Echo", ("grpc-encoding", "gzip"))
    peer.say(bomb, gzip.compress(bytes(_LIMIT + 1)), flag=1)
    broken = peer.begin("/s/Echo", ("grpc-encoding", "gzip"))
    peer.say(broken, b"no gzip", flag=1)
    unknown = peer.begin("/s/Echo", ("grpc-encoding", "zstd"))
    peer.say(unknown, b"whatever", flag=1)
    peer.exchange()
    assert peer.messages(stream) == [b"x" * 1000]
    assert peer.code(bomb) is Code.RESOURCE_EXHAUSTED
    assert peer.code(broken) is Code.INTERNAL
    assert peer.code(unknown) is Code.UNIMPLEMENTED


async def test_call_without_its_one_message_is_refused() -> None:
    peer = _Peer()
    none = peer.begin("/s/Echo")
    peer.client.end_stream(none)
    two = peer.begin("/s/Echo")
    peer.say(two, b"one", last=False)
    peer.say(two, b"two")
    peer.exchange()
    assert {peer.code(none), peer.code(two)} == {Code.INTERNAL}


async def test_what_is_no_grpc_is_refused() -> None:
    peer = _Peer()
    stream = peer.begin("/s/Echo", content="application/json")
    peer.exchange()
    assert peer.status[stream] == "415"


async def test_metadata_is_right_although_the_shared_table_changes_and_overflows() -> None:
    peer = _Peer()
    for number in range(300):
        own = ("x-own", f"{number % 7}-{'v' * (number % 90)}")
        stream = peer.call("/s/Metadata", b"", own)
        assert peer.messages(stream) == [repr([own]).encode()]


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/2 is something else",
        PREFACE + frame(FrameType.DATA, 0, 1, b"data of no call"),
        PREFACE + frame(FrameType.HEADERS, 4, 2, b"\x82"),
        PREFACE + frame(FrameType.HEADERS, 4, 1, b"\xff\xff\xff\xff\xff"),
        PREFACE + frame(FrameType.HEADERS, 0, 1, b"") + frame(FrameType.PING, 0, 0, b"8" * 8),
        PREFACE + frame(FrameType.CONTINUATION, 0, 1, b""),
        PREFACE + frame(FrameType.PUSH_PROMISE, 0, 1, b""),
        PREFACE + frame(FrameType.PING, 0, 0, b"short"),
        PREFACE + frame(FrameType.SETTINGS, 0, 0, b"short"),
        PREFACE + frame(FrameType.SETTINGS, 0, 0, b"\x00\x04\xff\xff\xff\xff"),
        PREFACE + frame(FrameType.WINDOW_UPDATE, 0, 0, bytes(4)),
        PREFACE + frame(FrameType.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"),
        PREFACE + frame(FrameType.RST_STREAM, 0, 7, bytes(4)),
        PREFACE + frame(FrameType.HEADERS, 8, 1, b"\xff"),
        PREFACE + b"\xff" * 9,
        PREFACE
        + frame(FrameType.HEADERS, 0, 1, b"")
        + frame(FrameType.CONTINUATION, 0, 1, bytes(16_384)) * 5,
    ],
)
async def test_peer_that_breaks_the_protocol_hears_why_and_is_left(garbage: bytes) -> None:
    peer = _Peer()
    peer.connection.data_received(garbage)
    assert peer.pipe.is_closed
    assert frame(FrameType.GOAWAY, 0, 0, b"")[3:] in bytes(peer.pipe.written)


async def test_random_bytes_never_break_the_connection() -> None:
    chance = random.Random(3)  # noqa: S311 - the same bytes every time
    for _ in range(300):
        peer = _Peer()
        peer.connection.data_received(PREFACE)
        for _ in range(10):
            kind, flags = chance.randrange(12), chance.randrange(256)
            payload = chance.randbytes(chance.randrange(40))
            if not peer.pipe.is_closed:
                stream = chance.choice([0, 1, 1, 3, 5])
                peer.connection.data_received(frame(kind, flags, stream, payload))
        peer.connection.connection_lost(None)


async def test_full_pipe_stops_reading_until_it_drains() -> None:
    peer = _Peer()
    peer.call("/s/Echo", b"1")
    peer.connection.pause_writing()
    paused = peer.pipe.reads
    peer.connection.resume_writing()
    assert (paused, peer.pipe.reads) == (False, True)
    stream = peer.call("/s/Echo", b"2")
    assert peer.messages(stream) == [b"2"]


async def test_unknown_frames_and_settings_are_passed_over() -> None:
    peer = _Peer()
    peer.exchange()
    peer.connection.data_received(frame(0x42, 0xFF, 0, b"?"))
    peer.connection.data_received(frame(FrameType.SETTINGS, 0, 0, b"\x12\x34\x00\x00\x00\x00"))
    stream = peer.call("/s/Echo", b"still here")
    assert peer.messages(stream) == [b"still here"]
