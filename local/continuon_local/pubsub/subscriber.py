"""The methods of ``google.pubsub.v1.Subscriber``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty

from continuon_local.database import transaction
from continuon_local.grpc_wire.codes import Code
from continuon_local.pubsub import limits
from continuon_local.pubsub.broker import check_attached
from continuon_local.pubsub.errors import PubSubError, already_exists, invalid, not_found
from continuon_local.pubsub.messages import Message, new
from continuon_local.pubsub.names import check_name, check_project, short_name
from continuon_local.pubsub.paging import page
from continuon_local.pubsub.retention import of_subscription
from continuon_local.pubsub.updates import apply_mask
from continuon_local.pubsub.validation import check_ack_deadline, check_push, check_subscription

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from continuon_local.pubsub.broker import Broker, Lease
    from continuon_local.pubsub.iam import Policies
    from continuon_local.pubsub.push import PushDispatcher
    from continuon_local.pubsub.retention import Retention
    from continuon_local.pubsub.store import PubSubStore, StoredSubscription

__all__ = ["Subscriber"]

_UPDATABLE = frozenset(
    {
        "ack_deadline_seconds",
        "dead_letter_policy",
        "expiration_policy",
        "labels",
        "message_retention_duration",
        "push_config",
        "retain_acked_messages",
        "retry_policy",
    }
)


class Subscriber:
    """Subscriptions, and taking messages from them."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        store: PubSubStore,
        broker: Broker,
        push: PushDispatcher,
        *,
        retention: Retention,
        policies: Policies,
    ) -> None:
        self._connection = connection
        self._store = store
        self._broker = broker
        self._push = push
        self._retention = retention
        self._policies = policies

    async def create_subscription(self, config: Message, _caller: str) -> Message:
        """Attach a subscription to a topic; it receives what is published from now on."""
        check_subscription(config)
        if self._store.subscription(config.name) is not None:
            raise already_exists(short_name(config.name))
        self._check_topics(config)
        config.state = new("Subscription").State.Value("ACTIVE")
        with transaction(self._connection):
            self._store.add_subscription(config)
        self._push.refresh()
        return self._shown(config)

    async def get_subscription(self, request: Message, _caller: str) -> Message:
        """Return a subscription."""
        return self._shown(self._existing(request.subscription).config)

    async def update_subscription(self, request: Message, _caller: str) -> Message:
        """Change the fields that the mask names."""
        stored = self._existing(request.subscription.name)
        topic = stored.config.topic
        apply_mask(stored.config, request.subscription, request.update_mask.paths, _UPDATABLE)
        # The topic may be deleted by now, which takes nothing from the subscription.
        stored.config.topic = "projects/checked/topics/before"
        check_subscription(stored.config)
        stored.config.topic = topic
        self._check_dead_letter_topic(stored.config)
        self._save(stored)
        return self._shown(stored.config)

    async def list_subscriptions(self, request: Message, _caller: str) -> Message:
        """List the subscriptions of a project by name."""
        project = check_project(request.project)
        found, token = page(request, lambda after, n: self._store.subscriptions(project, after, n))
        shown = [self._shown(config) for config in found]
        return new("ListSubscriptionsResponse", subscriptions=shown, next_page_token=token)

    async def delete_subscription(self, request: Message, _caller: str) -> Message:
        """Delete a subscription with what it holds."""
        stored = self._existing(request.subscription)
        with transaction(self._connection):
            self._store.delete_subscription(stored)
            self._retention.release(of_subscription(stored.id))
            self._policies.forget(stored.config.name)
        self._broker.wakeups.wake(stored.id)
        return Empty()

    async def modify_push_config(self, request: Message, _caller: str) -> Message:
        """Turn push on, off or elsewhere."""
        stored = self._existing(request.subscription)
        check_push(request.push_config)
        stored.config.push_config.CopyFrom(request.push_config)
        self._save(stored)
        return Empty()

    async def pull(self, request: Message, caller: str) -> Message:
        """Hand out messages; without any, wait a while unless asked to return immediately."""
        if request.max_messages <= 0:
            raise invalid("max_messages must be positive.")
        stored = self._pullable(request.subscription)
        leases = self._take(stored, request.max_messages, caller)
        give_up_at = time.monotonic() + limits.PULL_WAIT_S
        while not leases and not request.return_immediately:
            left_s = give_up_at - time.monotonic()
            if left_s <= 0:
                break
            await self._broker.wait(stored, left_s)
            stored = self._pullable(request.subscription)
            leases = self._take(stored, request.max_messages, caller)
        return new("PullResponse", received_messages=[lease.received for lease in leases])

    async def acknowledge(self, request: Message, _caller: str) -> Message:
        """Forget messages."""
        stored = self._existing(request.subscription)
        self._broker.acknowledge(stored, _ack_ids(request.ack_ids))
        return Empty()

    async def modify_ack_deadline(self, request: Message, _caller: str) -> Message:
        """Move deadlines; 0 gives the messages back."""
        stored = self._existing(request.subscription)
        check_ack_deadline(request.ack_deadline_seconds, least=0)
        self._broker.extend(stored, _ack_ids(request.ack_ids), request.ack_deadline_seconds)
        return Empty()

    def check_pullable(self, name: str) -> None:
        """Refuse to pull from a subscription that pushes.

        Raises:
            PubSubError: FAILED_PRECONDITION; NOT_FOUND where there is no such subscription.
        """
        self._pullable(name)

    def _take(self, stored: StoredSubscription, most: int, caller: str) -> list[Lease]:
        limit = min(most, limits.MAX_PULL_MESSAGES)
        return self._broker.lease(stored, limit=limit, caller=caller)

    def _pullable(self, name: str) -> StoredSubscription:
        stored = self._existing(name)
        check_attached(stored)
        if stored.config.push_config.push_endpoint:
            raise PubSubError(
                Code.FAILED_PRECONDITION,
                "This method is not supported for this subscription type: it pushes.",
            )
        return stored

    def _shown(self, config: Message) -> Message:
        """Return a subscription with what its topic says about it."""
        topic = self._store.topic(config.topic)
        config.ClearField("topic_message_retention_duration")
        if topic is not None and topic.HasField("message_retention_duration"):
            config.topic_message_retention_duration.CopyFrom(topic.message_retention_duration)
        return config

    def _existing(self, name: str) -> StoredSubscription:
        return self._broker.subscription(check_name(name, "subscriptions"))

    def _save(self, stored: StoredSubscription) -> None:
        with transaction(self._connection):
            self._store.update_subscription(stored)
            if not stored.config.retain_acked_messages:
                self._retention.release(of_subscription(stored.id))
        self._push.refresh()
        self._broker.wakeups.wake(stored.id)

    def _check_topics(self, config: Message) -> None:
        if self._store.topic(config.topic) is None:
            raise not_found(short_name(config.topic))
        self._check_dead_letter_topic(config)

    def _check_dead_letter_topic(self, config: Message) -> None:
        topic = config.dead_letter_policy.dead_letter_topic
        if topic and self._store.topic(topic) is None:
            raise not_found(short_name(topic))


def _ack_ids(ack_ids: Sequence[str]) -> Sequence[str]:
    if not ack_ids:
        raise invalid("No ack ids specified.")
    return ack_ids
