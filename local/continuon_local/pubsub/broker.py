"""The heart of Pub/Sub: publish, lease, acknowledge, give back, bury.

Everything here is synchronous and runs on the event loop's thread, so each call is one step that
nothing interleaves with, and one transaction that is on disk before it returns.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from continuon_local.database import transaction
from continuon_local.grpc_wire.codes import Code
from continuon_local.meter import Operation
from continuon_local.pubsub import limits, policy
from continuon_local.pubsub.envelope import published_event
from continuon_local.pubsub.errors import PubSubError, invalid, not_found
from continuon_local.pubsub.filters import compile_filter
from continuon_local.pubsub.messages import Message, new
from continuon_local.pubsub.names import project_of, short_name
from continuon_local.pubsub.retention import of_subscription
from continuon_local.pubsub.wakeup import Wakeups

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from continuon_local.clock import Clock
    from continuon_local.events.outbox import Outbox
    from continuon_local.meter import Meter
    from continuon_local.pubsub.retention import Retention
    from continuon_local.pubsub.store import Delivery, PubSubStore, StoredSubscription

__all__ = ["Broker", "Lease", "check_attached"]

_MIN_BILLED_BYTES = 1000  # Pub/Sub bills each request as at least 1 kB
_ACK_ID_PARTS = 3
_MAX_ACK_NUMBER_CHARS = 18  # what fits SQLite's integers


@dataclass(frozen=True)
class Lease:
    """A message handed to one consumer until its deadline.

    Attributes:
        received: The ``ReceivedMessage`` to send.
        size_bytes: What it counts against flow control.
    """

    message_id: int
    received: Message
    size_bytes: int

    @property
    def ack_id(self) -> str:
        """What the consumer acknowledges with."""
        return str(self.received.ack_id)


class Broker:
    """Moves messages from topics to the consumers of subscriptions.

    ``watched`` returns short or full names of the topics whose messages raise events.

    Attributes:
        wakeups: Tells waiting consumers that something may have become available.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        store: PubSubStore,
        retention: Retention,
        clock: Clock,
        meter: Meter,
        outbox: Outbox,
        watched: Callable[[], AbstractSet[str]],
    ) -> None:
        self.wakeups = Wakeups()
        self._watched = watched
        self._released: list[Callable[[str], None]] = []
        self._connection = connection
        self._store = store
        self._retention = retention
        self._clock = clock
        self._meter = meter
        self._outbox = outbox

    def now_ms(self) -> int:
        """Return the present in Unix milliseconds."""
        return int(self._clock.now().timestamp() * 1000)

    def on_release(self, listener: Callable[[str], None]) -> None:
        """Call ``listener`` with each ack id that was acknowledged or given back."""
        self._released.append(listener)

    def remove_release_listener(self, listener: Callable[[str], None]) -> None:
        """Stop calling ``listener``."""
        self._released.remove(listener)

    def subscription(self, name: str) -> StoredSubscription:
        """Return a subscription.

        Raises:
            PubSubError: NOT_FOUND.
        """
        stored = self._store.subscription(name)
        if stored is None:
            raise not_found(short_name(name))
        return stored

    def publish(self, topic: str, messages: Sequence[Message], *, caller: str = "") -> list[str]:
        """Publish checked messages and return their ids, once all of them are on disk.

        Raises:
            PubSubError: NOT_FOUND: there is no such topic.
        """
        if self._store.topic(topic) is None:
            raise not_found(short_name(topic))
        with transaction(self._connection):
            ids = self._publish(topic, messages)
        self._bill(sum(message.ByteSize() for message in messages), caller)
        self._announce(topic)
        return ids

    def lease(
        self,
        stored: StoredSubscription,
        *,
        limit: int,
        max_bytes: int = limits.MAX_BATCH_BYTES,
        deadline_s: int | None = None,
        caller: str = "",
    ) -> list[Lease]:
        """Hand out up to ``limit`` messages; a first one may exceed ``max_bytes`` alone."""
        now_ms = self.now_ms()
        self.bury(stored, now_ms)
        chosen = _within(self._store.available(stored, now_ms, limit), max_bytes)
        if not chosen:
            return []
        deadline_ms = 1000 * (deadline_s or stored.config.ack_deadline_seconds)
        with transaction(self._connection):
            for delivery in chosen:
                self._lease_until(stored, delivery, now_ms + deadline_ms, delivery.attempts + 1)
        leases = [_lease(stored, delivery) for delivery in chosen]
        self._bill(sum(lease.size_bytes for lease in leases), caller)
        return leases

    def acknowledge(self, stored: StoredSubscription, ack_ids: Sequence[str]) -> None:
        """Forget messages. An ack id that a later lease has replaced changes nothing.

        Raises:
            PubSubError: INVALID_ARGUMENT: an ack id is not one of this subscription's.
        """
        current = self._current(stored, ack_ids)
        with transaction(self._connection):
            self.settle(stored, [delivery.message_id for delivery in current])
        self._tell_released(ack_ids)
        if stored.config.enable_message_ordering:
            self.wakeups.wake(stored.id)

    def settle(self, stored: StoredSubscription, message_ids: Sequence[int]) -> None:
        """Mark messages as acknowledged, in the caller's transaction."""
        if stored.config.retain_acked_messages:
            self._retention.hold(of_subscription(stored.id), message_ids)
        self._store.remove(stored.id, message_ids)

    def extend(self, stored: StoredSubscription, ack_ids: Sequence[str], deadline_s: int) -> None:
        """Move deadlines to ``deadline_s`` from now; 0 gives the messages back.

        Raises:
            PubSubError: INVALID_ARGUMENT: an ack id is not one of this subscription's.
        """
        now_ms = self.now_ms()
        current = [
            delivery
            for delivery in self._current(stored, ack_ids)
            if delivery.lease_expires_ms > now_ms
        ]
        with transaction(self._connection):
            for delivery in current:
                until_ms = now_ms + 1000 * deadline_s
                self._lease_until(stored, delivery, until_ms, delivery.attempts)
        if deadline_s == 0:
            self.bury(stored, now_ms)
            self._tell_released(ack_ids)
            self.wakeups.wake(stored.id)

    def is_current(self, stored: StoredSubscription, ack_id: str) -> bool:
        """Tell whether the lease behind ``ack_id`` still runs."""
        now_ms = self.now_ms()
        current = self._current(stored, [ack_id])
        return any(delivery.lease_expires_ms > now_ms for delivery in current)

    def bury(self, stored: StoredSubscription, now_ms: int) -> None:
        """Forward what came too often to the dead-letter topic.

        Where that topic does not exist the messages stay and come again, as at Google.
        """
        most = policy.max_attempts(stored.config)
        if most is None:
            return
        topic = stored.config.dead_letter_policy.dead_letter_topic
        dead = self._store.exhausted(stored, now_ms, most)
        if not dead or self._store.topic(topic) is None:
            return
        with transaction(self._connection):
            self._publish(topic, [_dead_letter(stored.config, delivery) for delivery in dead])
            self.settle(stored, [delivery.message_id for delivery in dead])
        self._announce(topic)

    def expire(self, stored: StoredSubscription, now_ms: int) -> None:
        """Drop messages older than the subscription's retention."""
        kept_ms = int(policy.seconds(stored.config.message_retention_duration) * 1000)
        old = self._store.published_before(stored.id, now_ms - kept_ms)
        if old:
            with transaction(self._connection):
                self._store.remove(stored.id, old)

    def sweep_retained(self, now_ms: int) -> None:
        """Drop what topics, snapshots and subscriptions have kept long enough."""
        if self._retention.is_due(now_ms):
            with transaction(self._connection):
                self._retention.sweep(now_ms)

    async def wait(self, stored: StoredSubscription, timeout_s: float) -> None:
        """Return when ``stored`` may have something to hand out, or after ``timeout_s``."""
        now_ms = self.now_ms()
        due_ms = self._store.next_due_ms(stored.id, now_ms)
        until_due = limits.MAX_IDLE_S if due_ms is None else (due_ms - now_ms) / 1000
        await self.wakeups.wait(stored.id, min(timeout_s, until_due, limits.MAX_IDLE_S))

    def _publish(self, topic: str, messages: Sequence[Message]) -> list[str]:
        now_ms = self.now_ms()
        attached = self._store.subscriptions_of(topic)
        subscriptions = [stored for stored in attached if not stored.config.detached]
        found = self._store.topic(topic)
        holders = [] if found is None else self._retention.holders_of(found)
        watched = self._is_watched(topic)
        for message in messages:
            message.publish_time.FromMilliseconds(now_ms)
            message_id = self._store.new_message(message, now_ms)
            for stored in subscriptions:
                if compile_filter(stored.config.filter)(message.attributes):
                    key = message.ordering_key
                    self._store.add_delivery(stored.id, message_id, key, now_ms)
            for holder in holders:
                self._retention.hold(holder, [message_id])
            if watched:
                self._outbox.append(published_event(topic, message))
        self._store.drop_unheld([int(message.message_id) for message in messages])
        return [message.message_id for message in messages]

    def _announce(self, topic: str) -> None:
        for stored in self._store.subscriptions_of(topic):
            self.wakeups.wake(stored.id)
        if self._is_watched(topic):
            self._outbox.notify()

    def _is_watched(self, topic: str) -> bool:
        return not self._watched().isdisjoint({topic, short_name(topic)})

    def _lease_until(
        self, stored: StoredSubscription, delivery: Delivery, until_ms: int, attempts: int
    ) -> None:
        self._store.set_lease(
            stored.id,
            delivery.message_id,
            attempts=attempts,
            expires_ms=until_ms,
            available_ms=until_ms + policy.backoff_ms(stored.config, attempts),
        )

    def _current(self, stored: StoredSubscription, ack_ids: Sequence[str]) -> list[Delivery]:
        current = []
        for ack_id in dict.fromkeys(ack_ids):
            message_id, attempts = _read_ack_id(stored, ack_id)
            delivery = self._store.delivery(stored.id, message_id)
            if delivery is not None and delivery.attempts == attempts:
                current.append(delivery)
        return current

    def _tell_released(self, ack_ids: Sequence[str]) -> None:
        for listener in tuple(self._released):
            for ack_id in ack_ids:
                listener(ack_id)

    def _bill(self, size_bytes: int, caller: str) -> None:
        billed = max(size_bytes, _MIN_BILLED_BYTES)
        self._meter.record(Operation.PUBSUB_BYTES, billed, caller=caller)


