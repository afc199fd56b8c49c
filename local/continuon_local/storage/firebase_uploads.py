"""Uploads of Firebase's SDKs: in one multipart request, or resumable with ``X-Goog-Upload-*``.

The rules see an upload when all of its bytes are there, because they may ask for its size and
its checksum; what they refuse is gone.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.responses import Response

from continuon_local.meter import Operation
from continuon_local.storage.checksums import Expected, SizeRange
from continuon_local.storage.errors import StorageError, invalid, not_implemented
from continuon_local.storage.fields import check_name, settable_fields
from continuon_local.storage.firebase_rules import caller_of
from continuon_local.storage.firebase_view import TOKENS, object_answer
from continuon_local.storage.multipart import MultipartUpload
from continuon_local.storage.objects import NewObject
from continuon_local.storage.preconditions import NO_CONDITIONS
from continuon_local.storage.resumable import CHUNK_UNIT_BYTES
from continuon_local.storage.transfer import receive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from continuon_local.storage.call import Call
    from continuon_local.storage.records import ObjectRecord
    from continuon_local.storage.upload_session import Session

__all__ = ["handle"]

_PROTOCOL, _COMMAND = "x-goog-upload-protocol", "x-goog-upload-command"
_STATUS, _RECEIVED = "x-goog-upload-status", "x-goog-upload-size-received"
_SETTABLE = frozenset(
    {"cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType"}
    | {"metadata"}
)


async def handle(call: Call, bucket: str, name: str) -> Response:
    """Answer one request of an upload.

    Raises:
        StorageError: The request is refused.
    """
    session_id = call.parameters.get("upload_id")
    if session_id is not None:
        return await _continue(call, session_id)
    protocol = call.headers.get(_PROTOCOL, "").lower()
    if protocol == "multipart":
        return await _multipart(call, bucket, name)
    if protocol == "resumable":
        return await _start(call, bucket, name)
    raise not_implemented(f"An upload with {_PROTOCOL}: {protocol or '(none)'}")


def _fields(body: Mapping[str, Any], name: str, media_type: str | None) -> dict[str, Any]:
    stated = {field: value for field, value in body.items() if field in _SETTABLE}
    metadata = stated.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise invalid("Invalid value for metadata")
    # A client does not choose its tokens: whoever knows one may read the object.
    stated["metadata"] = {**metadata, TOKENS: str(uuid.uuid4())}
    fields = settable_fields(stated)
    fields["contentType"] = fields.get("contentType") or media_type or "application/octet-stream"
    if not fields.get("contentDisposition"):
        last = quote(name.rpartition("/")[2], safe="")
        fields["contentDisposition"] = f"inline; filename*=utf-8''{last}"
    return fields


def _judge(call: Call, bucket: str, name: str) -> Callable[[ObjectRecord], None]:
    """Return what asks the rules about the new object, inside the transaction that makes it."""
    before = call.engine.store.live(bucket, name)

    def check(after: ObjectRecord) -> None:
        call.engine.rules.check(call, "create", (bucket, name), before=before, after=after)

    return check


def _name(body: Mapping[str, Any], name: str) -> str:
    chosen = name or str(body.get("name") or body.get("fullPath") or "")
    check_name(chosen)
    return chosen


async def _multipart(call: Call, bucket: str, name: str) -> Response:
    caller_of(call)
    upload = MultipartUpload(call.headers.get("content-type", ""), call.stream())
    body = await upload.metadata()
    name = _name(body, name)
    fields = _fields(body, name, upload.media_type)
    call.engine.objects.bucket(bucket)
    expected = Expected.parse(body.get("md5Hash"), None) if body.get("md5Hash") else Expected()
    body_id, digests = await receive(call, upload.media(), expected, SizeRange())
    record = await call.engine.objects.create(
        NewObject(
            bucket=bucket,
            name=name,
            body_id=body_id,
            digests=digests,
            fields=fields,
            on_commit=_judge(call, bucket, name),
        )
    )
    call.count(Operation.STORAGE_CLASS_A)
    return object_answer(record)


async def _start(call: Call, bucket: str, name: str) -> Response:
    if call.headers.get(_COMMAND, "").strip().lower() != "start":
        raise invalid(f"A resumable upload begins with {_COMMAND}: start.")
    caller_of(call)
    body = await call.json()
    name = _name(body, name)
    size = call.headers.get("x-goog-upload-header-content-length")
    if size is not None and not (size.isascii() and size.isdecimal()):
        raise invalid("Invalid X-Goog-Upload-Header-Content-Length header")
    media_type = call.headers.get("x-goog-upload-header-content-type")
    session = call.engine.sessions.begin(
        bucket=bucket,
        name=name,
        # A session that the rules have to judge takes no bytes on any other path.
        fields={**_fields(body, name, media_type), "judged": True},
        conditions=NO_CONDITIONS,
        expected=Expected(),
        sizes=SizeRange(),
        total=None if size is None else int(size),
    )
    call.count(Operation.STORAGE_CLASS_A)
    query = f"name={quote(name, safe='')}&upload_id={session.id}&upload_protocol=resumable"
    url = f"{call.base_url}/v0/b/{quote(bucket, safe='')}/o?{query}"
    headers = {
        _STATUS: "active",
        "x-goog-upload-url": url,
        "x-goog-upload-control-url": url,
        "x-goog-upload-chunk-granularity": str(CHUNK_UNIT_BYTES),
        "x-gupload-uploadid": session.id,
    }
    return Response(status_code=200, headers=headers)


async def _continue(call: Call, session_id: str) -> Response:
    caller_of(call)
    sessions = call.engine.sessions
    commands = {part.strip().lower() for part in call.headers.get(_COMMAND, "").split(",")}
    if not commands <= {"upload", "finalize", "query", "cancel"} or commands == {""}:
        raise invalid(f"Invalid {_COMMAND} header")
    session = await sessions.settled(session_id)
    if not session.fields.get("judged"):
        raise StorageError(404, "notFound", "NoSuchUpload", "Not Found.")
    if "cancel" in commands:
        await sessions.cancel(session)
        return Response(status_code=200, headers={_STATUS: "cancelled"})
    if session.result is not None:
        return _final(session.result)
    if "upload" in commands:
        session = await _append(call, session)
    if "finalize" not in commands:
        return _active(session)
    judge = _judge(call, session.bucket, session.name)
    if session.total is not None and session.persisted != session.total:
        raise invalid("The size of the upload differs from what was announced.")
    return _final(await sessions.complete(session, Expected(), approve=judge))


async def _append(call: Call, session: Session) -> Session:
    offset = call.headers.get("x-goog-upload-offset", "")
    if not offset.isascii() or offset != str(session.persisted):
        message = f"The upload has received {session.persisted} bytes."
        headers = {_STATUS: "active", _RECEIVED: str(session.persisted)}
        raise StorageError(400, "invalid", "InvalidArgument", message, headers=headers)
    sessions = call.engine.sessions
    length = call.content_length
    end = None if length is None else session.persisted + length
    if session.total is not None and end is not None and end > session.total:
        raise invalid("The upload is larger than what was announced.")
    await sessions.exclusively(session.id, sessions.append(session, call.stream(), skip=0, end=end))
    after = sessions.get(session.id)
    call.count(Operation.STORAGE_INGRESS_BYTES, after.persisted - session.persisted)
    return after


def _active(session: Session) -> Response:
    headers = {_STATUS: "active", _RECEIVED: str(session.persisted)}
    return Response(status_code=200, headers=headers)


def _final(record: ObjectRecord) -> Response:
    answer = object_answer(record)
    answer.headers[_STATUS] = "final"
    answer.headers[_RECEIVED] = str(record.size)
    return answer
