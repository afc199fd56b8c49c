"""The JSON API's methods on buckets, and on what belongs to a bucket but is no object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from continuon_local.meter import Operation
from continuon_local.storage import acl, acl_api
from continuon_local.storage.buckets import PredefinedLists
from continuon_local.storage.call import decode_segment
from continuon_local.storage.errors import StorageError, invalid, not_implemented
from continuon_local.storage.listing import page_size
from continuon_local.storage.notices import parse_config
from continuon_local.storage.preconditions import Preconditions, check_entity_tag
from continuon_local.storage.records import etag
from continuon_local.storage.views import bucket_resource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from continuon_local.storage.call import Call

__all__ = ["bucket", "buckets", "sub_resource"]

_LISTS = frozenset({"acl", "defaultObjectAcl"})


def _not_found() -> StorageError:
    return StorageError(404, "notFound", "NotFound", "Not Found")


def _full(call: Call, *, by_default: bool = False) -> bool:
    projection = call.parameters.get("projection")
    return by_default if projection is None else projection == "full"


async def buckets(call: Call) -> Response:
    """Answer ``buckets.list`` and ``buckets.insert``."""
    if call.method == "GET":
        return _list(call)
    if call.method == "POST":
        return await _insert(call)
    raise _not_found()


def _list(call: Call) -> Response:
    if call.flag("softDeleted"):
        raise not_implemented("buckets.list with softDeleted")
    limit = page_size(call.parameters)
    found = call.engine.store.buckets(
        call.parameters.get("project") or call.engine.context.project_id,
        call.parameters.get("prefix", ""),
        call.parameters.get("pageToken", ""),
        limit + 1,
    )
    call.count(Operation.STORAGE_CLASS_A)
    body: dict[str, Any] = {"kind": "storage#buckets"}
    if found:
        full = _full(call)
        body["items"] = [bucket_resource(each, call.base_url, full=full) for each in found[:limit]]
    if len(found) > limit:
        body["nextPageToken"] = found[limit - 1].name
    return JSONResponse(body)


async def _insert(call: Call) -> Response:
    body = await call.json()
    project = call.parameters.get("project") or call.engine.context.project_id
    lists = PredefinedLists.from_parameters(call.parameters)
    created = call.engine.buckets.create(
        str(body.get("name", "")),
        project,
        body,
        lists=lists,
        object_retention=call.flag("enableObjectRetention"),
    )
    call.count(Operation.STORAGE_CLASS_A)
    full = _full(call, by_default=bool(_LISTS & body.keys()))
    return JSONResponse(bucket_resource(created, call.base_url, full=full))


async def bucket(call: Call, name: str) -> Response:
    """Answer ``buckets.get``, ``patch``, ``update`` and ``delete``."""
    conditions = Preconditions.from_parameters(call.parameters)
    engine = call.engine
    if call.method == "GET":
        if call.flag("softDeleted"):
            raise not_implemented("buckets.get with softDeleted")
        record = engine.buckets.get(name, conditions)
        found = bucket_resource(record, call.base_url, full=_full(call))
        check_entity_tag(call.headers, found["etag"])
        call.count(Operation.STORAGE_CLASS_B)
        return JSONResponse(found)
    if call.method == "DELETE":
        engine.buckets.delete(name, conditions)
        return Response(status_code=204)
    if call.method in {"PATCH", "PUT"}:
        body = await call.json()
        changed = engine.buckets.change(
            name,
            body,
            conditions,
            replace_all=call.method == "PUT",
            lists=PredefinedLists.from_parameters(call.parameters),
        )
        call.count(Operation.STORAGE_CLASS_A)
        return JSONResponse(bucket_resource(changed, call.base_url, full=_full(call)))
    raise _not_found()


async def sub_resource(call: Call, name: str, kind: str, rest: Sequence[str]) -> Response:
    """Answer a call about ``/b/BUCKET/KIND``; ``rest`` is raw.

    Raises:
        StorageError: The request is refused, or the kind is not implemented (501).
    """
    if kind in _LISTS:
        return await acl_api.bucket_list(call, name, kind, rest)
    if kind == "iam":
        return await acl_api.policy(call, name, rest)
    if kind == "notificationConfigs":
        return await _notifications(call, name, [decode_segment(part) for part in rest])
    if kind == "managedFolders":
        return await _managed_folders(call, name, [decode_segment(part) for part in rest])
    if kind == "lockRetentionPolicy" and call.method == "POST":
        conditions = Preconditions.from_parameters(call.parameters)
        locked = call.engine.buckets.lock_retention(name, conditions)
        call.count(Operation.STORAGE_CLASS_A)
        return JSONResponse(bucket_resource(locked, call.base_url))
    raise not_implemented(f"{call.method} {call.raw_path}")


def _notification(call: Call, name: str, number: str, config: Mapping[str, Any]) -> dict[str, Any]:
    path = f"/storage/v1/b/{name}/notificationConfigs/{number}"
    return {
        **config,
        "kind": "storage#notification",
        "id": number,
        "selfLink": f"{call.base_url}{path}",
        "etag": number,
    }


async def _notifications(call: Call, name: str, rest: Sequence[str]) -> Response:
    call.engine.buckets.get(name)
    notices = call.engine.notices
    match call.method, list(rest):
        case "POST", []:
            config = parse_config(await call.json())
            call.engine.pubsub.check_topic(config["topic"].partition("googleapis.com/")[2])
            number = str(notices.add(name, config))
            call.count(Operation.STORAGE_CLASS_A)
            return JSONResponse(_notification(call, name, number, config))
        case "GET", []:
            call.count(Operation.STORAGE_CLASS_A)
            items = [_notification(call, name, str(n), each) for n, each in notices.configs(name)]
            return JSONResponse({"kind": "storage#notifications", "items": items})
        case "GET", [number]:
            call.count(Operation.STORAGE_CLASS_B)
            return JSONResponse(_notification(call, name, number, notices.config(name, number)))
        case "DELETE", [number]:
            notices.remove(name, number)
            return Response(status_code=204)
        case _:
            raise _not_found()


async def _managed_folders(call: Call, name: str, rest: Sequence[str]) -> Response:
    record = call.engine.buckets.get(name)
    folders = call.engine.folders
    match call.method, list(rest):
        case "POST", []:
            if not acl.is_uniform(record):
                raise invalid("Managed folders need uniform bucket-level access.")
            created = folders.add(name, str((await call.json()).get("name") or ""))
            call.count(Operation.STORAGE_CLASS_A)
            return JSONResponse(_folder(call, name, *created))
        case "GET", []:
            call.count(Operation.STORAGE_CLASS_A)
            found = folders.under(name, call.parameters.get("prefix", ""))
            items = [_folder(call, name, *each) for each in found]
            return JSONResponse({"kind": "storage#managedFolders", "items": items})
        case "GET", [folder]:
            call.count(Operation.STORAGE_CLASS_B)
            return JSONResponse(_folder(call, name, *folders.get(name, folder)))
        case "DELETE", [folder]:
            if not call.flag("allowNonEmpty"):
                _check_empty(call, name, folders.get(name, folder)[0])
            folders.remove(name, folder)
            return Response(status_code=204)
        case _:
            raise not_implemented(f"{call.method} {call.raw_path}")


def _check_empty(call: Call, bucket_name: str, folder: str) -> None:
    """Refuse to delete a managed folder that objects lie in."""
    found = list(call.engine.store.scan(bucket_name, (folder, 0), versions=True, limit=1))
    if found and found[0].name.startswith(folder):
        message = "The managed folder you tried to delete is not empty."
        raise StorageError(409, "conflict", "FolderNotEmpty", message)


def _folder(call: Call, bucket_name: str, folder: str, created: str) -> dict[str, Any]:
    return {
        "kind": "storage#managedFolder",
        "id": f"{bucket_name}/{folder}",
        "selfLink": f"{call.base_url}/storage/v1/b/{bucket_name}/managedFolders/{folder}",
        "name": folder,
        "bucket": bucket_name,
        "metageneration": "1",
        "createTime": created,
        "updateTime": created,
        "etag": etag(1, 0),
    }
