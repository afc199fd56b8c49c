"""Seek and snapshots: what a subscription has acknowledged, changed as a whole.

From cloud.google.com/pubsub/docs/replay-overview.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty

from continuon_local.database import transaction
from continuon_local.grpc_wire.codes import Code
from continuon_local.pubsub import limits
from continuon_local.pubsub.broker import check_attached
from continuon_local.pubsub.errors import PubSubError, already_exists, invalid, not_found
from continuon_local.pubsub.filters import compile_filter
from continuon_local.pubsub.messages import Message, new
from continuon_local.pubsub.names import check_name, check_project, short_name
from continuon_local.pubsub.paging import page
from continuon_local.pubsub.retention import of_snapshot, of_subscription
from continuon_local.pubsub.updates import apply_mask

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from continuon_local.pubsub.broker import Broker
    from continuon_local.pubsub.iam import Policies
    from continuon_local.pubsub.retention import Retention
    from continuon_local.pubsub.store import PubSubStore, StoredSubscription

__all__ = ["Seeking"]

_UPDATABLE = frozenset({"expire_time", "labels"})


class Seeking:
    """The methods that move subscriptions in time."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        store: PubSubStore,
        broker: Broker,
        *,
        retention: Retention,
        policies: Policies,
    ) -> None:
        self._connection = connection
        self._store = store
        self._retention = retention
        self._broker = broker
        self._policies = policies

    async def seek(self, request: Message, _caller: str) -> Message:
        """Make exactly what was published since a time, or a snapshot, unacknowledged."""
        stored = self._existing(request.subscription)
        check_attached(stored)
        target = request.WhichOneof("target")
        if target is None:
            raise invalid("A seek needs a time or a snapshot.")
        if target == "time":
            moment_ms = math.ceil(request.time.ToNanoseconds() / 1_000_000)
            wanted = self._retention.published_since(stored.id, stored.config.topic, moment_ms)
        else:
            snapshot = self._snapshot(request.snapshot)
            if snapshot.topic != stored.config.topic:
                raise PubSubError(
                    Code.FAILED_PRECONDITION,
                    f"The topic of the subscription, {stored.config.topic}, is not that of the "
                    f"snapshot, {snapshot.topic}.",
                )
            wanted = self._retention.held(of_snapshot(snapshot.name))
        with transaction(self._connection):
            self._settle(stored, wanted)
        self._broker.wakeups.wake(stored.id)
        return new("SeekResponse")

    def _settle(self, stored: StoredSubscription, wanted: Sequence[int]) -> None:
        waiting = self._retention.waiting(stored.id)
        unwanted = sorted(set(waiting).difference(wanted))
        self._broker.settle(stored, unwanted)
        now_ms = self._broker.now_ms()
        selects = compile_filter(stored.config.filter)
        for message_id in set(wanted).difference(waiting):
            message = self._retention.message(message_id)
            if selects(message.attributes):
                self._store.add_delivery(stored.id, message_id, message.ordering_key, now_ms)
        self._store.make_available(stored.id, now_ms)
        self._retention.release(of_subscription(stored.id), wanted)

    async def create_snapshot(self, request: Message, _caller: str) -> Message:
        """Keep what a subscription has not acknowledged, and all that is published from now on."""
        check_name(request.name, "snapshots")
        stored = self._existing(request.subscription)
        check_attached(stored)
        if self._retention.snapshot(request.name) is not None:
            raise already_exists(short_name(request.name))
        waiting = self._retention.waiting(stored.id)
        snapshot = new(
            "Snapshot", name=request.name, topic=stored.config.topic, labels=request.labels
        )
        snapshot.expire_time.FromMilliseconds(self._expires_ms(waiting))
        with transaction(self._connection):
            self._retention.put_snapshot(snapshot)
            self._retention.hold(of_snapshot(snapshot.name), waiting)
        return snapshot

    def _expires_ms(self, waiting: Sequence[int]) -> int:
        """Return when a snapshot ends: a week after its oldest message was published.

        Raises:
            PubSubError: FAILED_PRECONDITION: that is less than an hour away.
        """
        now_ms = self._broker.now_ms()
        oldest_ms = self._retention.published_at_ms(waiting[0]) if waiting else now_ms
        expires_ms = oldest_ms + limits.SNAPSHOT_LIFETIME_S * 1000
        if expires_ms < now_ms + limits.MIN_SNAPSHOT_LIFETIME_S * 1000:
            raise PubSubError(
                Code.FAILED_PRECONDITION,
                "The oldest unacknowledged message is too old: the snapshot would expire within "
                "an hour.",
            )
        return expires_ms

    async def get_snapshot(self, request: Message, _caller: str) -> Message:
        """Return a snapshot."""
        return self._snapshot(request.snapshot)

    async def list_snapshots(self, request: Message, _caller: str) -> Message:
        """List the snapshots of a project by name."""
        project = check_project(request.project)
        found, token = page(request, lambda after, n: self._retention.snapshots(project, after, n))
        return new("ListSnapshotsResponse", snapshots=found, next_page_token=token)

    async def list_topic_snapshots(self, request: Message, _caller: str) -> Message:
        """List the names of the snapshots of a topic."""
        if self._store.topic(check_name(request.topic, "topics")) is None:
            raise not_found(short_name(request.topic))

        def fetch(after: str, limit: int) -> list[Message]:
            found = self._retention.snapshots_of(request.topic)
            return [snapshot for snapshot in found if snapshot.name > after][:limit]

        found, token = page(request, fetch)
        names = [snapshot.name for snapshot in found]
        return new("ListTopicSnapshotsResponse", snapshots=names, next_page_token=token)

    async def update_snapshot(self, request: Message, _caller: str) -> Message:
        """Change labels, or end the snapshot earlier."""
        snapshot = self._snapshot(request.snapshot.name)
        latest = snapshot.expire_time.ToMilliseconds()
        apply_mask(snapshot, request.snapshot, request.update_mask.paths, _UPDATABLE)
        if not self._broker.now_ms() < snapshot.expire_time.ToMilliseconds() <= latest:
            raise invalid("expire_time must be in the future, and not later than it was.")
        with transaction(self._connection):
            self._retention.put_snapshot(snapshot)
        return snapshot

    async def delete_snapshot(self, request: Message, _caller: str) -> Message:
        """Delete a snapshot."""
        snapshot = self._snapshot(request.snapshot)
        with transaction(self._connection):
            self._retention.delete_snapshot(snapshot.name)
            self._policies.forget(snapshot.name)
        return Empty()

    async def detach_subscription(self, request: Message, _caller: str) -> Message:
        """Cut a subscription off its topic; what it held is gone."""
        stored = self._existing(request.subscription)
        stored.config.detached = True
        with transaction(self._connection):
            self._store.update_subscription(stored)
            self._store.remove(stored.id, self._retention.waiting(stored.id))
            self._retention.release(of_subscription(stored.id))
        self._broker.wakeups.wake(stored.id)
        return new("DetachSubscriptionResponse")

    def _existing(self, name: str) -> StoredSubscription:
        return self._broker.subscription(check_name(name, "subscriptions"))

    def _snapshot(self, name: str) -> Message:
        snapshot = self._retention.snapshot(check_name(name, "snapshots"))
        if snapshot is None:
            raise not_found(short_name(name))
        return snapshot
