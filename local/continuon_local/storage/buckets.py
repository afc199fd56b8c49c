"""Buckets: create, change, list, delete."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from continuon_local.database import transaction
from continuon_local.storage.errors import StorageError, bucket_not_found, invalid, not_implemented
from continuon_local.storage.preconditions import NO_CONDITIONS, Preconditions
from continuon_local.storage.records import BucketRecord, timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from continuon_local.clock import Clock
    from continuon_local.storage.store import Store

__all__ = ["Buckets"]

# https://cloud.google.com/storage/docs/buckets#naming; dots allow up to 222 characters.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")

_SETTABLE: dict[str, type] = {
    "cors": list,
    "iamConfiguration": dict,
    "labels": dict,
    "lifecycle": dict,
    "location": str,
    "logging": dict,
    "rpo": str,
    "storageClass": str,
    "versioning": dict,
    "website": dict,
}
_CORS_LISTS = ("origin", "method", "responseHeader")

# What a client may send back because the service sent it; without effect.
_OUTPUT_ONLY = frozenset(
    {
        "etag",
        "generation",
        "id",
        "kind",
        "locationType",
        "metageneration",
        "name",
        "projectNumber",
        "selfLink",
        "timeCreated",
        "updated",
    }
)

_DUAL_REGIONS = frozenset({"ASIA1", "EUR4", "EUR5", "EUR7", "EUR8", "NAM4"})
_MULTI_REGIONS = frozenset({"ASIA", "EU", "US"})


def _settable(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an owner may set; what would have to be enforced and is not, is refused."""
    for name, value in body.items():
        if name not in _OUTPUT_ONLY | _SETTABLE.keys() and _asks_something(value):
            raise not_implemented(f"Bucket field {name}")
        if value is not None and not isinstance(value, _SETTABLE.get(name, object)):
            raise invalid(f"Invalid value for {name}")
    _check_cors(body.get("cors") or [])
    access = body.get("iamConfiguration") or {}
    if access.get("publicAccessPrevention") not in {None, "inherited", "unspecified"}:
        raise not_implemented("Bucket field iamConfiguration.publicAccessPrevention")
    fields = {name: value for name, value in body.items() if name not in _OUTPUT_ONLY}
    if fields.get("location"):
        location = str(fields["location"]).upper()
        fields |= {"location": location, "locationType": _location_type(location)}
    return fields


def _check_cors(rules: list[Any]) -> None:
    for rule in rules:
        if not isinstance(rule, dict):
            raise invalid("Invalid value for cors")
        texts = [rule.get(name) or [] for name in _CORS_LISTS]
        if not all(isinstance(part, list) and _all_texts(part) for part in texts):
            raise invalid("Invalid value for cors")


def _all_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) and value.isascii() for value in values)


def _asks_something(value: object) -> bool:
    """Say whether a value differs from "off": false, zero, empty or nothing, at any depth."""
    if isinstance(value, dict):
        return any(_asks_something(inner) for inner in value.values())
    return value not in (None, False, 0, "", "0", [])


def _location_type(location: str) -> str:
    if location in _DUAL_REGIONS:
        return "dual-region"
    return "multi-region" if location in _MULTI_REGIONS else "region"


class Buckets:
    """What the service does with buckets."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def get(self, name: str, conditions: Preconditions = NO_CONDITIONS) -> BucketRecord:
        """Return a bucket.

        Raises:
            StorageError: It does not exist (404), or a precondition does not hold (412).
        """
        bucket = self._store.bucket(name)
        if bucket is None:
            raise bucket_not_found()
        conditions.check_bucket(bucket)
        return bucket

    def create(self, name: str, project_id: str, body: Mapping[str, Any]) -> BucketRecord:
        """Create a bucket.

        Raises:
            StorageError: The name is not valid (400) or taken (409).
        """
        if not _NAME.fullmatch(name):
            raise invalid(f"Invalid bucket name: '{name}'", code="InvalidBucketName")
        fields = _settable(body)
        with transaction(self._store.connection):
            if self._store.bucket(name) is not None:
                message = (
                    "Your previous request to create the named bucket succeeded and you own it."
                )
                raise StorageError(409, "conflict", "BucketAlreadyOwnedByYou", message)
            now = self._clock.now()
            bucket = BucketRecord(
                name=name,
                project_id=project_id,
                metageneration=1,
                generation=self._store.next_generation(now),
                created=timestamp(now),
                updated=timestamp(now),
                fields=fields,
            )
            self._store.put_bucket(bucket)
        return bucket

    def change(
        self, name: str, body: Mapping[str, Any], conditions: Preconditions, *, replace_all: bool
    ) -> BucketRecord:
        """Merge ``body`` into a bucket, or replace what was set where ``replace_all``.

        Raises:
            StorageError: It does not exist (404), or a precondition does not hold (412).
        """
        changes = _settable(body)
        with transaction(self._store.connection):
            bucket = self.get(name, conditions)
            fields = changes if replace_all else merge_patch(bucket.fields, changes)
            updated = replace(
                bucket,
                fields=fields,
                metageneration=bucket.metageneration + 1,
                updated=timestamp(self._clock.now()),
            )
            self._store.put_bucket(updated)
        return updated

    def delete(self, name: str, conditions: Preconditions) -> None:
        """Delete an empty bucket.

        Raises:
            StorageError: It does not exist (404), is not empty (409), or a precondition does
                not hold (412).
        """
        with transaction(self._store.connection):
            self.get(name, conditions)
            if self._store.has_objects(name):
                message = "The bucket you tried to delete is not empty."
                raise StorageError(409, "conflict", "BucketNotEmpty", message)
            self._store.delete_bucket(name)


def merge_patch(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``target`` with ``patch`` merged as RFC 7396 says: null removes a member."""
    result = dict(target)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            nested = result.get(name)
            result[name] = merge_patch(nested if isinstance(nested, dict) else {}, value)
        else:
            result[name] = value
    return result
