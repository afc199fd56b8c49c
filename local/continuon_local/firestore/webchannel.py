"""WebChannel: how web browsers carry the Listen and Write streams over HTTP/1.1.

A session begins with a POST that is answered with its id. Further POSTs bring the client's
messages; one GET at a time, the back channel, takes the server's, each numbered so that what got
lost is sent again. Every answer is a decimal length, a line feed and so many characters of JSON.
The back channel streams, or ends after each delivery where the client says ``CI=1`` because
something between them buffers. Messages are proto3 JSON.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from google.protobuf import json_format
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from continuon_local.firestore.access import caller_of
from continuon_local.firestore.calls import status_of
from continuon_local.firestore.errors import invalid_argument, not_found
from continuon_local.firestore.json_errors import error_document, http_status
from continuon_local.firestore.limits import MAX_MESSAGE_BYTES
from continuon_local.firestore.rest import json_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from starlette.requests import Request

    from continuon_local.firestore.access import Caller
    from continuon_local.firestore.calls import Calls
    from continuon_local.firestore.messages import Message

__all__ = ["WebChannel"]

_STREAMS = frozenset({"Listen", "Write"})
_PROTOCOL_VERSION = 8
_SERVER_VERSION = 14
_KEEP_ALIVE_S = 25.0
"""A back channel says something at least this often; clients give up after 45 seconds."""

_ANNOUNCED_KEEP_ALIVE_MS = 30_000
_ABANDONED_S = 60.0
"""A session whose client has neither sent nor listened for so long has lost its client."""

_MAX_SESSIONS = 1_000
"""Each holds a task; a page has two."""

_TEXT = "text/plain; charset=utf-8"


def _chunk(value: Any) -> str:
    # JSON in ASCII: the client counts UTF-16 units, and so they are as many as the bytes.
    text = json.dumps(value, separators=(",", ":"))
    return f"{len(text)}\n{text}"


def _headers(request: Request, form: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what stands for headers: browsers put them into the address or into the body."""
    yield from request.headers.items()
    for text in (request.query_params.get("$httpHeaders", ""), form.get("headers", "")):
        for line in text.split("\r\n"):
            name, separator, value = line.partition(":")
            if separator:
                yield name.strip().lower(), value.strip()


class _Session:
    """One stream of one client."""

    def __init__(self, calls: Calls, name: str, caller: Caller) -> None:
        self.id = secrets.token_urlsafe(16)
        self.name = name
        self.has_back_channel = 0
        self.active_at = asyncio.get_running_loop().time()
        self._calls = calls
        self._request = calls.method(name).request
        self._response = calls.method(name).response
        self._incoming: asyncio.Queue[Message | None] = asyncio.Queue()
        self._received = 0
        self._arrays: deque[tuple[int, Any]] = deque()
        self.last_id = 0
        self.changed = asyncio.Event()
        self.is_over = False
        self._task = asyncio.create_task(self._run(caller))

    async def _run(self, caller: Caller) -> None:
        try:
            async with aclosing(self._calls.bidi(self.name, self._requests(), caller)) as answers:
                async for answer in answers:
                    message = self._response.FromString(answer)
                    self.push([json_format.MessageToDict(message)])
        except Exception as error:  # noqa: BLE001 - every error becomes a status
            self.push([error_document(status_of(error, self.name))])
        self.is_over = True
        self.changed.set()

    async def _requests(self) -> AsyncIterator[Message]:
        while (request := await self._incoming.get()) is not None:
            yield request

    def push(self, payload: Any) -> None:
        """Queue a message for the client."""
        self.last_id += 1
        self._arrays.append((self.last_id, payload))
        self.changed.set()

    def receive(self, form: Mapping[str, str]) -> None:
        """Take the messages of a POST; those that an earlier attempt brought are left out.

        Raises:
            StatusError: INVALID_ARGUMENT for what is no such message.
        """
        try:
            count, offset = int(form.get("count", "0")), int(form.get("ofs", "0"))
        except ValueError as error:
            raise invalid_argument("count and ofs must be numbers.") from error
        for index in range(max(0, self._received - offset), min(count, len(form))):
            text = form.get(f"req{index}___data__")
            if text is None:
                raise invalid_argument(f"Message {index} is missing.")
            self._incoming.put_nowait(self._parse(text))
            self._received = offset + index + 1

    def _parse(self, text: str) -> Message:
        try:
            return json_format.ParseDict(json.loads(text), self._request())
        except (json_format.ParseError, ValueError, TypeError, RecursionError) as error:
            raise invalid_argument(f"Invalid JSON payload received. {error}") from error

    def forget(self, acknowledged: int) -> None:
        """Forget what the client says it has."""
        while self._arrays and self._arrays[0][0] <= acknowledged:
            self._arrays.popleft()

    def after(self, sent: int) -> Sequence[tuple[int, Any]]:
        """Return the messages after one with a number."""
        return [(number, payload) for number, payload in self._arrays if number > sent]

    async def end(self) -> None:
        """Close the stream."""
        self._incoming.put_nowait(None)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.is_over = True
        self.changed.set()


