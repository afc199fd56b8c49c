"""Topics, subscriptions, messages and their deliveries in one SQLite file.

A message is stored once; each subscription holds one delivery row for it. Leases live in these
rows too, so a restart loses neither a message nor the count of its attempts. Expiry needs no timer:
a row whose ``available_at_ms`` has come is available. Callers open the transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from continuon_local.pubsub.messages import Message, parse

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

__all__ = ["Delivery", "PubSubStore", "StoredSubscription"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS topics (name TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS subscriptions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    topic TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS subscriptions_by_topic ON subscriptions (topic);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    published_at_ms INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
    subscription_id INTEGER NOT NULL REFERENCES subscriptions (id) ON DELETE CASCADE,
    message_id INTEGER NOT NULL REFERENCES messages (id),
    ordering_key TEXT NOT NULL,
    available_at_ms INTEGER NOT NULL,
    lease_expires_ms INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription_id, message_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_by_time
    ON deliveries (subscription_id, available_at_ms, message_id);
CREATE INDEX IF NOT EXISTS deliveries_by_key
    ON deliveries (subscription_id, ordering_key, message_id);
CREATE INDEX IF NOT EXISTS deliveries_by_attempts ON deliveries (subscription_id, attempts);
CREATE INDEX IF NOT EXISTS deliveries_by_message ON deliveries (message_id);
CREATE TABLE IF NOT EXISTS holds (
    holder TEXT NOT NULL,
    message_id INTEGER NOT NULL REFERENCES messages (id),
    PRIMARY KEY (holder, message_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS holds_by_message ON holds (message_id);
"""

_SELECT = """
SELECT d.message_id, d.attempts, d.lease_expires_ms, m.body
FROM deliveries d {index} JOIN messages m ON m.id = d.message_id
WHERE d.subscription_id = ?
"""
_ONE = _SELECT.format(index="") + "AND d.message_id = ?"
_AVAILABLE = _SELECT.format(index="INDEXED BY deliveries_by_time") + "AND d.available_at_ms <= ? "
# Asked before every lease, so a long backlog that never failed must not be walked through.
_EXHAUSTED = (
    _SELECT.format(index="INDEXED BY deliveries_by_attempts")
    + "AND d.attempts >= ? AND d.available_at_ms <= ? AND d.lease_expires_ms <= ?"
    + "ORDER BY d.message_id LIMIT ?"
)
# One message of an ordering key is out at a time: the earliest that is not acknowledged.
_FIRST_OF_KEY = """
AND (d.ordering_key = '' OR NOT EXISTS (
    SELECT 1 FROM deliveries e WHERE e.subscription_id = d.subscription_id
    AND e.ordering_key = d.ordering_key AND e.message_id < d.message_id))
"""
_BATCH_ROWS = 200  # of one sweep; the next continues where it ended
_BY_TIME = "ORDER BY d.available_at_ms, d.message_id LIMIT ?"


@dataclass(frozen=True)
class StoredSubscription:
    """A subscription and the number that its deliveries carry."""

    id: int
    config: Message


@dataclass(frozen=True)
class Delivery:
    """A message on its way to one subscription.

    Attributes:
        attempts: How often it was handed out so far. It also tells one lease from the next.
        lease_expires_ms: When the latest lease ends, in Unix milliseconds; 0: no lease.
    """

    message_id: int
    attempts: int
    lease_expires_ms: int
    message: Message


