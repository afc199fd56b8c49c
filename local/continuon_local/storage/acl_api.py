"""The methods of the JSON API about access control lists and bucket policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from continuon_local.meter import Operation
from continuon_local.storage import acl, policies
from continuon_local.storage.call import decode_segment
from continuon_local.storage.errors import StorageError, invalid
from continuon_local.storage.preconditions import NO_CONDITIONS, Preconditions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from continuon_local.storage.call import Call
    from continuon_local.storage.records import BucketRecord, ObjectRecord

__all__ = ["bucket_list", "object_list", "policy"]

_LISTS = {
    ("acl", False): "storage#bucketAccessControls",
    ("defaultObjectAcl", False): "storage#objectAccessControls",
    ("acl", True): "storage#objectAccessControls",
}


def _not_found() -> StorageError:
    return StorageError(404, "notFound", "NotFound", "The specified ACL entry was not found.")


def _refuse_uniform(bucket: BucketRecord, what: str) -> None:
    if acl.is_uniform(bucket):
        message = (
            f"Cannot get legacy ACL for {what} when uniform bucket-level access is enabled. Read"
            " more at https://cloud.google.com/storage/docs/uniform-bucket-level-access"
        )
        raise invalid(message)


def _find(entries: acl.Entries, entity: str) -> dict[str, str]:
    for entry in entries:
        if entry["entity"] == entity:
            return entry
    raise _not_found()


async def _changed(
    call: Call, entries: acl.Entries, rest: Sequence[str], roles: frozenset[str]
) -> acl.Entries:
    """Return the list after a POST, PUT, PATCH or DELETE of one entry."""
    if call.method == "POST" and not rest:
        entry = acl.parse_entry(await call.json(), roles)
    elif rest and call.method in {"PUT", "PATCH", "DELETE"}:
        entity = decode_segment(rest[0])
        if call.method == "DELETE":
            _find(entries, entity)
            return [each for each in entries if each["entity"] != entity]
        known = [each for each in entries if each["entity"] == entity]
        entry = acl.parse_entry(
            {**(known or [{}])[0], **await call.json(), "entity": entity}, roles
        )
    else:
        raise StorageError(404, "notFound", "NotFound", "Not Found")
    return [*(each for each in entries if each["entity"] != entry["entity"]), entry]


class _View:
    """One list, and how its entries are shown."""

    def __init__(
        self, call: Call, bucket: BucketRecord, kind: str, record: ObjectRecord | None = None
    ) -> None:
        self._base_url = call.base_url
        self._bucket = bucket
        self._kind = kind
        self._key = None if record is None else (record.name, record.generation)

    def entry(self, entry: dict[str, str]) -> dict[str, Any]:
        return acl.entry_resource(
            entry,
            bucket=self._bucket,
            base_url=self._base_url,
            kind=self._kind,
            object_key=self._key,
        )

    def answer(self, entries: acl.Entries, entity: str | None) -> Response:
        if entity is not None:
            return JSONResponse(self.entry(_find(entries, entity)))
        kind = _LISTS[self._kind, self._key is not None]
        items = [self.entry(entry) for entry in entries]
        return JSONResponse({"kind": kind, "items": items})


async def bucket_list(call: Call, name: str, field: str, rest: Sequence[str]) -> Response:
    """Answer a call about a bucket's list; ``field`` is ``acl`` or ``defaultObjectAcl``.

    Raises:
        StorageError: The request is refused.
    """
    buckets = call.engine.buckets
    conditions = Preconditions.from_parameters(call.parameters)
    bucket = buckets.get(name, conditions if call.method == "GET" else NO_CONDITIONS)
    _refuse_uniform(bucket, "a bucket")
    entries: acl.Entries = list(bucket.fields.get(field) or [])
    entity = decode_segment(rest[0]) if rest else None
    if call.method == "GET":
        call.count(Operation.STORAGE_CLASS_B)
        return _View(call, bucket, field).answer(entries, entity)
    roles = acl.BUCKET_ROLES if field == "acl" else acl.OBJECT_ROLES
    changed = await _changed(call, entries, rest, roles)
    updated = buckets.set_entries(name, field, changed, conditions)
    call.count(Operation.STORAGE_CLASS_A)
    return _after_change(call, _View(call, updated, field), changed, entity)


def _after_change(call: Call, view: _View, entries: acl.Entries, entity: str | None) -> Response:
    if call.method == "DELETE":
        return Response(status_code=204)
    chosen = entries[-1] if entity is None else _find(entries, entity)
    return JSONResponse(view.entry(chosen))


async def object_list(call: Call, key: tuple[str, str], rest: Sequence[str]) -> Response:
    """Answer a call about an object's list.

    Raises:
        StorageError: The request is refused.
    """
    bucket = call.engine.buckets.get(key[0])
    _refuse_uniform(bucket, "an object")
    generation = call.generation()
    record = call.engine.objects.get(*key, generation)
    entity = decode_segment(rest[0]) if rest else None
    if call.method == "GET":
        call.count(Operation.STORAGE_CLASS_B)
        entries: acl.Entries = list(record.fields.get("acl") or [])
        return _View(call, bucket, "acl", record).answer(entries, entity)
    changed = await _changed(call, list(record.fields.get("acl") or []), rest, acl.OBJECT_ROLES)
    updated = call.engine.objects.set_entries(
        (*key, generation), Preconditions.from_parameters(call.parameters), changed
    )
    call.count(Operation.STORAGE_CLASS_A)
    return _after_change(call, _View(call, bucket, "acl", updated), changed, entity)


async def policy(call: Call, name: str, rest: Sequence[str]) -> Response:
    """Answer ``getIamPolicy``, ``setIamPolicy`` and ``testIamPermissions`` of a bucket.

    Raises:
        StorageError: The request is refused.
    """
    bucket = call.engine.buckets.get(name)
    match call.method, list(rest):
        case "GET", []:
            call.count(Operation.STORAGE_CLASS_B)
            version = call.parameters.get("optionsRequestedPolicyVersion", "1")
            return JSONResponse(policies.policy_resource(bucket, version))
        case "PUT", []:
            bindings = policies.parse_policy(bucket, await call.json())
            updated = call.engine.buckets.set_policy(name, bindings)
            call.count(Operation.STORAGE_CLASS_A)
            return JSONResponse(policies.policy_resource(updated, "3"))
        case "GET", ["testPermissions"]:
            asked = policies.check_permissions(call.query_values("permissions"))
            kind = "storage#testIamPermissionsResponse"
            return JSONResponse({"kind": kind, "permissions": asked})
        case _:
            raise StorageError(404, "notFound", "NotFound", "Not Found")
