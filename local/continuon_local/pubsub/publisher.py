"""The methods of ``google.pubsub.v1.Publisher``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty

from continuon_local.database import transaction
from continuon_local.pubsub.errors import already_exists, not_found
from continuon_local.pubsub.messages import Message, new
from continuon_local.pubsub.names import DELETED_TOPIC, check_name, check_project, short_name
from continuon_local.pubsub.paging import page
from continuon_local.pubsub.retention import of_topic
from continuon_local.pubsub.updates import apply_mask
from continuon_local.pubsub.validation import check_publish, check_topic

if TYPE_CHECKING:
    import sqlite3

    from continuon_local.pubsub.broker import Broker
    from continuon_local.pubsub.iam import Policies
    from continuon_local.pubsub.retention import Retention
    from continuon_local.pubsub.store import PubSubStore

__all__ = ["Publisher"]

_UPDATABLE = frozenset({"labels", "message_retention_duration"})


class Publisher:
    """Topics, and publishing to them."""

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
        self._broker = broker
        self._retention = retention
        self._policies = policies

    async def create_topic(self, topic: Message, _caller: str) -> Message:
        """Create a topic; ALREADY_EXISTS where there is one."""
        check_topic(topic)
        if self._store.topic(topic.name) is not None:
            raise already_exists(short_name(topic.name))
        self._put(topic)
        return topic

    async def update_topic(self, request: Message, _caller: str) -> Message:
        """Change the fields that the mask names."""
        topic = self._topic(request.topic.name)
        apply_mask(topic, request.topic, request.update_mask.paths, _UPDATABLE)
        check_topic(topic)
        self._put(topic)
        return topic

    async def get_topic(self, request: Message, _caller: str) -> Message:
        """Return a topic."""
        return self._topic(request.topic)

    async def list_topics(self, request: Message, _caller: str) -> Message:
        """List the topics of a project by name."""
        project = check_project(request.project)
        topics, token = page(request, lambda after, n: self._store.topics(project, after, n))
        return new("ListTopicsResponse", topics=topics, next_page_token=token)

    async def list_topic_subscriptions(self, request: Message, _caller: str) -> Message:
        """List the names of the subscriptions that are attached to a topic."""
        self._topic(request.topic)

        def fetch(after: str, limit: int) -> list[Message]:
            found = [stored.config for stored in self._store.subscriptions_of(request.topic)]
            attached = [config for config in found if not config.detached]
            return [config for config in attached if config.name > after][:limit]

        attached, token = page(request, fetch)
        return new(
            "ListTopicSubscriptionsResponse",
            subscriptions=[config.name for config in attached],
            next_page_token=token,
        )

    async def delete_topic(self, request: Message, _caller: str) -> Message:
        """Delete a topic; its subscriptions keep what they hold and name ``_deleted-topic_``."""
        self._topic(request.topic)
        with transaction(self._connection):
            for stored in self._store.subscriptions_of(request.topic):
                stored.config.topic = DELETED_TOPIC
                self._store.update_subscription(stored)
            for snapshot in self._retention.snapshots_of(request.topic):
                snapshot.topic = DELETED_TOPIC
                self._retention.put_snapshot(snapshot)
            self._store.delete_topic(request.topic)
            self._retention.release(of_topic(request.topic))
            self._policies.forget(request.topic)
        return Empty()

    async def publish(self, request: Message, caller: str) -> Message:
        """Publish messages; the answer comes when they are on disk."""
        check_name(request.topic, "topics")
        messages = list(request.messages)
        check_publish(messages)
        ids = self._broker.publish(request.topic, messages, caller=caller)
        return new("PublishResponse", message_ids=ids)

    def _topic(self, name: str) -> Message:
        topic = self._store.topic(check_name(name, "topics"))
        if topic is None:
            raise not_found(short_name(name))
        return topic

    def _put(self, topic: Message) -> None:
        with transaction(self._connection):
            self._store.put_topic(topic)
            if not topic.HasField("message_retention_duration"):
                self._retention.release(of_topic(topic.name))
