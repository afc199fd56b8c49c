"""The fields of an object when it is made and when it is changed: pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from continuon_local.storage import acl
from continuon_local.storage.bucket_fields import merge_patch
from continuon_local.storage.contexts import merged
from continuon_local.storage.encryption import check_restrictions, customer_key
from continuon_local.storage.errors import invalid
from continuon_local.storage.fields import check_metadata, settable_fields
from continuon_local.storage.protection import check_retention_change
from continuon_local.storage.records import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from continuon_local.storage.call import Call
    from continuon_local.storage.records import BucketRecord, ObjectRecord

__all__ = [
    "changed_fields",
    "copied_fields",
    "initial_fields",
    "requested_changes",
    "requested_fields",
    "with_default_list",
]

# What a copy does not take over: protections and keys belong to the object they were put on.
_NOT_COPIED = frozenset(
    {
        "acl",
        "customerEncryption",
        "eventBasedHold",
        "hardDeleteTime",
        "holdReleased",
        "retention",
        "softDeleteTime",
        "storageClass",
        "temporaryHold",
    }
)

# What a full update keeps, because the request cannot set it.
_KEPT = ("customerEncryption", "holdReleased", "retention", "contexts", "acl")


def requested_fields(call: Call, bucket: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a request says about the object that it makes.

    Raises:
        StorageError: The bucket is unknown (404), or a value is not valid (400, 501).
    """
    fields = settable_fields(body)
    for parameter in ("predefinedAcl", "destinationPredefinedAcl"):
        if parameter in call.parameters:
            fields["acl"] = _predefined(call, bucket, call.parameters[parameter])
    if "x-goog-acl" in call.headers:
        fields["acl"] = _predefined(call, bucket, call.headers["x-goog-acl"])
    key = customer_key(call.headers)
    if key is not None:
        fields["customerEncryption"] = key
    return fields


def requested_changes(call: Call, bucket: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a request changes about an object: its body, and a predefined list.

    Raises:
        StorageError: The bucket is unknown (404), or there is no such list (400).
    """
    name = call.parameters.get("predefinedAcl")
    return dict(body) if name is None else {**body, "acl": _predefined(call, bucket, name)}


def _predefined(call: Call, bucket: str, name: str) -> acl.Entries:
    project_id = call.engine.objects.bucket(bucket).project_id
    return acl.predefined(name, project_id, of_bucket=False)


def copied_fields(record: ObjectRecord, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a copy of ``record`` is made with."""
    fields = {name: value for name, value in record.fields.items() if name not in _NOT_COPIED}
    contexts = (record.fields.get("contexts") or {}).get("custom")
    if contexts:
        fields["contexts"] = {"custom": {key: each["value"] for key, each in contexts.items()}}
    return {**fields, **overrides}


def initial_fields(
    requested: Mapping[str, Any], bucket: BucketRecord, now: datetime
) -> dict[str, Any]:
    """Return the fields of a new object, with what the bucket adds to them.

    Raises:
        StorageError: The bucket does not take such an object (400, 412).
    """
    check_restrictions(bucket, requested)
    fields = {name: value for name, value in requested.items() if value is not None}
    fields.pop("judged", None)
    default = bucket.fields.get("storageClass", "STANDARD")
    fields.setdefault("storageClass", default)
    if (bucket.fields.get("autoclass") or {}).get("enabled"):
        fields["storageClass"] = "STANDARD"  # autoclass decides alone, and begins here
    if bucket.fields.get("defaultEventBasedHold"):
        fields.setdefault("eventBasedHold", True)
    contexts = merged(None, fields.pop("contexts", None), timestamp(now))
    if contexts:
        fields["contexts"] = contexts
    check_retention_change(bucket, {}, fields, now, override=False)
    if "acl" in fields:
        _check_list(bucket, fields["acl"])
        return {**fields, "acl": _with_owner(fields["acl"], bucket)}
    return with_default_list(fields, bucket)


def with_default_list(fields: Mapping[str, Any], bucket: BucketRecord) -> dict[str, Any]:
    """Return ``fields`` with the access control list that new objects of the bucket have."""
    entries = bucket.fields.get("defaultObjectAcl")
    if entries is None:
        entries = acl.predefined("projectPrivate", bucket.project_id, of_bucket=False)
    return {**fields, "acl": _with_owner(entries, bucket)}


def _with_owner(entries: acl.Entries, bucket: BucketRecord) -> acl.Entries:
    owner = {"entity": acl.owner_entity(bucket.project_id), "role": "OWNER"}
    return [*(entry for entry in entries if entry["entity"] != owner["entity"]), owner]


def _check_list(bucket: BucketRecord, entries: acl.Entries) -> None:
    if acl.is_uniform(bucket):
        message = (
            "Cannot insert legacy ACL for an object when uniform bucket-level access is enabled."
            " Read more at https://cloud.google.com/storage/docs/uniform-bucket-level-access"
        )
        raise invalid(message)
    acl.check_publicity(bucket, entries)


def changed_fields(
    record: ObjectRecord,
    changes: Mapping[str, Any],
    bucket: BucketRecord,
    now: datetime,
    *,
    replace_all: bool,
    override_retention: bool = False,
) -> dict[str, Any]:
    """Return the fields of an object after ``changes``.

    Raises:
        StorageError: The change is not allowed (400, 403, 412).
    """
    moment = timestamp(now)
    simple = {name: value for name, value in changes.items() if name != "contexts"}
    if replace_all:
        kept = {name: record.fields[name] for name in _KEPT if name in record.fields}
        fields = {**kept, **simple, "storageClass": record.storage_class}
    else:
        fields = merge_patch(record.fields, simple)
    if "contexts" in changes:
        fields["contexts"] = merged(record.fields.get("contexts"), changes["contexts"], moment)
    if "retention" in changes:
        fields["retention"] = changes["retention"]
    check_metadata(fields.get("metadata"))
    check_retention_change(bucket, record.fields, fields, now, override=override_retention)
    if record.fields.get("eventBasedHold") and not fields.get("eventBasedHold"):
        fields["holdReleased"] = moment
    if changes.get("acl") is not None:
        _check_list(bucket, changes["acl"])
        fields["acl"] = _with_owner(changes["acl"], bucket)
    return {name: value for name, value in fields.items() if value is not None}
