"""The JSON API's uploads: media, multipart and resumable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from continuon_local.meter import Operation
from continuon_local.storage.call import decode_segment
from continuon_local.storage.checksums import Expected, SizeRange
from continuon_local.storage.errors import StorageError, invalid
from continuon_local.storage.json_api import object_response
from continuon_local.storage.multipart import MultipartUpload
from continuon_local.storage.object_changes import requested_fields
from continuon_local.storage.objects import NewObject
from continuon_local.storage.preconditions import Preconditions
from continuon_local.storage.session_http import cancel_upload, continue_upload, incomplete
from continuon_local.storage.transfer import receive
from continuon_local.storage.upload_session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from continuon_local.storage.call import Call

__all__ = ["handle"]


async def handle(call: Call, segments: Sequence[str]) -> Response:
    """Answer a request below ``/upload/storage/v1``; ``segments`` are the raw rest of its path.

    Raises:
        StorageError: The request is refused.
    """
    match list(segments):
        case ["b", bucket, "o"]:
            return await _upload(call, decode_segment(bucket))
        case _:
            raise StorageError(404, "notFound", "NotFound", "Not Found")


async def _upload(call: Call, bucket: str) -> Response:
    session_id = call.parameters.get("upload_id")
    if session_id is not None and call.method == "DELETE":
        return await cancel_upload(call, session_id)
    if session_id is not None and call.method in {"PUT", "POST"}:
        outcome = await continue_upload(call, session_id)
        if isinstance(outcome, Session):
            return incomplete(call, outcome)
        return object_response(call, outcome)
    if call.method != "POST":
        raise StorageError(404, "notFound", "NotFound", "Not Found")
    match call.parameters.get("uploadType"):
        case "media":
            response = await _media(call, bucket)
        case "multipart":
            response = await _multipart(call, bucket)
        case "resumable":
            response = await _resumable(call, bucket)
        case other:
            raise invalid(f"Invalid upload type: {other}", reason="badRequest")
    # One class A operation each; what is refused is not billed, and a session only once.
    call.count(Operation.STORAGE_CLASS_A)
    return response


def _expected(call: Call, body: Mapping[str, Any]) -> Expected:
    md5, crc32c = body.get("md5Hash"), body.get("crc32c")
    stated = Expected.parse(
        None if md5 is None else str(md5), None if crc32c is None else str(crc32c)
    )
    return stated.merged(Expected.from_headers(call.headers))


def _name(call: Call, body: Mapping[str, Any]) -> str:
    in_query, in_body = call.parameters.get("name"), body.get("name")
    if in_query and in_body and in_query != in_body:
        message = f"Value '{in_body}' in content does not agree with value '{in_query}'."
        raise invalid(message)
    return str(in_query or in_body or "")


async def _media(call: Call, bucket: str) -> Response:
    conditions = Preconditions.from_parameters(call.parameters)
    expected = Expected.from_headers(call.headers)
    name = _name(call, {})
    call.engine.objects.check_may_write(bucket, name, conditions)
    fields = requested_fields(call, bucket, {})
    fields["contentType"] = call.headers.get("content-type", "application/octet-stream")
    if "contentEncoding" in call.parameters:
        fields["contentEncoding"] = call.parameters["contentEncoding"]
    body_id, digests = await receive(call, call.stream(), expected, SizeRange())
    new = NewObject(
        bucket=bucket,
        name=name,
        body_id=body_id,
        digests=digests,
        fields=fields,
        conditions=conditions,
    )
    return object_response(call, await call.engine.objects.create(new))


async def _multipart(call: Call, bucket: str) -> Response:
    conditions = Preconditions.from_parameters(call.parameters)
    upload = MultipartUpload(call.headers.get("content-type", ""), call.stream())
    body = await upload.metadata()
    name = _name(call, body)
    expected = _expected(call, body)
    fields = requested_fields(call, bucket, body)
    fields.setdefault("contentType", upload.media_type or "application/octet-stream")
    call.engine.objects.check_may_write(bucket, name, conditions)
    body_id, digests = await receive(call, upload.media(), expected, SizeRange())
    new = NewObject(
        bucket=bucket,
        name=name,
        body_id=body_id,
        digests=digests,
        fields=fields,
        conditions=conditions,
    )
    return object_response(call, await call.engine.objects.create(new))


async def _resumable(call: Call, bucket: str) -> Response:
    body = await call.json()
    fields = requested_fields(call, bucket, body)
    announced_type = call.headers.get("x-upload-content-type")
    fields.setdefault("contentType", announced_type or "application/octet-stream")
    announced_size = call.headers.get("x-upload-content-length")
    if announced_size is not None and not announced_size.isdecimal():
        raise invalid(f"Invalid X-Upload-Content-Length header: {announced_size}")
    session = call.engine.sessions.begin(
        bucket=bucket,
        name=_name(call, body),
        fields=fields,
        conditions=Preconditions.from_parameters(call.parameters),
        expected=_expected(call, body),
        sizes=SizeRange.from_headers(call.headers),
        total=None if announced_size is None else int(announced_size),
    )
    location = f"{call.base_url}{call.raw_path}?uploadType=resumable&upload_id={session.id}"
    headers = {"location": location, "x-guploader-uploadid": session.id, "content-length": "0"}
    return Response(status_code=200, headers=headers)
