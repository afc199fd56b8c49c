"""CloudEvents of Cloud Storage, as Eventarc delivers them."""

from __future__ import annotations

import json
import uuid
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from continuon_local.events.outbox import OutboxEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from continuon_local.storage.records import ObjectRecord

__all__ = ["Change", "object_event"]


class Change(StrEnum):
    """What happened to an object."""

    FINALIZED = "google.cloud.storage.object.v1.finalized"
    DELETED = "google.cloud.storage.object.v1.deleted"
    ARCHIVED = "google.cloud.storage.object.v1.archived"
    METADATA_UPDATED = "google.cloud.storage.object.v1.metadataUpdated"


def object_event(
    change: Change, record: ObjectRecord, resource: Mapping[str, Any], time: str
) -> OutboxEvent:
    """Return the event that reports ``change`` of ``record`` at ``time`` (RFC 3339)."""
    return OutboxEvent(
        id=uuid.uuid4().hex,
        type=change.value,
        source=f"//storage.googleapis.com/projects/_/buckets/{record.bucket}",
        subject=f"objects/{record.name}",
        time=time,
        data=json.dumps(resource).encode(),
        extensions={"bucket": record.bucket},
    )
