"""Resources as the JSON API shows them: what is stored, and what follows from the bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from continuon_local.storage import acl, protection
from continuon_local.storage.encryption import key_matches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from continuon_local.storage.records import BucketRecord, ObjectRecord

__all__ = ["bucket_resource", "object_resource"]

_CHECKSUMS = ("md5Hash", "crc32c")


def bucket_resource(bucket: BucketRecord, base_url: str, *, full: bool = False) -> dict[str, Any]:
    """Return a bucket's resource; ``full`` adds the access control lists and the owner."""
    resource = bucket.resource(base_url)
    if full and not acl.is_uniform(bucket):
        (owner,) = acl.predefined("private", bucket.project_id, of_bucket=True)
        resource["owner"] = {"entity": owner["entity"]}
        for field, kind in (("acl", "acl"), ("defaultObjectAcl", "defaultObjectAcl")):
            resource[field] = [
                acl.entry_resource(entry, bucket=bucket, base_url=base_url, kind=kind)
                for entry in bucket.fields.get(field) or []
            ]
    return resource


def object_resource(
    record: ObjectRecord,
    bucket: BucketRecord,
    base_url: str,
    *,
    full: bool = False,
    key: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return an object's resource; ``full`` adds the access control list and the owner.

    The checksums of an object with a customer-supplied key are shown to who has the ``key``.
    """
    resource = record.resource(base_url)
    until = protection.retention_expiration(bucket, record)
    if until is not None:
        resource["retentionExpirationTime"] = until
    if record.fields.get("customerEncryption") and not key_matches(record, key):
        for name in _CHECKSUMS:
            resource.pop(name, None)
    if full and not acl.is_uniform(bucket):
        resource["owner"] = {"entity": acl.owner_entity(bucket.project_id)}
        object_key = (record.name, record.generation)
        resource["acl"] = [
            acl.entry_resource(
                entry, bucket=bucket, base_url=base_url, kind="acl", object_key=object_key
            )
            for entry in record.fields.get("acl") or []
        ]
    return resource
