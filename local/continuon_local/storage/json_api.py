"""The JSON API: buckets and objects. Uploads are in :mod:`json_uploads`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from continuon_local.meter import Operation
from continuon_local.storage import copies
from continuon_local.storage.call import decode_segment
from continuon_local.storage.errors import StorageError, not_implemented
from continuon_local.storage.listing import ListQuery, list_objects, page_size
from continuon_local.storage.preconditions import Preconditions, check_entity_tag
from continuon_local.storage.transfer import download

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from continuon_local.storage.call import Call
    from continuon_local.storage.records import ObjectRecord

__all__ = ["handle", "object_response"]

CLASS_A, CLASS_B = Operation.STORAGE_CLASS_A, Operation.STORAGE_CLASS_B


async def handle(call: Call, segments: Sequence[str]) -> Response:
    """Answer a request below ``/storage/v1``; ``segments`` are the raw rest of its path.

    Raises:
        StorageError: The request is refused.
    """
    match list(segments):
        case ["b"]:
            return await _of(call, {"GET": _list_buckets, "POST": _insert_bucket})
        case ["b", bucket]:
            return await _bucket(call, decode_segment(bucket))
        case ["b", bucket, "o"]:
            if call.method != "GET":
                raise _not_found()
            return _list_objects(call, decode_segment(bucket))
        case ["b", bucket, "o", name]:
            return await _object(call, decode_segment(bucket), decode_segment(name))
        case ["b", bucket, "o", name, *rest] if call.method == "POST":
            return await _transform(call, (decode_segment(bucket), decode_segment(name)), rest)
        case ["b", *_] | ["projects", *_] | ["channels", *_]:
            raise not_implemented(f"{call.method} {call.raw_path}")
        case _:
            raise _not_found()


def object_response(call: Call, record: ObjectRecord) -> Response:
    """Answer with an object resource."""
    return JSONResponse(record.resource(call.base_url), headers={"etag": record.etag})


def _not_found() -> StorageError:
    return StorageError(404, "notFound", "NotFound", "Not Found")


async def _of(call: Call, handlers: dict[str, Callable[[Call], Awaitable[Response]]]) -> Response:
    handler = handlers.get(call.method)
    if handler is None:
        raise _not_found()
    return await handler(call)


async def _list_buckets(call: Call) -> Response:
    limit = page_size(call.parameters)
    found = call.engine.store.buckets(
        call.parameters.get("project") or call.engine.context.project_id,
        call.parameters.get("prefix", ""),
        call.parameters.get("pageToken", ""),
        limit + 1,
    )
    call.count(CLASS_A)
    body: dict[str, Any] = {"kind": "storage#buckets"}
    if found:
        body["items"] = [bucket.resource(call.base_url) for bucket in found[:limit]]
    if len(found) > limit:
        body["nextPageToken"] = found[limit - 1].name
    return JSONResponse(body)


async def _insert_bucket(call: Call) -> Response:
    body = await call.json()
    if call.flag("enableObjectRetention"):
        raise not_implemented("buckets.insert with enableObjectRetention")
    project = call.parameters.get("project") or call.engine.context.project_id
    bucket = call.engine.buckets.create(str(body.get("name", "")), project, body)
    call.count(CLASS_A)
    return JSONResponse(bucket.resource(call.base_url))


async def _bucket(call: Call, name: str) -> Response:
    conditions = Preconditions.from_parameters(call.parameters)
    buckets = call.engine.buckets
    if call.method == "GET":
        found = buckets.get(name, conditions).resource(call.base_url)
        check_entity_tag(call.headers, found["etag"])
        call.count(CLASS_B)
        return JSONResponse(found)
    if call.method == "DELETE":
        buckets.delete(name, conditions)
        return Response(status_code=204)
    if call.method in {"PATCH", "PUT"}:
        body = await call.json()
        changed = buckets.change(name, body, conditions, replace_all=call.method == "PUT")
        call.count(CLASS_A)
        return JSONResponse(changed.resource(call.base_url))
    raise _not_found()


def _list_objects(call: Call, bucket: str) -> Response:
    call.engine.objects.bucket(bucket)
    page = list_objects(call.engine.store, ListQuery.from_parameters(bucket, call.parameters))
    call.count(CLASS_A)
    body: dict[str, Any] = {"kind": "storage#objects"}
    if page.items:
        body["items"] = [record.resource(call.base_url) for record in page.items]
    if page.prefixes:
        body["prefixes"] = page.prefixes
    if page.next_page_token is not None:
        body["nextPageToken"] = page.next_page_token
    return JSONResponse(body)


async def _object(call: Call, bucket: str, name: str) -> Response:
    conditions = Preconditions.from_parameters(call.parameters)
    generation = call.generation()
    objects = call.engine.objects
    if call.method in {"GET", "HEAD"}:
        record = objects.get(bucket, name, generation, conditions)
        check_entity_tag(call.headers, record.etag)
        call.count(CLASS_B)
        if call.parameters.get("alt") == "media":
            return download(call, record, entity_tag=record.etag)
        return object_response(call, record)
    if call.method == "DELETE":
        await objects.delete(bucket, name, generation, conditions)
        return Response(status_code=204)
    if call.method in {"PATCH", "PUT"}:
        body = await call.json()
        record = objects.change(
            bucket, name, generation, conditions, body, replace_all=call.method == "PUT"
        )
        call.count(CLASS_A)
        return object_response(call, record)
    raise _not_found()


async def _transform(call: Call, key: tuple[str, str], rest: Sequence[str]) -> Response:
    """Answer a call that makes an object of other objects; ``rest`` is raw."""
    verb, *target = (decode_segment(segment) for segment in rest)
    match [verb, *target]:
        case ["compose"]:
            record = await copies.compose(call, *key)
        case ["moveTo", "o", name]:
            record = await copies.move(call, *key, name)
        case ["copyTo" | "rewriteTo", "b", bucket, "o", name]:
            record = await copies.copy(call, key, (bucket, name))
        case _:
            raise not_implemented(f"{call.method} {call.raw_path}")
    call.count(CLASS_A)
    return _rewritten(call, record) if verb == "rewriteTo" else object_response(call, record)


def _rewritten(call: Call, record: ObjectRecord) -> Response:
    return JSONResponse(
        {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": str(record.size),
            "objectSize": str(record.size),
            "done": True,
            "resource": record.resource(call.base_url),
        }
    )
