"""Uploads of HTML forms: ``POST /BUCKET`` with a policy document.

https://cloud.google.com/storage/docs/xml-api/post-object-forms
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.responses import Response

from continuon_local.meter import Operation
from continuon_local.storage import acl
from continuon_local.storage.checksums import Expected
from continuon_local.storage.errors import invalid
from continuon_local.storage.fields import settable_fields
from continuon_local.storage.multipart import FormUpload
from continuon_local.storage.objects import NewObject
from continuon_local.storage.post_policies import check_form
from continuon_local.storage.preconditions import NO_CONDITIONS
from continuon_local.storage.transfer import receive
from continuon_local.storage.xml_documents import document, node

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from continuon_local.storage.call import Call
    from continuon_local.storage.records import ObjectRecord

__all__ = ["is_form", "upload"]

_FIELD_OF_NAME = {
    "content-type": "contentType",
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "x-goog-custom-time": "customTime",
    "x-goog-storage-class": "storageClass",
}
_METADATA_PREFIX = "x-goog-meta-"
_STATUSES = {"200": 200, "201": 201, "204": 204}


def is_form(call: Call) -> bool:
    """Say whether a request is the upload of an HTML form."""
    return call.method == "POST" and call.headers.get("content-type", "").startswith(
        "multipart/form-data"
    )


async def upload(call: Call, bucket: str) -> Response:
    """Store the file of a form.

    Raises:
        StorageError: The form is malformed (400), or its policy does not allow it (400, 403).
    """
    form = FormUpload(call.headers.get("content-type", ""), call.stream())
    fields = await form.fields()
    engine = call.engine
    now = engine.context.clock.now()
    sizes = check_form(fields, bucket, engine.accounts, now)
    target = fields.get("success_action_redirect") or "http://"
    if not target.startswith(("http://", "https://")) or not target.isprintable():
        raise invalid("Invalid value for success_action_redirect")
    name = fields.get("key", "").replace("${filename}", form.file_name)
    wanted = _fields(fields, engine.objects.bucket(bucket).project_id, form.media_type)
    engine.objects.check_may_write(bucket, name, NO_CONDITIONS)
    body_id, digests = await receive(call, form.media(), Expected(), sizes)
    record = await engine.objects.create(
        NewObject(bucket=bucket, name=name, body_id=body_id, digests=digests, fields=wanted)
    )
    call.count(Operation.STORAGE_CLASS_A)
    return _answer(call, fields, record)


def _fields(form: Mapping[str, str], project_id: str, media_type: str | None) -> dict[str, Any]:
    fields: dict[str, Any] = {
        field: form[name] for name, field in _FIELD_OF_NAME.items() if name in form
    }
    fields["metadata"] = {
        name.removeprefix(_METADATA_PREFIX): value
        for name, value in form.items()
        if name.startswith(_METADATA_PREFIX)
    }
    fields.setdefault("contentType", media_type or "application/octet-stream")
    named = form.get("acl") or form.get("x-goog-acl")
    if named:
        fields["acl"] = acl.predefined(named, project_id, of_bucket=False)
    return settable_fields(fields)


def _answer(call: Call, form: Mapping[str, str], record: ObjectRecord) -> Response:
    headers = {"etag": record.xml_etag, "x-goog-generation": str(record.generation)}
    target = form.get("success_action_redirect")
    if target:
        what = {"bucket": record.bucket, "key": record.name, "etag": record.xml_etag}
        joint = "&" if "?" in target else "?"
        headers["location"] = f"{target}{joint}{urlencode(what)}"
        return Response(status_code=303, headers=headers)
    status = _STATUSES.get(form.get("success_action_status", ""), 204)
    if status != _STATUSES["201"]:
        return Response(status_code=status, headers=headers)
    answer = document(
        "PostResponse",
        [
            node("Location", f"{call.base_url}/{record.bucket}/{record.name}"),
            node("Bucket", record.bucket),
            node("Key", record.name),
            node("ETag", record.xml_etag),
        ],
    )
    answer.status_code = status
    answer.headers.update(headers)
    return answer
