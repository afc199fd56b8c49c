"""Notifications to Pub/Sub: their configurations, and the messages that wait to be published.

A message is written in the transaction of the change it reports and removed after the local
Pub/Sub has taken it: at least once, as in production.
https://cloud.google.com/storage/docs/pubsub-notifications
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from continuon_local.database import transaction
from continuon_local.storage.errors import StorageError, invalid
from continuon_local.storage.json_body import is_one_of
from continuon_local.storage.notifications import Change

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from continuon_local.storage.records import ObjectRecord

__all__ = ["Notices", "Waiting", "parse_config"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS notification_configs (
    bucket TEXT NOT NULL,
    id INTEGER NOT NULL,
    config TEXT NOT NULL,
    PRIMARY KEY (bucket, id)
);
CREATE TABLE IF NOT EXISTS notification_queue (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    attributes TEXT NOT NULL,
    data BLOB NOT NULL
);
"""

_EVENT_TYPES = {
    Change.FINALIZED: "OBJECT_FINALIZE",
    Change.METADATA_UPDATED: "OBJECT_METADATA_UPDATE",
    Change.DELETED: "OBJECT_DELETE",
    Change.ARCHIVED: "OBJECT_ARCHIVE",
}

# https://cloud.google.com/storage/quotas#notifications
_MAX_CONFIGS = 100
_MAX_ATTRIBUTES = 5
_MAX_ATTRIBUTE_BYTES = 1024

_TOPIC = re.compile(r"(?://pubsub\.googleapis\.com/)?(projects/[^/]+/topics/[^/]+)")


def parse_config(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as it is kept.

    Raises:
        StorageError: The topic is missing, or a value is not valid (400).
    """
    topic = _TOPIC.fullmatch(str(body.get("topic") or ""))
    if topic is None:
        message = f"Invalid Cloud Pub/Sub topic: '{body.get('topic') or ''}'"
        raise invalid(message, reason="required" if not body.get("topic") else "invalid")
    payload = body.get("payload_format")
    if not is_one_of(payload, ("JSON_API_V1", "NONE")):
        raise invalid(f"Invalid payload format: {payload}")
    events = body.get("event_types")
    if events and not (isinstance(events, list) and set(map(str, events)) <= _known_events()):
        raise invalid("Invalid event types")
    prefix = body.get("object_name_prefix")
    if not isinstance(prefix, str | None):
        raise invalid("Invalid object name prefix")
    config = {"topic": f"//pubsub.googleapis.com/{topic[1]}", "payload_format": payload}
    if events:
        config["event_types"] = [str(event) for event in events]
    if prefix:
        config["object_name_prefix"] = prefix
    attributes = _attributes(body.get("custom_attributes"))
    return {**config, **({"custom_attributes": attributes} if attributes else {})}


def _known_events() -> set[str]:
    return set(_EVENT_TYPES.values())


def _attributes(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > _MAX_ATTRIBUTES:
        raise invalid(f"A notification has at most {_MAX_ATTRIBUTES} custom attributes.")
    for key, text in value.items():
        fits = isinstance(text, str) and len(text.encode()) <= _MAX_ATTRIBUTE_BYTES
        if not fits or not key or len(key.encode()) > _MAX_ATTRIBUTE_BYTES:
            raise invalid(f"Invalid custom attribute: {key}")
    return dict(value)


@dataclass(frozen=True)
class Waiting:
    """A message that Pub/Sub has not taken yet; ``topic`` is its full name."""

    position: int
    topic: str
    attributes: Mapping[str, str]
    data: bytes


class Notices:
    """The configurations of all buckets and their queue."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.executescript(_SCHEMA)

    def configs(self, bucket: str) -> list[tuple[int, dict[str, Any]]]:
        """Return the configurations of a bucket with their numbers."""
        rows = self._connection.execute(
            "SELECT id, config FROM notification_configs WHERE bucket = ? ORDER BY id", (bucket,)
        )
        return [(row[0], json.loads(row[1])) for row in rows]

    def config(self, bucket: str, number: str) -> dict[str, Any]:
        """Return one configuration.

        Raises:
            StorageError: There is none (404).
        """
        for known, config in self.configs(bucket):
            if str(known) == number:
                return config
        raise StorageError(404, "notFound", "NotFound", f"Notification {number} not found.")

    def add(self, bucket: str, config: Mapping[str, Any]) -> int:
        """Store a configuration and return its number.

        Raises:
            StorageError: The bucket has as many as it may have (400).
        """
        with transaction(self._connection):
            known = [number for number, _ in self.configs(bucket)]
            if len(known) >= _MAX_CONFIGS:
                raise invalid(f"A bucket has at most {_MAX_CONFIGS} notifications.")
            number = max(known, default=0) + 1
            self._connection.execute(
                "INSERT INTO notification_configs VALUES (?, ?, ?)",
                (bucket, number, json.dumps(dict(config))),
            )
        return number

    def remove(self, bucket: str, number: str) -> None:
        """Forget a configuration.

        Raises:
            StorageError: There is none (404).
        """
        with transaction(self._connection):
            self.config(bucket, number)
            self._connection.execute(
                "DELETE FROM notification_configs WHERE bucket = ? AND id = ?",
                (bucket, int(number)),
            )

    def forget_bucket(self, bucket: str) -> None:
        """Forget what a deleted bucket had; runs in the caller's transaction."""
        self._connection.execute("DELETE FROM notification_configs WHERE bucket = ?", (bucket,))

    def enqueue(
        self,
        change: Change,
        record: ObjectRecord,
        resource: Mapping[str, Any],
        moment: str,
        more: Mapping[str, str],
    ) -> None:
        """Record messages about a change in the transaction that is open."""
        kind = _EVENT_TYPES[change]
        for number, config in self.configs(record.bucket):
            wanted = config.get("event_types") or [kind]
            if kind not in wanted or not record.name.startswith(
                config.get("object_name_prefix", "")
            ):
                continue
            attributes = {
                **(config.get("custom_attributes") or {}),
                "notificationConfig": (
                    f"projects/_/buckets/{record.bucket}/notificationConfigs/{number}"
                ),
                "eventType": kind,
                "payloadFormat": config["payload_format"],
                "bucketId": record.bucket,
                "objectId": record.name,
                "objectGeneration": str(record.generation),
                "eventTime": moment,
                **more,
            }
            data = json.dumps(resource).encode() if config["payload_format"] != "NONE" else b""
            self._connection.execute(
                "INSERT INTO notification_queue (topic, attributes, data) VALUES (?, ?, ?)",
                (config["topic"].partition("googleapis.com/")[2], json.dumps(attributes), data),
            )

    def waiting(self, limit: int = 100) -> list[Waiting]:
        """Return the oldest messages that wait."""
        rows = self._connection.execute(
            "SELECT position, topic, attributes, data FROM notification_queue"
            " ORDER BY position LIMIT ?",
            (limit,),
        )
        return [Waiting(row[0], row[1], json.loads(row[2]), row[3]) for row in rows]

    def done(self, position: int) -> None:
        """Forget a message that Pub/Sub has taken."""
        with transaction(self._connection):
            self._connection.execute(
                "DELETE FROM notification_queue WHERE position = ?", (position,)
            )
