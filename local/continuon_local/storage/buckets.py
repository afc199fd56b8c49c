"""Buckets: create, change, list, delete."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from continuon_local.database import transaction
from continuon_local.storage import acl
from continuon_local.storage.bucket_fields import complete, settable
from continuon_local.storage.errors import StorageError, bucket_not_found, invalid
from continuon_local.storage.policies import legacy_entries
from continuon_local.storage.preconditions import NO_CONDITIONS, Preconditions
from continuon_local.storage.records import BucketRecord, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from continuon_local.clock import Clock
    from continuon_local.storage.store import Store

__all__ = ["NO_LISTS", "Buckets", "PredefinedLists"]

# https://cloud.google.com/storage/docs/buckets#naming; dots allow up to 222 characters.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")

_LISTS = frozenset({"acl", "defaultObjectAcl"})


@dataclass(frozen=True, kw_only=True)
class PredefinedLists:
    """The predefined access control lists that a request names; None is "not named"."""

    of_bucket: str | None = None
    of_objects: str | None = None

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> PredefinedLists:
        """Read ``predefinedAcl`` and ``predefinedDefaultObjectAcl``."""
        return cls(
            of_bucket=parameters.get("predefinedAcl"),
            of_objects=parameters.get("predefinedDefaultObjectAcl"),
        )


NO_LISTS = PredefinedLists()


def _check_lists(bucket: BucketRecord) -> None:
    if acl.is_uniform(bucket):
        message = (
            "Cannot use ACL API to update bucket policy when uniform bucket-level access is"
            " enabled."
        )
        raise invalid(message)


def _set_lists(
    fields: dict[str, Any], stated: Mapping[str, Any], lists: PredefinedLists, project_id: str
) -> None:
    """Complete both lists: predefined ones win, then what is stated, then Google's defaults."""
    for field, name, of_bucket in (
        ("acl", lists.of_bucket, True),
        ("defaultObjectAcl", lists.of_objects, False),
    ):
        if name is not None:
            fields[field] = acl.predefined(name, project_id, of_bucket=of_bucket)
        elif field not in fields or stated.get(field, ()) is None:
            fields[field] = acl.predefined("projectPrivate", project_id, of_bucket=of_bucket)
    owners = acl.predefined("private", project_id, of_bucket=True)
    # The owner of a bucket cannot be locked out of it.
    known = {entry["entity"]: entry for entry in [*fields["acl"], *owners]}
    fields["acl"] = list(known.values())


class Buckets:
    """What the service does with buckets."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        # Run inside the transaction that deletes a bucket: what else belongs to it goes as well.
        self.on_delete: list[Callable[[str], object]] = []

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

    def create(
        self,
        name: str,
        project_id: str,
        body: Mapping[str, Any],
        *,
        lists: PredefinedLists = NO_LISTS,
        object_retention: bool = False,
    ) -> BucketRecord:
        """Create a bucket.

        Raises:
            StorageError: The name is not valid (400) or taken (409).
        """
        if not _NAME.fullmatch(name):
            raise invalid(f"Invalid bucket name: '{name}'", code="InvalidBucketName")
        now = self._clock.now()
        fields = complete({}, settable(body), now, replace_all=False)
        stated = lists != NO_LISTS or _LISTS & fields.keys()
        _set_lists(fields, {}, lists, project_id)
        if object_retention:
            fields["objectRetention"] = {"mode": "Enabled"}
        with transaction(self._store.connection):
            if self._store.bucket(name) is not None:
                message = (
                    "Your previous request to create the named bucket succeeded and you own it."
                )
                raise StorageError(409, "conflict", "BucketAlreadyOwnedByYou", message)
            bucket = BucketRecord(
                name=name,
                project_id=project_id,
                metageneration=1,
                generation=self._store.next_generation(now),
                created=timestamp(now),
                updated=timestamp(now),
                fields=fields,
            )
            if stated:
                _check_lists(bucket)
                acl.check_publicity(bucket, [*fields["acl"], *fields["defaultObjectAcl"]])
            self._store.put_bucket(bucket)
        return bucket

    def change(
        self,
        name: str,
        body: Mapping[str, Any],
        conditions: Preconditions,
        *,
        replace_all: bool,
        lists: PredefinedLists = NO_LISTS,
    ) -> BucketRecord:
        """Merge ``body`` into a bucket, or replace what was set where ``replace_all``.

        Raises:
            StorageError: It does not exist (404), a precondition does not hold (412), or the
                change is not allowed (400, 403, 412).
        """
        changes = settable(body)
        with transaction(self._store.connection):
            bucket = self.get(name, conditions)
            fields = complete(bucket.fields, changes, self._clock.now(), replace_all=replace_all)
            updated = self._put(bucket, fields)
            if lists != NO_LISTS or _LISTS & changes.keys():
                _check_lists(updated)
                _set_lists(fields, changes, lists, bucket.project_id)
                acl.check_publicity(updated, [*fields["acl"], *fields["defaultObjectAcl"]])
                self._store.put_bucket(updated)
        return updated

    def _put(self, bucket: BucketRecord, fields: dict[str, Any]) -> BucketRecord:
        updated = replace(
            bucket,
            fields=fields,
            metageneration=bucket.metageneration + 1,
            updated=timestamp(self._clock.now()),
        )
        self._store.put_bucket(updated)
        return updated

    def set_entries(
        self, name: str, field: str, entries: acl.Entries, conditions: Preconditions
    ) -> BucketRecord:
        """Replace one access control list: ``field`` is ``acl`` or ``defaultObjectAcl``.

        Raises:
            StorageError: It does not exist (404), a precondition does not hold (412), or the
                bucket has no lists or may not be public (400, 412).
        """
        with transaction(self._store.connection):
            bucket = self.get(name, conditions)
            _check_lists(bucket)
            acl.check_publicity(bucket, entries)
            return self._put(bucket, {**bucket.fields, field: entries})

    def set_policy(self, name: str, bindings: list[dict[str, Any]]) -> BucketRecord:
        """Replace the role bindings of a bucket; legacy roles become its access control list.

        Raises:
            StorageError: It does not exist (404).
        """
        with transaction(self._store.connection):
            bucket = self.get(name)
            fields = {**bucket.fields, "iamBindings": bindings}
            if not acl.is_uniform(bucket):
                fields["acl"] = legacy_entries(bucket, bindings)
                _set_lists(fields, {}, NO_LISTS, bucket.project_id)
            return self._put(bucket, fields)

    def lock_retention(self, name: str, conditions: Preconditions) -> BucketRecord:
        """Make the retention policy permanent.

        Raises:
            StorageError: It does not exist (404), a precondition does not hold (412), or there
                is no policy to lock (400).
        """
        if conditions.metageneration_match is None:
            raise invalid("Required parameter: ifMetagenerationMatch", reason="required")
        with transaction(self._store.connection):
            bucket = self.get(name, conditions)
            policy = bucket.fields.get("retentionPolicy")
            if not policy:
                raise invalid("The bucket has no retention policy to lock.")
            return self._put(
                bucket, {**bucket.fields, "retentionPolicy": {**policy, "isLocked": True}}
            )

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
            for hook in self.on_delete:
                hook(name)
