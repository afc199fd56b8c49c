"""Firebase Storage: the ``/v0`` paths that Firebase's client SDKs read and write.

Every call is judged by ``storage.rules`` in the name of the user whose ID token it carries; a
download token in the address replaces them for reading one object.
"""

from __future__ import annotations

import hmac
import uuid
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from continuon_local.meter import Operation
from continuon_local.storage import firebase_uploads
from continuon_local.storage.call import decode_segment
from continuon_local.storage.errors import StorageError, invalid, not_implemented
from continuon_local.storage.firebase_rules import caller_of
from continuon_local.storage.firebase_view import TOKENS, object_answer, tokens_of
from continuon_local.storage.listing import ListQuery, list_objects
from continuon_local.storage.preconditions import NO_CONDITIONS
from continuon_local.storage.transfer import download

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from continuon_local.storage.call import Call
    from continuon_local.storage.records import ObjectRecord

__all__ = ["CROSS_ORIGIN", "handle", "preflight", "refusal"]

CROSS_ORIGIN = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": (
        "Content-Length, Content-Range, Content-Type, ETag, X-Goog-Upload-Chunk-Granularity,"
        " X-Goog-Upload-Control-URL, X-Goog-Upload-Size-Received, X-Goog-Upload-Status,"
        " X-Goog-Upload-URL"
    ),
}

# What a client may change about an object.
_SETTABLE = frozenset(
    {"cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType"}
)


def preflight(call: Call) -> Response:
    """Answer a browser's question before a request: Firebase's paths are open to every page."""
    headers = {
        **CROSS_ORIGIN,
        "access-control-allow-methods": "GET, POST, PATCH, DELETE, PUT, OPTIONS",
        "access-control-allow-headers": call.headers.get("access-control-request-headers", ""),
        "access-control-max-age": "3600",
    }
    return Response(status_code=200, headers=headers)


def refusal(error: StorageError) -> Response:
    """Return an error as these paths write it."""
    body = {"error": {"code": error.status, "message": error.message}}
    return JSONResponse(body, error.status, error.headers)


async def handle(call: Call, segments: Sequence[str]) -> Response:
    """Answer a request below ``/v0``; ``segments`` are the raw rest of its path.

    Raises:
        StorageError: The request is refused.
    """
    match list(segments):
        case ["b", bucket, "o"] | ["b", bucket, "o", ""]:
            return await _collection(call, decode_segment(bucket))
        case ["b", bucket, "o", name]:
            return await _object(call, decode_segment(bucket), decode_segment(name))
        case _:
            raise StorageError(404, "notFound", "NotFound", "Not Found.")


async def _collection(call: Call, bucket: str) -> Response:
    if call.method == "GET":
        return _list(call, bucket)
    if call.method in {"POST", "PUT"}:
        return await firebase_uploads.handle(call, bucket, call.parameters.get("name", ""))
    raise not_implemented(f"{call.method} {call.raw_path}")


def _list(call: Call, bucket: str) -> Response:
    prefix = call.parameters.get("prefix", "")
    call.engine.rules.check(call, "list", (bucket, prefix))
    call.engine.objects.bucket(bucket)
    page = list_objects(call.engine.store, ListQuery.from_parameters(bucket, call.parameters))
    call.count(Operation.STORAGE_CLASS_A)
    items = [{"name": record.name, "bucket": bucket} for record in page.items]
    body: dict[str, Any] = {"prefixes": page.prefixes, "items": items}
    if page.next_page_token is not None:
        body["nextPageToken"] = page.next_page_token
    return JSONResponse(body)


async def _object(call: Call, bucket: str, name: str) -> Response:
    engine = call.engine
    if call.method in {"GET", "HEAD"}:
        return _read(call, bucket, name)
    if call.method == "DELETE":
        engine.rules.check(call, "delete", (bucket, name), before=engine.store.live(bucket, name))
        await engine.objects.delete(bucket, name, None, NO_CONDITIONS)
        return Response(status_code=204)
    if call.method == "PATCH":
        return await _patch(call, bucket, name)
    if call.method in {"POST", "PUT"}:
        if "create_token" in call.parameters or "delete_token" in call.parameters:
            return _change_tokens(call, bucket, name)
        return await firebase_uploads.handle(call, bucket, name)
    raise not_implemented(f"{call.method} {call.raw_path}")


def _read(call: Call, bucket: str, name: str) -> Response:
    engine = call.engine
    record = engine.store.live(bucket, name)
    media = call.parameters.get("alt") == "media"
    if not (media and record is not None and _has_token(call, record)):
        engine.rules.check(call, "get", (bucket, name), before=record)
    if record is None:
        raise StorageError(404, "notFound", "NoSuchKey", "Not Found.")
    call.count(Operation.STORAGE_CLASS_B)
    if media:
        return download(call, record, entity_tag=record.etag)
    if not tokens_of(record):
        # The SDK makes the address of a download from the first token it finds here.
        record = _set_tokens(call, record, [str(uuid.uuid4())])
    return object_answer(record)


def _has_token(call: Call, record: ObjectRecord) -> bool:
    token = call.parameters.get("token", "").encode()
    return any(hmac.compare_digest(known.encode(), token) for known in tokens_of(record))


def _set_tokens(call: Call, record: ObjectRecord, tokens: list[str]) -> ObjectRecord:
    return call.engine.objects.change(
        record.bucket,
        record.name,
        record.generation,
        NO_CONDITIONS,
        {"metadata": {TOKENS: ",".join(tokens) or None}},
        replace_all=False,
    )


def _change_tokens(call: Call, bucket: str, name: str) -> Response:
    """Make or revoke a download token, which only an administrator may."""
    if not caller_of(call).admin:
        raise StorageError(403, "forbidden", "AccessDenied", "Missing admin credentials.")
    record = call.engine.objects.get(bucket, name)
    tokens = tokens_of(record)
    doomed = call.parameters.get("delete_token")
    if doomed is not None:
        tokens = [token for token in tokens if token != doomed] or [str(uuid.uuid4())]
    elif call.flag("create_token"):
        tokens = [*tokens, str(uuid.uuid4())]
    else:
        raise invalid("Invalid value for create_token")
    return object_answer(_set_tokens(call, record, tokens))


async def _patch(call: Call, bucket: str, name: str) -> Response:
    changes = _changes(await call.json())
    engine = call.engine
    before = engine.store.live(bucket, name)
    if before is None:
        engine.rules.check(call, "update", (bucket, name))
        raise StorageError(404, "notFound", "NoSuchKey", "Not Found.")
    record = engine.objects.change(
        bucket,
        name,
        before.generation,
        NO_CONDITIONS,
        changes,
        replace_all=False,
        approve=lambda after: engine.rules.check(
            call, "update", (bucket, name), before=before, after=after
        ),
    )
    call.count(Operation.STORAGE_CLASS_A)
    return object_answer(record)


def _changes(body: Mapping[str, Any]) -> dict[str, Any]:
    changes = {field: value for field, value in body.items() if field in _SETTABLE}
    if "metadata" in body:
        metadata = body["metadata"]
        if not isinstance(metadata, dict | None):
            raise invalid("Invalid value for metadata")
        # The tokens are kept here as well; a client must not choose its own.
        changes["metadata"] = {k: v for k, v in (metadata or {}).items() if k != TOKENS}
    return changes
