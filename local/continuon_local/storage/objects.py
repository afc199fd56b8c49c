"""Objects: every change is one transaction that also records its events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from continuon_local.database import transaction
from continuon_local.storage.buckets import merge_patch
from continuon_local.storage.errors import bucket_not_found, invalid, object_not_found
from continuon_local.storage.fields import check_metadata, check_name, settable_fields
from continuon_local.storage.notifications import Change, object_event
from continuon_local.storage.preconditions import NO_CONDITIONS, Preconditions
from continuon_local.storage.records import ObjectRecord, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from continuon_local.clock import Clock
    from continuon_local.events.outbox import Outbox
    from continuon_local.storage.bodies import Bodies, Digests
    from continuon_local.storage.records import BucketRecord
    from continuon_local.storage.store import Store

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

    def __init__(self, store: Store, bodies: Bodies, outbox: Outbox, clock: Clock) -> None:
        self._store = store
        self._bodies = bodies
        self._outbox = outbox
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
            StorageError: The bucket is unknown (404), the name not valid (400), or a
                precondition does not hold now (412).
        """
        self.bucket(bucket)
        check_name(name)
        conditions.check_write(self._store.live(bucket, name))

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
        current = self._store.live(new.bucket, new.name)
        new.conditions.check_write(current)
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
            fields=_with_default_class(new.fields, bucket),
            created=moment,
            updated=moment,
            class_updated=moment,
            deleted=None,
        )
        garbage = [] if current is None else self._retire(bucket, current, moment)
        self._store.put_object(record)
        self._outbox.append(object_event(Change.FINALIZED, record, moment))
        for replaced in new.replaces:
            if self._still_there(replaced):
                garbage += self._retire(bucket, replaced, moment)
        for consumed in new.consumes:
            if self._still_there(consumed):
                garbage += self._remove(consumed, moment)
        return record, self._store.unreferenced(garbage)

    def _still_there(self, record: ObjectRecord) -> bool:
        return self._store.version(record.bucket, record.name, record.generation) is not None

    def _retire(self, bucket: BucketRecord, record: ObjectRecord, moment: str) -> list[str]:
        """End the life of the live version; return the bodies that may have become garbage."""
        if bucket.versioned:
            archived = replace(record, deleted=moment)
            self._store.put_object(archived)
            self._outbox.append(object_event(Change.ARCHIVED, archived, moment))
            return []
        return self._remove(record, moment)

    def _remove(self, record: ObjectRecord, moment: str) -> list[str]:
        self._store.delete_object(record)
        gone = replace(record, deleted=moment)
        self._outbox.append(object_event(Change.DELETED, gone, moment))
        return [record.body_id]

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
            moment = timestamp(self._clock.now())
            if generation is None:
                garbage = self._retire(self.bucket(bucket), record, moment)
            else:
                garbage = self._remove(record, moment)
            garbage = self._store.unreferenced(garbage)
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
    ) -> ObjectRecord:
        """Merge ``body`` into an object's metadata, or replace it where ``replace_all``.

        Raises:
            StorageError: There is no such object (404), a precondition does not hold (412), or
                a value is not valid (400).
        """
        changes = settable_fields(body)
        if "storageClass" in changes and not replace_all:
            raise invalid("The storage class of an object is changed by a rewrite.")
        with transaction(self._store.connection):
            record = self._find(bucket, name, generation)
            conditions.check_write(record)
            if replace_all:
                fields = {**changes, "storageClass": record.storage_class}
            else:
                fields = merge_patch(record.fields, changes)
            check_metadata(fields.get("metadata"))
            moment = timestamp(self._clock.now())
            updated = replace(
                record, fields=fields, metageneration=record.metageneration + 1, updated=moment
            )
            self._store.put_object(updated)
            self._outbox.append(object_event(Change.METADATA_UPDATED, updated, moment))
        self._outbox.notify()
        return updated


def _with_default_class(fields: Mapping[str, Any], bucket: BucketRecord) -> dict[str, Any]:
    present = {name: value for name, value in fields.items() if value is not None}
    present.setdefault("storageClass", bucket.fields.get("storageClass", "STANDARD"))
    return present