def check_attached(stored: StoredSubscription) -> None:
    """Refuse what only a subscription with a topic can do.

    Raises:
        PubSubError: FAILED_PRECONDITION: it was detached.
    """
    if stored.config.detached:
        raise PubSubError(Code.FAILED_PRECONDITION, "The subscription is detached from its topic.")


def _within(available: Sequence[Delivery], max_bytes: int) -> list[Delivery]:
    chosen: list[Delivery] = []
    total = 0
    for delivery in available:
        total += delivery.message.ByteSize()
        if chosen and total > max_bytes:
            break
        chosen.append(delivery)
    return chosen


def _lease(stored: StoredSubscription, delivery: Delivery) -> Lease:
    attempt = delivery.attempts + 1
    received = new(
        "ReceivedMessage",
        ack_id=f"{stored.id}-{delivery.message_id}-{attempt}",
        message=delivery.message,
    )
    if policy.max_attempts(stored.config) is not None:
        received.delivery_attempt = attempt
    return Lease(delivery.message_id, received, delivery.message.ByteSize())


def _read_ack_id(stored: StoredSubscription, ack_id: str) -> tuple[int, int]:
    numbers: list[int] = []
    with contextlib.suppress(ValueError):
        parts = ack_id.split("-", _ACK_ID_PARTS)
        numbers = [int(part) for part in parts if len(part) <= _MAX_ACK_NUMBER_CHARS]
    if len(numbers) != _ACK_ID_PARTS or numbers[0] != stored.id:
        raise invalid(f"Some acknowledgement ids in the request were invalid: {ack_id[:100]}")
    return numbers[1], numbers[2]


def _dead_letter(subscription: Message, delivery: Delivery) -> Message:
    published = delivery.message.publish_time.ToJsonString()
    message = new("PubsubMessage")
    message.CopyFrom(delivery.message)
    message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] = str(delivery.attempts)
    message.attributes["CloudPubSubDeadLetterSourceSubscription"] = short_name(subscription.name)
    message.attributes["CloudPubSubDeadLetterSourceSubscriptionProject"] = project_of(
        subscription.name
    )
    message.attributes["CloudPubSubDeadLetterSourceTopicPublishTime"] = published
    return message
