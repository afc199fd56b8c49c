"""Objects: every change is one transaction that also records its events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from continuon_local.database import transaction
from continuon_local.storage.errors import bucket_not_found, invalid, object_not_found
from continuon_local.storage.fields import check_name, settable_fields
from continuon_local.storage.notifications import Change
from continuon_local.storage.object_changes import changed_fields, initial_fields, with_default_list
from continuon_local.storage.preconditions import NO_CONDITIONS, Preconditions
from continuon_local.storage.protection import check_may_end
from continuon_local.storage.records import ObjectRecord, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from continuon_local.clock import Clock
    from continuon_local.events.outbox import Outbox
    from continuon_local.storage.acl import Entries
    from continuon_local.storage.bodies import Bodies, Digests
    from continuon_local.storage.records import BucketRecord
    from continuon_local.storage.store import Store
    from continuon_local.storage.versions import Versions

__all__ = ["NewObject", "Objects"]


@dataclass(frozen=True, kw_only=True)
class NewObject:
    """A body that is complete on disk and wants to become an object.

    ``replaces`` are live objects of the same bucket that go when it comes, ``consumes`` those that
    go for good even where versions are kept. ``on_commit`` runs inside the transaction that makes
    the object visible.
    """

    bucket: str
    name: str
    body_id: str
    digests: Digests
    fields: Mapping[str, Any]
    conditions: Preconditions = NO_CONDITIONS
    component_count: int | None = None
    replaces: Sequence[ObjectRecord] = ()
    consumes: Sequence[ObjectRecord] = ()
    on_commit: Callable[[ObjectRecord], None] | None = None


class Objects:
    """What the service does with objects."""

    def __init__(
        self, store: Store, bodies: Bodies, outbox: Outbox, versions: Versions, clock: Clock
    ) -> None:
        self._store = store
        self._bodies = bodies
        self._outbox = outbox
        self._versions = versions
        self._clock = clock

    def bucket(self, name: str) -> BucketRecord:
        """Return a bucket.

        Raises:
            StorageError: It does not exist (404).
        """
        bucket = self._store.bucket(name)
        if bucket is None:
            raise bucket_not_found()
        return bucket

    def get(
        self,
        bucket: str,
        name: str,
        generation: int | None = None,
        conditions: Preconditions = NO_CONDITIONS,
    ) -> ObjectRecord:
        """Return the live version of an object, or the one with ``generation``.

        Raises:
            StorageError: There is none (404), or a precondition does not hold (412, 304).
        """
        record = self._find(bucket, name, generation)
        conditions.check_read(record)
        return record

    def _find(self, bucket: str, name: str, generation: int | None) -> ObjectRecord:
        self.bucket(bucket)
        if generation is None:
            record = self._store.live(bucket, name)
        else:
            record = self._store.version(bucket, name, generation)
        if record is None:
            raise object_not_found(bucket, name)
        return record

    def check_may_write(self, bucket: str, name: str, conditions: Preconditions) -> None:
        """Refuse early what :meth:`create` would refuse after the bytes have travelled.

        Raises:
            StorageError: The bucket is unknown (404), the name not valid (400), a precondition
                does not hold now (412), or what would be overwritten is protected (403).
        """
        found = self.bucket(bucket)
        check_name(name)
        current = self._store.live(bucket, name)
        conditions.check_write(current)
        if current is not None:
            check_may_end(found, current, self._clock.now(), archive=found.versioned)

    async def create(self, new: NewObject) -> ObjectRecord:
        """Make a body visible as a new generation; the body is removed when that is refused.

        Raises:
            StorageError: The bucket is unknown (404), or a precondition does not hold (412).
        """
        try:
            with transaction(self._store.connection):
                record, garbage = self._insert(new)
                if new.on_commit is not None:
                    new.on_commit(record)
        except BaseException:
            await self._bodies.discard(self._store.unreferenced([new.body_id]))
            raise
        self._outbox.notify()
        await self._bodies.discard(garbage)
        return record

    def _insert(self, new: NewObject) -> tuple[ObjectRecord, list[str]]:
        bucket = self.bucket(new.bucket)
        check_name(new.name)
        new.conditions.check_write(self._store.live(new.bucket, new.name))
        now = self._clock.now()
        moment = timestamp(now)
        record = ObjectRecord(
            bucket=new.bucket,
            name=new.name,
            generation=self._store.next_generation(now),
            metageneration=1,
            size=new.digests.size,
            md5=new.digests.md5,
            crc32c=new.digests.crc32c,
            body_id=new.body_id,
            component_count=new.component_count,
            fields=initial_fields(new.fields, bucket, now),
            created=moment,
            updated=moment,
            class_updated=moment,
            deleted=None,
        )
        garbage = self._make_live(bucket, record, now)
        for replaced in filter(self._still_there, new.replaces):
            garbage += self._versions.retire(bucket, replaced, now)
        for consumed in filter(self._still_there, new.consumes):
            garbage += self._versions.remove(bucket, consumed, now)
        return record, self._store.unreferenced(garbage)

    def _make_live(self, bucket: BucketRecord, record: ObjectRecord, now: datetime) -> list[str]:
        """Store ``record``, end what was live; return bodies that may be garbage."""
        current = self._store.live(record.bucket, record.name)
        garbage = []
        if current is not None:
            by = {"overwrittenByGeneration": str(record.generation)}
            garbage = self._versions.retire(bucket, current, now, **by)
        self._versions.add(record, bucket, current)
        return garbage

    def _still_there(self, record: ObjectRecord) -> bool:
        return self._store.version(record.bucket, record.name, record.generation) is not None

    async def delete(
        self, bucket: str, name: str, generation: int | None, conditions: Preconditions
    ) -> None:
        """Delete the live version (archive it in a versioned bucket), or one generation for good.

        Raises:
            StorageError: There is none (404), or a precondition does not hold (412).
        """
        with transaction(self._store.connection):
            record = self._find(bucket, name, generation)
            conditions.check_write(record)
            found, now = self.bucket(bucket), self._clock.now()
            end = self._versions.retire if generation is None else self._versions.remove
            garbage = self._store.unreferenced(end(found, record, now))
        self._outbox.notify()
        await self._bodies.discard(garbage)

    def change(
        self,
        bucket: str,
        name: str,
        generation: int | None,
        conditions: Preconditions,
        body: Mapping[str, Any],
        *,
        replace_all: bool,
        override_retention: bool = False,
        approve: Callable[[ObjectRecord], None] | None = None,
    ) -> ObjectRecord:
        """Merge ``body`` into an object's metadata, or replace it where ``replace_all``.

        ``approve`` may refuse the outcome by raising.

        Raises:
            StorageError: There is no such object (404), a precondition does not hold (412), a
                value is not valid (400), or the object's retention forbids the change (403).
        """
        changes = settable_fields(body)
        if "storageClass" in changes and not replace_all:
            raise invalid("The storage class of an object is changed by a rewrite.")
        with transaction(self._store.connection):
            record = self._find(bucket, name, generation)
            conditions.check_write(record)
            found, now = self.bucket(bucket), self._clock.now()
            fields = changed_fields(
                record,
                changes,
                found,
                now,
                replace_all=replace_all,
                override_retention=override_retention,
            )
            updated = self._update(found, record, fields)
            if approve is not None:
                approve(updated)
        self._outbox.notify()
        return updated

    def _update(
        self, bucket: BucketRecord, record: ObjectRecord, fields: Mapping[str, Any]
    ) -> ObjectRecord:
        moment = timestamp(self._clock.now())
        updated = replace(
            record, fields=fields, metageneration=record.metageneration + 1, updated=moment
        )
        if fields.get("storageClass") != record.fields.get("storageClass"):
            updated = replace(updated, class_updated=moment)
        self._store.put_object(updated)
        self._versions.announce(Change.METADATA_UPDATED, updated, bucket, moment)
        return updated

    def set_entries(
        self,
        key: tuple[str, str, int | None],
        conditions: Preconditions,
        entries: Entries,
    ) -> ObjectRecord:
        """Replace the access control list of an object.

        Raises:
            StorageError: There is no such object (404), a precondition does not hold (412), or
                the bucket has no lists or may not be public (400, 412).
        """
        with transaction(self._store.connection):
            record = self._find(*key)
            conditions.check_write(record)
            bucket = self.bucket(key[0])
            fields = changed_fields(
                record, {"acl": entries}, bucket, self._clock.now(), replace_all=False
            )
            updated = self._update(bucket, record, fields)
        self._outbox.notify()
        return updated

    def get_soft_deleted(self, bucket: str, name: str, generation: int | None) -> ObjectRecord:
        """Return a generation that was deleted and can be restored.

        Raises:
            StorageError: There is none (404), or no generation is named (400).
        """
        self.bucket(bucket)
        if generation is None:
            raise invalid("A soft-deleted object is named with its generation.")
        record = self._store.soft_deleted(bucket, name, generation)
        if record is None:
            raise object_not_found(bucket, name)
        return record

    async def restore(
        self,
        key: tuple[str, str, int | None],
        conditions: Preconditions,
        *,
        copy_list: bool,
    ) -> ObjectRecord:
        """Make a soft-deleted generation the live one again, under a new number.

        Raises:
            StorageError: There is none (404), or a precondition does not hold (412).
        """
        with transaction(self._store.connection):
            gone = self.get_soft_deleted(*key)
            bucket, now = self.bucket(gone.bucket), self._clock.now()
            conditions.check_write(self._store.live(gone.bucket, gone.name))
            moment, number = timestamp(now), self._store.next_generation(now)
            record = self._versions.revived(gone, number, moment)
            if not copy_list:
                record = replace(record, fields=with_default_list(record.fields, bucket))
            self._store.forget_soft_deleted(gone)
            garbage = self._store.unreferenced(self._make_live(bucket, record, now))
        self._outbox.notify()
        await self._bodies.discard(garbage)
        return record
