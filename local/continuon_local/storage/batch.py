"""The JSON API's batch endpoint: many calls in one ``multipart/mixed`` body, answered in order."""

from __future__ import annotations

import secrets
from email.parser import BytesParser
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from continuon_local.storage.call import Call
from continuon_local.storage.errors import StorageError, invalid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from email.message import Message

    from starlette.types import Message as AsgiMessage
    from starlette.types import Receive

__all__ = ["handle"]

# https://cloud.google.com/storage/docs/batch: calls in one batch, and bytes of its body.
_MAX_CALLS = 100
_MAX_BYTES = 10 << 20


async def handle(call: Call, respond: Callable[[Call], Awaitable[Response]]) -> Response:
    """Answer every call of the batch through ``respond``.

    Raises:
        StorageError: The batch itself is malformed or too large (400).
    """
    parts = _parts(call, await _body(call))
    boundary = f"batch_{secrets.token_urlsafe(16)}"
    answers = [await _answer(call, part, respond) for part in parts]
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), answer) for answer in answers)
    content = body + b"--%s--\r\n" % boundary.encode()
    return Response(content, media_type=f"multipart/mixed; boundary={boundary}")


async def _body(call: Call) -> bytes:
    data = bytearray()
    async for chunk in call.stream():
        data += chunk
        if len(data) > _MAX_BYTES:
            raise invalid("The batch is larger than 10 MB.", reason="uploadTooLarge")
    return bytes(data)


def _parts(call: Call, body: bytes) -> list[Message]:
    head = f"Content-Type: {call.headers.get('content-type', '')}\r\n\r\n".encode("latin-1")
    message = BytesParser().parsebytes(head + body)
    parts = message.get_payload()
    if not isinstance(parts, list):
        raise invalid("Failed to parse batch request", reason="badRequest")
    if len(parts) > _MAX_CALLS:
        raise invalid(f"The batch holds more than {_MAX_CALLS} calls.", reason="badRequest")
    return [part for part in parts if not isinstance(part, str)]


async def _answer(
    call: Call, part: Message, respond: Callable[[Call], Awaitable[Response]]
) -> bytes:
    try:
        response = await respond(_inner_call(call, part))
    except StorageError as error:
        response = Response(str(error), error.status)
    status = HTTPStatus(response.status_code)
    content_id = str(part.get("content-id", "")).strip("<>")
    lines = ["Content-Type: application/http"]
    if content_id:
        lines.append(f"Content-ID: <response-{content_id}>")
    lines += ["", f"HTTP/1.1 {status.value} {status.phrase}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + bytes(response.body)


def _inner_call(call: Call, part: Message) -> Call:
    payload = part.get_payload(decode=True)
    text = payload if isinstance(payload, bytes) else b""
    request_line, _, rest = text.lstrip().partition(b"\n")
    try:
        method, target, _ = request_line.decode("ascii").split()
    except ValueError:
        raise invalid("Failed to parse batch request", reason="badRequest") from None
    url = urlsplit(target)
    if not url.path.startswith("/storage/v1/") or "alt=media" in url.query:
        raise invalid("A batch holds neither uploads nor downloads.", reason="badRequest")
    inner = BytesParser().parsebytes(rest)
    content = inner.get_payload(decode=True)
    headers = {"host": call.headers.get("host", "")}
    headers |= {name.lower(): str(value) for name, value in inner.items()}
    for name in ("authorization", "x-continuon-caller"):
        if name in call.headers:
            headers.setdefault(name, call.headers[name])
    scope = {
        **call.request.scope,
        "method": method,
        "raw_path": url.path.encode(),
        "query_string": url.query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    }
    receive = _once(content if isinstance(content, bytes) else b"")
    return Call(Request(scope, receive), call.engine)


def _once(body: bytes) -> Receive:
    async def receive() -> AsgiMessage:
        return {"type": "http.request", "body": body.strip(), "more_body": False}

    return receive
