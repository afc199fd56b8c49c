from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud.storage import Client
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from conftest import local_services
from integration.local.storage.harness import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from google.cloud.storage import Bucket

PROJECT = "demo-continuon"
PATIENCE_S = 10


@dataclass
class Both:
    """Cloud Storage and Pub/Sub of one process, through Google's clients."""

    bucket: Bucket
    topic: str
    subscription: str
    subscriber: Any

    def received(self, count: int) -> list[Any]:
        """Pull until ``count`` messages came, and acknowledge them."""
        found: list[Any] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(found) < count and time.monotonic() < deadline:
            request = {"subscription": self.subscription, "max_messages": 10}
            pulled = self.subscriber.pull(request=request, timeout=PATIENCE_S).received_messages
            found += [each.message for each in pulled]
            if pulled:
                ids = [each.ack_id for each in pulled]
                self.subscriber.acknowledge(subscription=self.subscription, ack_ids=ids)
        return found


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    with local_services("storage", "pubsub") as ports:
        yield ports


@pytest.fixture
def both(ports: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Both]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{ports['storage']}")
    channel = grpc.insecure_channel(f"127.0.0.1:{ports['pubsub']}")
    publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
    name = f"t-{uuid.uuid4().hex}"
    topic = publisher.topic_path(PROJECT, name)
    subscription = subscriber.subscription_path(PROJECT, name)
    publisher.create_topic(name=topic)
    subscriber.create_subscription(name=subscription, topic=topic)
    client = Client(project=PROJECT)
    yield Both(client.create_bucket(f"b-{name}"), name, subscription, subscriber)
    client.close()
    channel.close()


def test_every_change_is_published_with_its_attributes(both: Both) -> None:
    notification = both.bucket.notification(
        both.topic, payload_format="JSON_API_V1", custom_attributes={"robot": "r1"}
    )
    notification.create()
    blob = both.bucket.blob("a")
    blob.upload_from_string("one")
    first = blob.generation
    blob.metadata = {"k": "v"}
    blob.patch()
    blob.upload_from_string("two")
    both.bucket.blob("a").delete()

    messages = both.received(5)

    kinds = [message.attributes["eventType"] for message in messages]
    assert sorted(kinds) == [
        "OBJECT_DELETE",
        "OBJECT_DELETE",
        "OBJECT_FINALIZE",
        "OBJECT_FINALIZE",
        "OBJECT_METADATA_UPDATE",
    ]
    by_generation = [m for m in messages if m.attributes["objectGeneration"] == str(first)]
    finalized = next(m for m in by_generation if m.attributes["eventType"] == "OBJECT_FINALIZE")
    assert dict(finalized.attributes) == {
        "notificationConfig": f"projects/_/buckets/{both.bucket.name}/notificationConfigs/1",
        "eventType": "OBJECT_FINALIZE",
        "payloadFormat": "JSON_API_V1",
        "bucketId": both.bucket.name,
        "objectId": "a",
        "objectGeneration": str(first),
        "eventTime": json.loads(finalized.data)["timeCreated"],
        "robot": "r1",
    }
    assert json.loads(finalized.data)["size"] == "3"
    replaced = [m.attributes.get("overwroteGeneration") for m in messages]
    assert str(first) in replaced
    assert any("overwrittenByGeneration" in m.attributes for m in messages)


def test_prefix_events_and_payload_are_respected(both: Both) -> None:
    both.bucket.versioning_enabled = True
    both.bucket.patch()
    notification = both.bucket.notification(
        both.topic,
        blob_name_prefix="logs/",
        event_types=["OBJECT_ARCHIVE", "OBJECT_FINALIZE"],
        payload_format="NONE",
    )
    notification.create()
    both.bucket.blob("other").upload_from_string("x")
    both.bucket.blob("logs/a").upload_from_string("x")
    both.bucket.blob("logs/a").delete()

    messages = both.received(2)

    assert {m.attributes["eventType"] for m in messages} == {"OBJECT_FINALIZE", "OBJECT_ARCHIVE"}
    assert {(m.attributes["objectId"], m.data) for m in messages} == {("logs/a", b"")}


def test_configurations_are_listed_read_and_deleted(both: Both) -> None:
    notification = both.bucket.notification(both.topic)
    notification.create()

    (listed,) = both.bucket.list_notifications()
    assert listed.topic_name == both.topic
    assert both.bucket.get_notification(listed.notification_id).payload_format == "NONE"
    notification.delete()
    assert not notification.exists()
    with pytest.raises(exceptions.NotFound):
        both.bucket.get_notification(listed.notification_id)


def test_unknown_topic_is_refused(both: Both) -> None:
    with pytest.raises(exceptions.NotFound):
        both.bucket.notification("missing").create()

    assert list(both.bucket.list_notifications()) == []


def test_without_pubsub_a_notification_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with local_services("storage") as ports:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{ports['storage']}")
        bucket = Client(project=PROJECT).create_bucket("alone")
        with pytest.raises(exceptions.MethodNotImplemented):
            bucket.notification("topic").create()


def test_a_message_waits_for_pubsub_through_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def client(ports: dict[str, int]) -> Client:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{ports['storage']}")
        return Client(project=PROJECT)

    with local_services("storage", "pubsub", data_dir=tmp_path) as ports:
        channel = grpc.insecure_channel(f"127.0.0.1:{ports['pubsub']}")
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        topic = publisher.topic_path(PROJECT, "waiting")
        subscription = subscriber.subscription_path(PROJECT, "waiting")
        publisher.create_topic(name=topic)
        subscriber.create_subscription(name=subscription, topic=topic)
        client(ports).create_bucket("kept").notification("waiting").create()
        channel.close()
    with running(tmp_path) as alone:
        port = int(alone.base.rpartition(":")[2])
        client({"storage": port}).bucket("kept").blob("a").upload_from_string("x")
        alone.kill()

    with local_services("storage", "pubsub", data_dir=tmp_path) as ports:
        channel = grpc.insecure_channel(f"127.0.0.1:{ports['pubsub']}")
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        bucket = client(ports).bucket("kept")
        (message,) = Both(bucket, "waiting", subscription, subscriber).received(1)
        channel.close()

    assert message.attributes["objectId"] == "a"
