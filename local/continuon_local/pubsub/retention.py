"""What is kept after everybody has acknowledged it, and the snapshots that keep it.

A message stays as long as a subscription has yet to deliver it or a *holder* keeps it: a topic with
a retention, a snapshot, or a subscription that retains what it acknowledged. Callers open the
transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.pubsub import policy
from continuon_local.pubsub.messages import Message, parse

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from continuon_local.pubsub.store import PubSubStore

__all__ = ["Retention", "of_snapshot", "of_subscription", "of_topic"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS snapshots (
    name TEXT PRIMARY KEY,
    topic TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS snapshots_by_topic ON snapshots (topic);
"""
_SINCE = """
SELECT id FROM messages WHERE published_at_ms >= ? AND id IN (
    SELECT message_id FROM deliveries WHERE subscription_id = ?
    UNION SELECT message_id FROM holds WHERE holder IN (?, ?))
"""


def of_topic(name: str) -> str:
    """Return the holder for the retention of a topic."""
    return f"topic:{name}"


def of_subscription(subscription_id: int) -> str:
    """Return the holder for what a subscription has acknowledged."""
    return f"subscription:{subscription_id}"


def of_snapshot(name: str) -> str:
    """Return the holder for a snapshot."""
    return f"snapshot:{name}"


class Retention:
    """Statements about holders and snapshots.

    Args:
        connection: The database.
        store: Forgets what nobody holds any more.
    """

    def __init__(self, connection: sqlite3.Connection, store: PubSubStore) -> None:
        self._connection = connection
        self._store = store
        connection.executescript(_SCHEMA)

    def put_snapshot(self, snapshot: Message) -> None:
        """Insert or replace a snapshot."""
        self._connection.execute(
            "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)",
            (snapshot.name, snapshot.topic, snapshot.SerializeToString()),
        )

    def snapshot(self, name: str) -> Message | None:
        """Return a snapshot."""
        row = self._connection.execute(
            "SELECT body FROM snapshots WHERE name = ?", (name,)
        ).fetchone()
        return None if row is None else parse("Snapshot", row[0])

    def snapshots(self, project: str, after: str, limit: int) -> list[Message]:
        """Return snapshots of ``projects/P`` in the order of their names, after ``after``."""
        rows = self._connection.execute(
            "SELECT body FROM snapshots WHERE name > ? AND name < ? ORDER BY name LIMIT ?",
            (max(after, f"{project}/snapshots/"), f"{project}/snapshots0", limit),
        )
        return [parse("Snapshot", row[0]) for row in rows]

    def snapshots_of(self, topic: str) -> list[Message]:
        """Return the snapshots of a topic, by name."""
        rows = self._connection.execute(
            "SELECT body FROM snapshots WHERE topic = ? ORDER BY name", (topic,)
        )
        return [parse("Snapshot", row[0]) for row in rows]

    def delete_snapshot(self, name: str) -> None:
        """Delete a snapshot and what only it kept."""
        self._connection.execute("DELETE FROM snapshots WHERE name = ?", (name,))
        self.release(of_snapshot(name))

    def holders_of(self, topic: Message) -> list[str]:
        """Return who keeps what is published to a topic now."""
        holders = [of_topic(topic.name)] if topic.HasField("message_retention_duration") else []
        rows = self._connection.execute("SELECT name FROM snapshots WHERE topic = ?", (topic.name,))
        return holders + [of_snapshot(row[0]) for row in rows]

    def hold(self, holder: str, message_ids: Iterable[int]) -> None:
        """Keep messages."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO holds VALUES (?, ?)",
            [(holder, message_id) for message_id in message_ids],
        )

    def held(self, holder: str) -> list[int]:
        """Return what a holder keeps."""
        rows = self._connection.execute("SELECT message_id FROM holds WHERE holder = ?", (holder,))
        return [row[0] for row in rows]

    def release(self, holder: str, message_ids: Sequence[int] | None = None) -> None:
        """Keep messages no longer, all of a holder's unless some are named."""
        ids = self.held(holder) if message_ids is None else message_ids
        self._connection.executemany(
            "DELETE FROM holds WHERE holder = ? AND message_id = ?",
            [(holder, message_id) for message_id in ids],
        )
        self._store.drop_unheld(ids)

    def waiting(self, subscription_id: int) -> list[int]:
        """Return what a subscription has yet to see acknowledged, oldest first."""
        rows = self._connection.execute(
            "SELECT message_id FROM deliveries WHERE subscription_id = ? ORDER BY message_id",
            (subscription_id,),
        )
        return [row[0] for row in rows]

    def published_since(self, subscription_id: int, topic: str, moment_ms: int) -> list[int]:
        """Return what a subscription could still be given of what was published since a moment."""
        holders = (of_subscription(subscription_id), of_topic(topic))
        rows = self._connection.execute(_SINCE, (moment_ms, subscription_id, *holders))
        return [row[0] for row in rows]

    def published_at_ms(self, message_id: int) -> int:
        """Return when a message was published."""
        row = self._connection.execute(
            "SELECT published_at_ms FROM messages WHERE id = ?", (message_id,)
        ).fetchone()
        return int(row[0])

    def message(self, message_id: int) -> Message:
        """Return a message that is kept."""
        row = self._connection.execute(
            "SELECT body FROM messages WHERE id = ?", (message_id,)
        ).fetchone()
        return parse("PubsubMessage", row[0])

    def is_due(self, now_ms: int) -> bool:
        """Tell whether :meth:`sweep` would find anything to look at."""
        found = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM holds) OR EXISTS (SELECT 1 FROM snapshots)"
        ).fetchone()
        return bool(found[0]) and now_ms > 0

    def sweep(self, now_ms: int) -> None:
        """Delete snapshots whose time has come, and what was kept long enough."""
        rows = self._connection.execute("SELECT body FROM snapshots").fetchall()
        for snapshot in (parse("Snapshot", row[0]) for row in rows):
            if snapshot.expire_time.ToMilliseconds() <= now_ms:
                self.delete_snapshot(snapshot.name)
        for holder, kept_ms in self._periods():
            old = self._connection.execute(
                "SELECT message_id FROM holds JOIN messages ON id = message_id"
                " WHERE holder = ? AND published_at_ms < ?",
                (holder, now_ms - kept_ms),
            ).fetchall()
            self.release(holder, [row[0] for row in old])

    def _periods(self) -> list[tuple[str, int]]:
        """Return each holder but snapshots with how long it keeps a message, in milliseconds."""
        found = []
        for stored in self._store.all_subscriptions():
            kept = policy.seconds(stored.config.message_retention_duration)
            found.append((of_subscription(stored.id), int(kept * 1000)))
        rows = self._connection.execute(
            "SELECT DISTINCT holder FROM holds WHERE holder GLOB 'topic:*'"
        ).fetchall()
        for (holder,) in rows:
            topic = self._store.topic(holder.removeprefix("topic:"))
            kept = 0.0 if topic is None else policy.seconds(topic.message_retention_duration)
            found.append((holder, int(kept * 1000)))
        return found