class PubSubStore:
    """Statements over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.executescript(_SCHEMA)

    def put_topic(self, topic: Message) -> None:
        """Insert or replace a topic."""
        self._connection.execute(
            "INSERT OR REPLACE INTO topics VALUES (?, ?)",
            (topic.name, topic.SerializeToString()),
        )

    def topic(self, name: str) -> Message | None:
        """Return a topic."""
        row = self._connection.execute("SELECT body FROM topics WHERE name = ?", (name,)).fetchone()
        return None if row is None else parse("Topic", row[0])

    def topics(self, project: str, after: str, limit: int) -> list[Message]:
        """Return topics of ``projects/P`` in the order of their names, from ``after`` on."""
        rows = self._connection.execute(
            "SELECT body FROM topics WHERE name > ? AND name < ? ORDER BY name LIMIT ?",
            (max(after, f"{project}/topics/"), f"{project}/topics0", limit),
        )
        return [parse("Topic", row[0]) for row in rows]

    def delete_topic(self, name: str) -> None:
        """Delete a topic; its subscriptions stay, with what they hold."""
        self._connection.execute("DELETE FROM topics WHERE name = ?", (name,))

    def add_subscription(self, config: Message) -> None:
        """Insert a subscription."""
        self._connection.execute(
            "INSERT INTO subscriptions (name, topic, body) VALUES (?, ?, ?)",
            (config.name, config.topic, config.SerializeToString()),
        )

    def update_subscription(self, stored: StoredSubscription) -> None:
        """Replace what a subscription is configured to be."""
        self._connection.execute(
            "UPDATE subscriptions SET topic = ?, body = ? WHERE id = ?",
            (stored.config.topic, stored.config.SerializeToString(), stored.id),
        )

    def subscription(self, name: str) -> StoredSubscription | None:
        """Return a subscription."""
        row = self._connection.execute(
            "SELECT id, body FROM subscriptions WHERE name = ?", (name,)
        ).fetchone()
        return None if row is None else StoredSubscription(row[0], parse("Subscription", row[1]))

    def subscriptions(self, project: str, after: str, limit: int) -> list[Message]:
        """Return subscriptions of ``projects/P`` in the order of their names, after ``after``."""
        rows = self._connection.execute(
            "SELECT body FROM subscriptions WHERE name > ? AND name < ? ORDER BY name LIMIT ?",
            (max(after, f"{project}/subscriptions/"), f"{project}/subscriptions0", limit),
        )
        return [parse("Subscription", row[0]) for row in rows]

    def all_subscriptions(self) -> list[StoredSubscription]:
        """Return every subscription of every project."""
        rows = self._connection.execute("SELECT id, body FROM subscriptions ORDER BY id")
        return [StoredSubscription(row[0], parse("Subscription", row[1])) for row in rows]

    def subscriptions_of(self, topic: str) -> list[StoredSubscription]:
        """Return the subscriptions attached to a topic, by name."""
        rows = self._connection.execute(
            "SELECT id, body FROM subscriptions WHERE topic = ? ORDER BY name", (topic,)
        )
        return [StoredSubscription(row[0], parse("Subscription", row[1])) for row in rows]

    def delete_subscription(self, stored: StoredSubscription) -> None:
        """Delete a subscription and the messages that only it held."""
        self._connection.execute("DELETE FROM subscriptions WHERE id = ?", (stored.id,))
        self._connection.execute(
            "DELETE FROM messages WHERE id NOT IN (SELECT message_id FROM deliveries)"
            " AND id NOT IN (SELECT message_id FROM holds)"
        )

    def new_message(self, message: Message, now_ms: int) -> int:
        """Store a message and return its number, which rises with every publish."""
        cursor = self._connection.execute(
            "INSERT INTO messages (published_at_ms, body) VALUES (?, '')", (now_ms,)
        )
        message_id = cursor.lastrowid or 0
        message.message_id = str(message_id)
        self._connection.execute(
            "UPDATE messages SET body = ? WHERE id = ?",
            (message.SerializeToString(), message_id),
        )
        return message_id

    def add_delivery(self, subscription_id: int, message_id: int, key: str, now_ms: int) -> None:
        """Make a message available to a subscription."""
        self._connection.execute(
            "INSERT INTO deliveries (subscription_id, message_id, ordering_key, available_at_ms)"
            " VALUES (?, ?, ?, ?)",
            (subscription_id, message_id, key, now_ms),
        )

    def make_available(self, subscription_id: int, now_ms: int) -> None:
        """Make everything that a subscription holds available at once, leased or not."""
        self._connection.execute(
            "UPDATE deliveries SET available_at_ms = ?, lease_expires_ms = 0"
            " WHERE subscription_id = ? AND available_at_ms > ?",
            (now_ms, subscription_id, now_ms),
        )

    def available(self, stored: StoredSubscription, now_ms: int, limit: int) -> list[Delivery]:
        """Return what may be handed out now, longest waiting first."""
        ordered = _FIRST_OF_KEY if stored.config.enable_message_ordering else ""
        rows = self._connection.execute(_AVAILABLE + ordered + _BY_TIME, (stored.id, now_ms, limit))
        return [_delivery(row) for row in rows]

    def exhausted(self, stored: StoredSubscription, now_ms: int, attempts: int) -> list[Delivery]:
        """Return deliveries that were handed out ``attempts`` times, the last lease over."""
        rows = self._connection.execute(
            _EXHAUSTED, (stored.id, attempts, now_ms, now_ms, _BATCH_ROWS)
        )
        return [_delivery(row) for row in rows]

    def delivery(self, subscription_id: int, message_id: int) -> Delivery | None:
        """Return one delivery."""
        row = self._connection.execute(_ONE, (subscription_id, message_id)).fetchone()
        return None if row is None else _delivery(row)

    def set_lease(
        self,
        subscription_id: int,
        message_id: int,
        *,
        attempts: int,
        expires_ms: int,
        available_ms: int,
    ) -> None:
        """Record a lease, its extension or its end."""
        self._connection.execute(
            "UPDATE deliveries SET attempts = ?, lease_expires_ms = ?, available_at_ms = ?"
            " WHERE subscription_id = ? AND message_id = ?",
            (attempts, expires_ms, available_ms, subscription_id, message_id),
        )

    def remove(self, subscription_id: int, message_ids: Sequence[int]) -> None:
        """Forget deliveries, and what no subscription holds any more."""
        self._connection.executemany(
            "DELETE FROM deliveries WHERE subscription_id = ? AND message_id = ?",
            [(subscription_id, message_id) for message_id in message_ids],
        )
        self.drop_unheld(message_ids)

    def drop_unheld(self, message_ids: Sequence[int]) -> None:
        """Forget those of the messages that nobody holds: retention.py says who may."""
        self._connection.executemany(
            "DELETE FROM messages WHERE id = ?"
            " AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message_id = messages.id)"
            " AND NOT EXISTS (SELECT 1 FROM holds WHERE message_id = messages.id)",
            [(message_id,) for message_id in message_ids],
        )

    def published_before(self, subscription_id: int, moment_ms: int) -> list[int]:
        """Return the oldest messages of a subscription, as far as they are older than a moment.

        Numbers rise with time, so only the first ones are looked at.
        """
        rows = self._connection.execute(
            "SELECT d.message_id, m.published_at_ms FROM deliveries d"
            " JOIN messages m ON m.id = d.message_id"
            " WHERE d.subscription_id = ? ORDER BY d.message_id LIMIT ?",
            (subscription_id, _BATCH_ROWS),
        )
        return [message_id for message_id, published_ms in rows if published_ms < moment_ms]

    def next_due_ms(self, subscription_id: int, now_ms: int) -> int | None:
        """Return when the next message becomes available, in Unix milliseconds."""
        row = self._connection.execute(
            "SELECT MIN(available_at_ms) FROM deliveries"
            " WHERE subscription_id = ? AND available_at_ms > ?",
            (subscription_id, now_ms),
        ).fetchone()
        due: int | None = row[0]
        return due


def _delivery(row: tuple[Any, ...]) -> Delivery:
    message_id, attempts, lease_expires_ms, body = row
    return Delivery(message_id, attempts, lease_expires_ms, parse("PubsubMessage", body))
