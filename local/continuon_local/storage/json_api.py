"""The JSON API: buckets and objects. Uploads are in :mod:`json_uploads`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from continuon_local.meter import Operation
from continuon_local.storage import acl_api, bucket_api, copies, project_api
from continuon_local.storage.call import decode_segment
from continuon_local.storage.encryption import customer_key
from continuon_local.storage.errors import StorageError, invalid, not_implemented
from continuon_local.storage.listing import ListQuery, Page, list_objects
from continuon_local.storage.object_changes import requested_changes
from continuon_local.storage.preconditions import Preconditions, check_entity_tag
from continuon_local.storage.transfer import download
from continuon_local.storage.views import object_resource

if TYPE_CHECKING:
    from collections.abc import Sequence

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
            return await bucket_api.buckets(call)
        case ["b", bucket]:
            return await bucket_api.bucket(call, decode_segment(bucket))
        case ["b", bucket, "o", *rest]:
            return await _objects(call, decode_segment(bucket), rest)
        case ["b", bucket, kind, *rest]:
            return await bucket_api.sub_resource(call, decode_segment(bucket), kind, rest)
        case ["projects", project, *rest]:
            return await project_api.handle(call, decode_segment(project), rest)
        case ["channels", *_]:
            raise not_implemented(f"{call.method} {call.raw_path}")
        case _:
            raise _not_found()


async def _objects(call: Call, bucket: str, rest: Sequence[str]) -> Response:
    match list(rest):
        case [] if call.method == "GET":
            return _list_objects(call, bucket)
        case ["watch"] if call.method == "POST":
            raise not_implemented("objects.watchAll")
        case [name]:
            return await _object(call, bucket, decode_segment(name))
        case [name, "acl", *entity]:
            return await acl_api.object_list(call, (bucket, decode_segment(name)), entity)
        case [name, *verb] if call.method == "POST":
            return await _transform(call, (bucket, decode_segment(name)), verb)
        case _:
            raise _not_found()


def object_response(call: Call, record: ObjectRecord) -> Response:
    """Answer with an object resource."""
    return JSONResponse(_resource(call, record), headers={"etag": record.etag})


def _resource(call: Call, record: ObjectRecord) -> dict[str, Any]:
    full = call.parameters.get("projection") == "full"
    bucket = call.engine.objects.bucket(record.bucket)
    key = customer_key(call.headers)
    return object_resource(record, bucket, call.base_url, full=full, key=key)


def _not_found() -> StorageError:
    return StorageError(404, "notFound", "NotFound", "Not Found")


def _list_objects(call: Call, bucket: str) -> Response:
    found = call.engine.objects.bucket(bucket)
    query = ListQuery.from_parameters(bucket, call.parameters)
    page = list_objects(call.engine.store, query)
    _add_folders(call, query, page)
    call.count(CLASS_A)
    body: dict[str, Any] = {"kind": "storage#objects"}
    if page.items:
        full = call.parameters.get("projection") == "full"
        body["items"] = [
            object_resource(record, found, call.base_url, full=full) for record in page.items
        ]
    if page.prefixes:
        body["prefixes"] = page.prefixes
    if page.next_page_token is not None:
        body["nextPageToken"] = page.next_page_token
    return JSONResponse(body)


def _add_folders(call: Call, query: ListQuery, page: Page) -> None:
    """Show managed folders among the prefixes; they all come with the last page."""
    if not call.flag("includeFoldersAsPrefixes"):
        return
    if query.delimiter != "/":
        raise invalid("includeFoldersAsPrefixes needs the delimiter '/'.")
    if page.next_page_token is None:
        found = call.engine.folders.under(query.bucket, query.prefix)
        folded = {query.folded(name) for name, _ in found} - {None, *page.prefixes}
        page.prefixes = sorted([*page.prefixes, *map(str, folded)])


async def _object(call: Call, bucket: str, name: str) -> Response:
    conditions = Preconditions.from_parameters(call.parameters)
    generation = call.generation()
    objects = call.engine.objects
    if call.method in {"GET", "HEAD"}:
        if call.flag("softDeleted"):
            call.count(CLASS_B)
            return object_response(call, objects.get_soft_deleted(bucket, name, generation))
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
            bucket,
            name,
            generation,
            conditions,
            requested_changes(call, bucket, body),
            replace_all=call.method == "PUT",
            override_retention=call.flag("overrideUnlockedRetention"),
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
        case ["restore"]:
            record = await call.engine.objects.restore(
                (*key, call.generation()),
                Preconditions.from_parameters(call.parameters),
                copy_list=call.flag("copySourceAcl"),
            )
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
            "resource": _resource(call, record),
        }
    )
