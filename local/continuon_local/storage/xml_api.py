"""The XML API on objects, and its listings of buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import Response

from continuon_local.meter import Operation
from continuon_local.storage import xml_uploads
from continuon_local.storage.checksums import Expected, SizeRange
from continuon_local.storage.errors import StorageError, invalid, not_implemented
from continuon_local.storage.object_changes import requested_fields
from continuon_local.storage.objects import NewObject
from continuon_local.storage.preconditions import Preconditions, check_entity_tag
from continuon_local.storage.session_http import cancel_upload, continue_upload, incomplete
from continuon_local.storage.transfer import download, object_headers, receive
from continuon_local.storage.upload_session import Session
from continuon_local.storage.xml_auth import authorise
from continuon_local.storage.xml_forms import is_form, upload
from continuon_local.storage.xml_listing import list_bucket

if TYPE_CHECKING:
    from typing import Any

    from continuon_local.storage.call import Call
    from continuon_local.storage.records import ObjectRecord

__all__ = ["handle"]

_FIELD_OF_HEADER = {
    "content-type": "contentType",
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "x-goog-custom-time": "customTime",
    "x-goog-storage-class": "storageClass",
}
_METADATA_PREFIX = "x-goog-meta-"

# Parameters that choose another method of the XML API than the plain one.
_SUB_RESOURCES = frozenset(
    {"acl", "compose", "cors", "lifecycle", "retention", "tagging", "uploads", "versioning"}
)
_BUCKET_SUB_RESOURCES = frozenset(
    {"acl", "billing", "cors", "defaultObjectAcl", "encryption", "lifecycle", "location"}
    | {"logging", "storageClass", "tagging", "versioning", "versions", "websiteConfig"}
)


async def handle(call: Call, bucket: str, name: str) -> Response:
    """Answer a request for an object.

    Raises:
        StorageError: The request is refused.
    """
    session_id = call.parameters.get("upload_id")
    if session_id is not None and call.method in {"PUT", "POST", "DELETE"}:
        return await _session(call, session_id)
    if bucket and not name and is_form(call):
        return await upload(call, bucket)
    digest = authorise(call, bucket, name)
    if not name:
        return _bucket(call, bucket)
    if call.parameters.keys() & {"uploads", "uploadId"}:
        return await _parts(call, bucket, name, digest)
    for sub_resource in _SUB_RESOURCES & call.parameters.keys():
        raise not_implemented(f"{call.method} of an object with ?{sub_resource}")
    return await _object(call, bucket, name, digest)


async def _parts(call: Call, bucket: str, name: str, digest: str | None) -> Response:
    if "uploadId" in call.parameters:
        return await xml_uploads.handle(call, bucket, name, digest)
    if call.method == "POST":
        return await xml_uploads.initiate(call, bucket, name, _fields(call, bucket))
    raise not_implemented(f"{call.method} of an object with ?uploads")


async def _object(call: Call, bucket: str, name: str, digest: str | None) -> Response:
    match call.method:
        case "GET" | "HEAD":
            return _read(call, bucket, name)
        case "PUT":
            return await _put(call, bucket, name, digest)
        case "DELETE":
            await call.engine.objects.delete(
                bucket, name, call.generation(), Preconditions.from_headers(call.headers)
            )
            return Response(status_code=204)
        case "POST" if call.headers.get("x-goog-resumable") == "start":
            return _start_session(call, bucket, name)
        case _:
            raise StorageError(
                405, "methodNotAllowed", "MethodNotAllowed", "The method is not allowed."
            )


def _bucket(call: Call, bucket: str) -> Response:
    """Answer a request for a bucket: its lists, and whether it is there."""
    others = _BUCKET_SUB_RESOURCES & call.parameters.keys()
    if call.method == "GET" and "uploads" in call.parameters:
        return xml_uploads.list_uploads(call, bucket)
    if others or call.method not in {"GET", "HEAD"} or not bucket:
        what = "".join(f" with ?{name}" for name in sorted(others))
        raise not_implemented(f"{call.method} of a bucket in the XML API{what}")
    if call.method == "GET":
        return list_bucket(call, bucket)
    found = call.engine.objects.bucket(bucket)
    call.count(Operation.STORAGE_CLASS_B)
    headers = {"x-goog-metageneration": str(found.metageneration), "content-length": "0"}
    return Response(status_code=200, headers=headers)


def _fields(call: Call, bucket: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        field: call.headers[header]
        for header, field in _FIELD_OF_HEADER.items()
        if header in call.headers
    }
    metadata = {
        header.removeprefix(_METADATA_PREFIX): value
        for header, value in call.headers.items()
        if header.startswith(_METADATA_PREFIX)
    }
    if metadata:
        fields["metadata"] = metadata
    fields.setdefault("contentType", "application/octet-stream")
    return requested_fields(call, bucket, fields)


def _read(call: Call, bucket: str, name: str) -> Response:
    record = call.engine.objects.get(
        bucket, name, call.generation(), Preconditions.from_headers(call.headers)
    )
    check_entity_tag(call.headers, record.xml_etag)
    call.count(Operation.STORAGE_CLASS_B)
    overrides = {
        header: call.parameters[f"response-{header}"]
        for header in ("content-disposition", "content-type")
        if f"response-{header}" in call.parameters
    }
    return download(call, record, entity_tag=record.xml_etag, overrides=overrides)


async def _put(call: Call, bucket: str, name: str, digest: str | None) -> Response:
    if "x-goog-copy-source" in call.headers:
        raise not_implemented("PUT with x-goog-copy-source")
    sizes = SizeRange.from_headers(call.headers)
    if call.content_length is not None:
        sizes.check(call.content_length)
    expected = Expected.from_headers(call.headers).with_sha256(digest)
    conditions = Preconditions.from_headers(call.headers)
    fields = _fields(call, bucket)
    call.engine.objects.check_may_write(bucket, name, conditions)
    body_id, digests = await receive(call, call.stream(), expected, sizes)
    new = NewObject(
        bucket=bucket,
        name=name,
        body_id=body_id,
        digests=digests,
        fields=fields,
        conditions=conditions,
    )
    record = await call.engine.objects.create(new)
    call.count(Operation.STORAGE_CLASS_A)
    return _stored(record)


def _stored(record: ObjectRecord) -> Response:
    described = object_headers(record)
    headers = {name: value for name, value in described.items() if name.startswith("x-goog-")}
    return Response(status_code=200, headers={**headers, "etag": record.xml_etag})


def _start_session(call: Call, bucket: str, name: str) -> Response:
    session = call.engine.sessions.begin(
        bucket=bucket,
        name=name,
        fields=_fields(call, bucket),
        conditions=Preconditions.from_headers(call.headers),
        expected=Expected.from_headers(call.headers),
        sizes=SizeRange.from_headers(call.headers),
        total=None,
    )
    call.count(Operation.STORAGE_CLASS_A)
    path = quote(f"/{bucket}/{name}", safe="/~")
    location = f"{call.base_url}{path}?upload_id={session.id}"
    headers = {"location": location, "x-guploader-uploadid": session.id}
    return Response(status_code=201, headers=headers)


async def _session(call: Call, session_id: str) -> Response:
    if call.method == "DELETE":
        return await cancel_upload(call, session_id)
    if call.method == "POST":
        raise invalid("A session takes PUT requests.")
    outcome = await continue_upload(call, session_id)
    return incomplete(call, outcome) if isinstance(outcome, Session) else _stored(outcome)