class WebChannel:
    """Answers ``/google.firestore.v1.Firestore/{Listen,Write}/channel``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._sessions: dict[str, _Session] = {}

    async def answer(self, request: Request, path: str) -> Response:
        """Answer one request; ``path`` is what follows the name of the service."""
        name, _, rest = path.partition("/")
        try:
            if name not in _STREAMS or rest != "channel":
                raise not_found(f"There is no channel at {path}.")  # noqa: TRY301 - one handler
            await self._end_abandoned()
            return await self._answer(request, name)
        except Exception as error:  # noqa: BLE001 - every error becomes a status
            status = status_of(error, name)
            return json_response(error_document(status), http_status(status))

    async def _answer(self, request: Request, name: str) -> Response:
        session_id = request.query_params.get("SID", "")
        if request.method == "POST" and not session_id:
            return await self._open(request, name)
        session = self._sessions.get(session_id)
        if session is None or session.name != name:
            return PlainTextResponse("Unknown SID", status_code=400)
        session.active_at = asyncio.get_running_loop().time()
        session.forget(_number(request, "AID"))
        if request.query_params.get("TYPE") == "terminate":
            del self._sessions[session_id]
            await session.end()
            return Response(media_type=_TEXT)
        if request.method == "GET":
            return self._back_channel(request, session)
        session.receive(await _form(request))
        answer = [min(session.has_back_channel, 1), session.last_id, 0]
        return Response(_chunk(answer), media_type=_TEXT)

    async def _open(self, request: Request, name: str) -> Response:
        if len(self._sessions) >= _MAX_SESSIONS:
            raise invalid_argument("Too many WebChannel sessions.")
        form = await _form(request)
        session = _Session(self._calls, name, caller_of(_headers(request, form)))
        self._sessions[session.id] = session
        session.receive(form)
        hello = ["c", session.id, "", _PROTOCOL_VERSION, _SERVER_VERSION, _ANNOUNCED_KEEP_ALIVE_MS]
        headers = {"x-http-session-id": session.id, "cache-control": "no-store"}
        return Response(_chunk([[0, hello]]), headers=headers, media_type=_TEXT)

    def _back_channel(self, request: Request, session: _Session) -> Response:
        acknowledged = _number(request, "AID")
        hold_s = _number(request, "TO") / 1000 or _KEEP_ALIVE_S
        streams = request.query_params.get("CI") == "0"
        body = _deliver(session, acknowledged, min(hold_s, _KEEP_ALIVE_S), streams=streams)
        # Without a type that cannot be sniffed, browsers hold the first bytes back.
        headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
        return StreamingResponse(body, headers=headers, media_type=_TEXT)

    async def _end_abandoned(self) -> None:
        now = asyncio.get_running_loop().time()
        for session in tuple(self._sessions.values()):
            if not session.has_back_channel and now - session.active_at > _ABANDONED_S:
                self._sessions.pop(session.id, None)
                await session.end()

    async def stop(self) -> None:
        """End all sessions."""
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.end()


def _number(request: Request, name: str) -> int:
    try:
        return int(request.query_params.get(name, "0"))
    except ValueError as error:
        raise invalid_argument(f"{name} must be a number.") from error


async def _deliver(
    session: _Session, sent: int, hold_s: float, *, streams: bool
) -> AsyncIterator[str]:
    """Give a back channel what its client has not got, as it comes."""
    session.has_back_channel += 1
    try:
        while True:
            session.changed.clear()
            pending = session.after(sent)
            if pending:
                yield _chunk([[number, payload] for number, payload in pending])
                sent = pending[-1][0]
                session.active_at = asyncio.get_running_loop().time()
                if not streams:
                    return
                continue
            if session.is_over:
                return
            try:
                await asyncio.wait_for(session.changed.wait(), hold_s)
            except TimeoutError:
                session.push(["noop"])
    finally:
        session.has_back_channel -= 1
        session.active_at = asyncio.get_running_loop().time()


async def _form(request: Request) -> dict[str, str]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        # A percent-encoded message may be three times as long.
        if len(body) > 3 * MAX_MESSAGE_BYTES:
            raise invalid_argument(f"Request payload size exceeds {MAX_MESSAGE_BYTES} bytes.")
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True))
    except UnicodeDecodeError as error:
        raise invalid_argument("The body must be form-encoded.") from error
