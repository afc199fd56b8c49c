"""How a generation ends: archived, soft-deleted or removed, and what is said about it.

Everything here runs inside the caller's transaction.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from continuon_local.storage.notifications import Change, object_event
from continuon_local.storage.protection import check_may_end
from continuon_local.storage.records import timestamp
from continuon_local.storage.views import object_resource

if TYPE_CHECKING:
    from continuon_local.events.outbox import Outbox
    from continuon_local.storage.notices import Notices
    from continuon_local.storage.records import BucketRecord, ObjectRecord
    from continuon_local.storage.store import Store

__all__ = ["Versions"]

# Links in payloads name the real service: production code must not learn to depend on others.
_PUBLIC_BASE_URL = "https://www.googleapis.com"

_SOFT = ("softDeleteTime", "hardDeleteTime")


class Versions:
    """The generations of objects, and the events about them."""

    def __init__(self, store: Store, outbox: Outbox, notices: Notices) -> None:
        self._store = store
        self._outbox = outbox
        self._notices = notices

    def announce(
        self, change: Change, record: ObjectRecord, bucket: BucketRecord, moment: str, **more: str
    ) -> None:
        """Record what happened, for functions and for Pub/Sub; ``more`` are its attributes."""
        resource = object_resource(record, bucket, _PUBLIC_BASE_URL)
        self._outbox.append(object_event(change, record, resource, moment))
        self._notices.enqueue(change, record, resource, moment, more)

    def add(
        self, record: ObjectRecord, bucket: BucketRecord, replaced: ObjectRecord | None
    ) -> None:
        """Store a new live generation; ``replaced`` was the live one until now."""
        self._store.put_object(record)
        more = {} if replaced is None else {"overwroteGeneration": str(replaced.generation)}
        self.announce(Change.FINALIZED, record, bucket, record.created, **more)

    def retire(
        self, bucket: BucketRecord, record: ObjectRecord, now: datetime, **more: str
    ) -> list[str]:
        """End the life of the live version; return the bodies that may have become garbage.

        Raises:
            StorageError: It is held or retained (403).
        """
        if not bucket.versioned:
            return self.remove(bucket, record, now, **more)
        check_may_end(bucket, record, now, archive=True)
        moment = timestamp(now)
        archived = replace(record, deleted=moment)
        self._store.put_object(archived)
        self.announce(Change.ARCHIVED, archived, bucket, moment, **more)
        return []

    def remove(
        self, bucket: BucketRecord, record: ObjectRecord, now: datetime, **more: str
    ) -> list[str]:
        """Delete a generation; where the bucket says so it can be restored for a while.

        Raises:
            StorageError: It is held or retained (403).
        """
        check_may_end(bucket, record, now, archive=False)
        moment = timestamp(now)
        self._store.delete_object(record)
        gone = replace(record, deleted=record.deleted or moment)
        self.announce(Change.DELETED, gone, bucket, moment, **more)
        policy = bucket.fields.get("softDeletePolicy") or {}
        seconds = int(policy.get("retentionDurationSeconds") or 0)
        if not seconds:
            return [record.body_id]
        until = timestamp(now + timedelta(seconds=seconds))
        times = dict(zip(_SOFT, (moment, until), strict=True))
        self._store.put_soft_deleted(replace(gone, fields={**record.fields, **times}), until)
        return []

    def revived(self, record: ObjectRecord, generation: int, moment: str) -> ObjectRecord:
        """Return a soft-deleted generation as the new live one it becomes."""
        fields = {name: value for name, value in record.fields.items() if name not in _SOFT}
        return replace(
            record,
            generation=generation,
            metageneration=1,
            fields=fields,
            created=moment,
            updated=moment,
            class_updated=moment,
            deleted=None,
        )

    def purge(self, moment: str) -> list[str]:
        """Forget what was soft-deleted long enough ago; return bodies that became garbage."""
        return self._store.unreferenced(self._store.drop_soft_deleted(moment))
