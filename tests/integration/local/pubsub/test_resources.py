"""Topics and subscriptions through the unmodified clients."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.protobuf import field_mask_pb2
from google.pubsub_v1 import PublisherClient as GeneratedPublisherClient
from google.pubsub_v1 import PubsubMessage

PROJECT = "demo-continuon"


def test_a_topic_is_made_once_found_listed_and_deleted(bench: Any) -> None:
    topic = bench.topic("life")
    with pytest.raises(exceptions.AlreadyExists):
        bench.publisher.create_topic(name=topic)
    assert bench.publisher.get_topic(topic=topic).name == topic
    listed = bench.publisher.list_topics(project=f"projects/{PROJECT}")
    assert topic in [each.name for each in listed]
    bench.publisher.delete_topic(topic=topic)
    with pytest.raises(exceptions.NotFound):
        bench.publisher.get_topic(topic=topic)
    with pytest.raises(exceptions.NotFound):
        bench.publisher.publish(topic, b"x").result(10)


def test_lists_page_through_everything_once(bench: Any) -> None:
    project = "projects/demo-paging"
    names = [f"{project}/topics/topic-{number}" for number in range(5)]
    for name in reversed(names):
        bench.publisher.create_topic(name=name)
    pages = bench.publisher.list_topics(request={"project": project, "page_size": 2})
    assert [topic.name for topic in pages] == names
    bench.topic("elsewhere")
    first = next(iter(bench.publisher.list_topics(request={"project": project}).pages))
    assert len(first.topics) == 5


def test_a_topics_labels_are_updated_and_its_name_is_not(bench: Any) -> None:
    topic = bench.topic("labels")
    mask = field_mask_pb2.FieldMask(paths=["labels"])
    changed = {"name": topic, "labels": {"team": "fleet"}}
    bench.publisher.update_topic(topic=changed, update_mask=mask)
    assert dict(bench.publisher.get_topic(topic=topic).labels) == {"team": "fleet"}
    with pytest.raises(exceptions.InvalidArgument):
        bench.publisher.update_topic(
            topic=changed, update_mask=field_mask_pb2.FieldMask(paths=["name"])
        )


def test_a_subscription_is_made_updated_listed_and_deleted(bench: Any) -> None:
    topic = bench.topic()
    name = bench.subscription(topic, labels={"a": "b"})
    made = bench.subscriber.get_subscription(subscription=name)
    assert (made.topic, made.ack_deadline_seconds, made.state.name) == (topic, 10, "ACTIVE")
    mask = field_mask_pb2.FieldMask(paths=["ack_deadline_seconds"])
    bench.subscriber.update_subscription(
        subscription={"name": name, "ack_deadline_seconds": 30}, update_mask=mask
    )
    changed = bench.subscriber.get_subscription(subscription=name)
    assert (changed.ack_deadline_seconds, dict(changed.labels)) == (30, {"a": "b"})
    with pytest.raises(exceptions.InvalidArgument):
        bench.subscriber.update_subscription(
            subscription={"name": name, "ack_deadline_seconds": 5}, update_mask=mask
        )
    assert list(bench.publisher.list_topic_subscriptions(topic=topic)) == [name]
    listed = bench.subscriber.list_subscriptions(project=f"projects/{PROJECT}")
    assert name in [each.name for each in listed]
    bench.subscriber.delete_subscription(subscription=name)
    with pytest.raises(exceptions.NotFound):
        bench.pull(name)


def test_a_subscription_needs_its_topics(bench: Any) -> None:
    absent = bench.publisher.topic_path(PROJECT, "absent")
    with pytest.raises(exceptions.NotFound):
        bench.subscription(absent)
    with pytest.raises(exceptions.NotFound):
        bench.subscription(bench.topic(), dead_letter_policy={"dead_letter_topic": absent})


def test_a_subscription_outlives_its_topic_with_what_it_holds(bench: Any) -> None:
    topic = bench.topic()
    name = bench.subscription(topic)
    bench.publish(topic, b"kept")
    bench.publisher.delete_topic(topic=topic)
    assert bench.subscriber.get_subscription(subscription=name).topic == "_deleted-topic_"
    assert [each.message.data for each in bench.pull(name)] == [b"kept"]
    mask = field_mask_pb2.FieldMask(paths=["ack_deadline_seconds"])
    bench.subscriber.update_subscription(
        subscription={"name": name, "ack_deadline_seconds": 30}, update_mask=mask
    )
    assert bench.subscriber.get_subscription(subscription=name).topic == "_deleted-topic_"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{}],
        [{"data": b"good"}, {"ordering_key": "only"}],
        [{"attributes": {"k": "v" * 1025}}],
        [{"data": b"x" * 10_000_001}],
    ],
)
def test_a_bad_publish_is_refused_whole(bench: Any, messages: list[dict[str, Any]]) -> None:
    topic = bench.topic()
    name = bench.subscription(topic)
    batch = [PubsubMessage(message) for message in messages]
    with pytest.raises(exceptions.InvalidArgument):
        GeneratedPublisherClient.publish(bench.publisher, topic=topic, messages=batch)
    assert bench.pull(name, wait=False) == []


def test_a_filter_chooses_messages_and_cannot_change(bench: Any) -> None:
    topic = bench.topic()
    name = bench.subscription(topic, filter='attributes.kind = "train" AND NOT attributes:dry')
    bench.publish(topic, b"yes", kind="train")
    bench.publish(topic, b"no", kind="train", dry="1")
    bench.publish(topic, b"no", kind="eval")
    assert [each.message.data for each in bench.pull(name)] == [b"yes"]
    with pytest.raises(exceptions.InvalidArgument):
        bench.subscriber.update_subscription(
            subscription={"name": name, "filter": ""},
            update_mask=field_mask_pb2.FieldMask(paths=["filter"]),
        )
    with pytest.raises(exceptions.InvalidArgument):
        bench.subscription(topic, filter="attributes.kind")


def test_what_is_missing_is_named(bench: Any) -> None:
    topic = bench.topic()
    name = bench.subscription(topic)
    calls: list[tuple[str, Any]] = [
        (
            "enable_exactly_once_delivery",
            lambda: bench.subscription(topic, enable_exactly_once_delivery=True),
        ),
        (
            "UpdateSubscription|push_config",
            lambda: bench.subscriber.update_subscription(
                subscription={"name": name},
                update_mask=field_mask_pb2.FieldMask(paths=["push_config.push_endpoint"]),
            ),
        ),
    ]
    for what, call in calls:
        with pytest.raises(exceptions.MethodNotImplemented, match=what):
            call()


def test_snapshots_replay_and_are_listed_changed_and_deleted(bench: Any) -> None:
    topic = bench.topic()
    name = bench.subscription(topic)
    snapshot = f"{name.replace('/subscriptions/', '/snapshots/')}-snap"
    bench.publish(topic, b"a")
    made = bench.subscriber.create_snapshot(name=snapshot, subscription=name)
    assert made.topic == topic
    with pytest.raises(exceptions.AlreadyExists):
        bench.subscriber.create_snapshot(name=snapshot, subscription=name)
    bench.subscriber.acknowledge(
        subscription=name, ack_ids=[each.ack_id for each in bench.pull(name)]
    )
    assert bench.pull(name, wait=False) == []
    bench.subscriber.seek(request={"subscription": name, "snapshot": snapshot})
    assert [each.message.data for each in bench.pull(name)] == [b"a"]
    changed = bench.subscriber.update_snapshot(
        snapshot={"name": snapshot, "labels": {"k": "v"}},
        update_mask=field_mask_pb2.FieldMask(paths=["labels"]),
    )
    assert bench.subscriber.get_snapshot(snapshot=snapshot) == changed
    listed = bench.subscriber.list_snapshots(project=f"projects/{PROJECT}")
    assert changed in list(listed)
    assert list(bench.publisher.list_topic_snapshots(request={"topic": topic})) == [snapshot]
    bench.subscriber.delete_snapshot(snapshot=snapshot)
    with pytest.raises(exceptions.NotFound):
        bench.subscriber.seek(request={"subscription": name, "snapshot": snapshot})


def test_a_detached_subscription_stays_and_answers_no_pull(bench: Any) -> None:
    topic = bench.topic()
    name = bench.subscription(topic)
    bench.publish(topic, b"a")
    bench.publisher.detach_subscription(request={"subscription": name})
    assert bench.subscriber.get_subscription(subscription=name).detached
    assert list(bench.publisher.list_topic_subscriptions(topic=topic)) == []
    with pytest.raises(exceptions.FailedPrecondition):
        bench.pull(name)
    with pytest.raises(exceptions.FailedPrecondition):
        bench.subscriber.subscribe(name, callback=lambda _: None).result(60)


def test_policies_are_kept_for_topics_and_subscriptions(bench: Any) -> None:
    topic = bench.topic()
    name = bench.subscription(topic)
    for client, resource in ((bench.publisher, topic), (bench.subscriber, name)):
        policy = client.get_iam_policy(request={"resource": resource})
        policy.bindings.add(role="roles/pubsub.viewer", members=["allUsers"])
        stored = client.set_iam_policy(request={"resource": resource, "policy": policy})
        assert client.get_iam_policy(request={"resource": resource}) == stored
        with pytest.raises(exceptions.Aborted):
            client.set_iam_policy(request={"resource": resource, "policy": policy})
        asked = {"resource": resource, "permissions": ["pubsub.topics.publish"]}
        assert client.test_iam_permissions(request=asked).permissions == asked["permissions"]
    with pytest.raises(exceptions.NotFound):
        bench.publisher.get_iam_policy(request={"resource": f"{topic}-none"})
