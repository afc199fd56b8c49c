"""Topics, subscriptions and snapshots as resources: made, changed, listed, refused."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from conformance.answers import attempt
from conformance.model import Area, PubSubGround

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AREAS"]

topics = Area("pubsub", "topics")
subscriptions = Area("pubsub", "subscriptions")

_NAMES = {
    "plain": "topic-a",
    "with_signs": "a.b_c~d+e%f",
    "two_characters": "ab",
    "three_characters": "abc",
    "starts_with_digit": "1abc",
    "starts_with_goog": "google-topic",
    "slash": "a/b",
    "space": "a b",
    "255_characters": "a" * 255,
    "256_characters": "a" * 256,
    "empty": "",
    "umlaut": "\u00e9clair",
}


def _named_topic(ground: PubSubGround, *, name: str) -> Any:
    made = ground.publisher.create_topic(name=ground.topic(_NAMES[name]))
    return made.name


def _named_subscription(ground: PubSubGround, *, name: str) -> Any:
    ground.publisher.create_topic(name=ground.topic())
    made = ground.subscriber.create_subscription(
        name=ground.subscription(_NAMES[name]), topic=ground.topic()
    )
    return made.name


for _name in _NAMES:
    topics.add(f"named_{_name}", partial(_named_topic, name=_name))
    subscriptions.add(f"named_sub_{_name}", partial(_named_subscription, name=_name))


@topics.case
def create_twice(ground: PubSubGround) -> Any:
    ground.publisher.create_topic(name=ground.topic())
    return ground.publisher.create_topic(name=ground.topic()).name


@topics.case
def get_topic(ground: PubSubGround) -> Any:
    ground.publisher.create_topic(request={"name": ground.topic(), "labels": {"a": "b"}})
    found = ground.publisher.get_topic(topic=ground.topic())
    return [found.name, dict(found.labels)]


@topics.case
def get_missing_topic(ground: PubSubGround) -> Any:
    return ground.publisher.get_topic(topic=ground.topic()).name


@topics.case
def delete_missing_topic(ground: PubSubGround) -> Any:
    return ground.publisher.delete_topic(topic=ground.topic())


@topics.case
def malformed_topic_name(ground: PubSubGround) -> Any:
    return ground.publisher.create_topic(name="topic-a").name


@topics.case
def list_topics(ground: PubSubGround) -> Any:
    for name in ("bbb", "aaa", "ccc"):
        ground.publisher.create_topic(name=ground.topic(name))
    listed = ground.publisher.list_topics(project=ground.project)
    return sorted(topic.name for topic in listed)


@topics.case
def list_topics_paged(ground: PubSubGround) -> Any:
    for name in ("bbb", "aaa", "ccc"):
        ground.publisher.create_topic(name=ground.topic(name))
    request = {"project": ground.project, "page_size": 2}
    pages = ground.publisher.list_topics(request=request).pages
    return [len(page.topics) for page in pages]


@topics.case
def list_of_empty_project(ground: PubSubGround) -> Any:
    return [topic.name for topic in ground.publisher.list_topics(project=ground.project)]


@topics.case
def update_labels(ground: PubSubGround) -> Any:
    ground.publisher.create_topic(name=ground.topic())
    changed = ground.publisher.update_topic(
        request={
            "topic": {"name": ground.topic(), "labels": {"x": "y"}},
            "update_mask": {"paths": ["labels"]},
        }
    )
    return dict(changed.labels)


@topics.case
def update_without_mask(ground: PubSubGround) -> Any:
    ground.publisher.create_topic(name=ground.topic())
    return ground.publisher.update_topic(request={"topic": {"name": ground.topic()}}).name


@topics.case
def update_missing(ground: PubSubGround) -> Any:
    return ground.publisher.update_topic(
        request={"topic": {"name": ground.topic()}, "update_mask": {"paths": ["labels"]}}
    ).name


@topics.case
def subscriptions_of_a_topic(ground: PubSubGround) -> Any:
    _both(ground)
    listed = ground.publisher.list_topic_subscriptions(topic=ground.topic())
    return list(listed)


@topics.case
def subscriptions_of_a_missing_topic(ground: PubSubGround) -> Any:
    return list(ground.publisher.list_topic_subscriptions(topic=ground.topic()))


@topics.case
def deleted_topic_leaves_its_subscription(ground: PubSubGround) -> Any:
    _both(ground)
    ground.publisher.delete_topic(topic=ground.topic())
    found = ground.subscriber.get_subscription(subscription=ground.subscription())
    return found.topic


@topics.case
def recreated_topic_is_another(ground: PubSubGround) -> Any:
    _both(ground)
    ground.publisher.delete_topic(topic=ground.topic())
    ground.publisher.create_topic(name=ground.topic())
    return list(ground.publisher.list_topic_subscriptions(topic=ground.topic()))


def _both(ground: PubSubGround, **options: Any) -> Any:
    ground.publisher.create_topic(name=ground.topic())
    return ground.subscriber.create_subscription(
        request={"name": ground.subscription(), "topic": ground.topic(), **options}
    )


_OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "deadline_9": {"ack_deadline_seconds": 9},
    "deadline_10": {"ack_deadline_seconds": 10},
    "deadline_600": {"ack_deadline_seconds": 600},
    "deadline_601": {"ack_deadline_seconds": 601},
    "deadline_negative": {"ack_deadline_seconds": -1},
    "filter": {"filter": 'attributes.a = "b"'},
    "filter_rubbish": {"filter": "rubbish ="},
    "filter_257_bytes": {"filter": 'attributes.a = "' + "b" * 300 + '"'},
    "ordering": {"enable_message_ordering": True},
    "exactly_once": {"enable_exactly_once_delivery": True},
    "retain_acked": {"retain_acked_messages": True},
    "retention_9_minutes": {"message_retention_duration": {"seconds": 540}},
    "retention_10_minutes": {"message_retention_duration": {"seconds": 600}},
    "retention_32_days": {"message_retention_duration": {"seconds": 32 * 86400}},
    "expiration_1_hour": {"expiration_policy": {"ttl": {"seconds": 3600}}},
    "expiration_2_days": {"expiration_policy": {"ttl": {"seconds": 2 * 86400}}},
    "retry_policy": {
        "retry_policy": {"minimum_backoff": {"seconds": 1}, "maximum_backoff": {"seconds": 60}}
    },
    "retry_backwards": {
        "retry_policy": {"minimum_backoff": {"seconds": 60}, "maximum_backoff": {"seconds": 1}}
    },
    "retry_above_600": {"retry_policy": {"maximum_backoff": {"seconds": 601}}},
    "push": {"push_config": {"push_endpoint": "http://127.0.0.1:9/push"}},
    "push_rubbish": {"push_config": {"push_endpoint": "rubbish"}},
    "labels": {"labels": {"a": "b"}},
    "detached": {"detached": True},
}


def _created(ground: PubSubGround, *, name: str) -> Any:
    made = _both(ground, **_OPTIONS[name])
    return [
        made.ack_deadline_seconds,
        made.filter,
        made.enable_message_ordering,
        made.enable_exactly_once_delivery,
        made.retain_acked_messages,
        made.message_retention_duration.total_seconds(),
        made.push_config.push_endpoint,
        dict(made.labels),
        made.detached,
    ]


for _name in _OPTIONS:
    subscriptions.add(f"create_{_name}", partial(_created, name=_name))


def _dead_letter(ground: PubSubGround, *, attempts: int, exists: bool) -> Any:
    if exists:
        ground.publisher.create_topic(name=ground.topic("dead"))
    policy = {"dead_letter_topic": ground.topic("dead"), "max_delivery_attempts": attempts}
    made = _both(ground, dead_letter_policy=policy)
    return made.dead_letter_policy.max_delivery_attempts


for _attempts in (0, 4, 5, 100, 101):
    subscriptions.add(
        f"dead_letter_after_{_attempts}", partial(_dead_letter, attempts=_attempts, exists=True)
    )
subscriptions.add("dead_letter_topic_missing", partial(_dead_letter, attempts=5, exists=False))


@subscriptions.case
def create_subscription_twice(ground: PubSubGround) -> Any:
    _both(ground)
    return ground.subscriber.create_subscription(
        name=ground.subscription(), topic=ground.topic()
    ).name


@subscriptions.case
def of_missing_topic(ground: PubSubGround) -> Any:
    return ground.subscriber.create_subscription(
        name=ground.subscription(), topic=ground.topic()
    ).name


@subscriptions.case
def get_missing_subscription(ground: PubSubGround) -> Any:
    return ground.subscriber.get_subscription(subscription=ground.subscription()).name


@subscriptions.case
def delete_missing_subscription(ground: PubSubGround) -> Any:
    return ground.subscriber.delete_subscription(subscription=ground.subscription())


@subscriptions.case
def list_subscriptions(ground: PubSubGround) -> Any:
    _both(ground)
    listed = ground.subscriber.list_subscriptions(project=ground.project)
    return [s.name for s in listed]


_UPDATES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "deadline": ({"ack_deadline_seconds": 30}, ["ack_deadline_seconds"]),
    "deadline_too_short": ({"ack_deadline_seconds": 5}, ["ack_deadline_seconds"]),
    "filter": ({"filter": 'attributes.a = "b"'}, ["filter"]),
    "topic": ({"topic": "projects/p/topics/other"}, ["topic"]),
    "ordering": ({"enable_message_ordering": True}, ["enable_message_ordering"]),
    "name": ({}, ["name"]),
    "unknown_field": ({}, ["zz"]),
    "labels": ({"labels": {"a": "b"}}, ["labels"]),
    "nothing": ({}, []),
}


def _updated(ground: PubSubGround, *, name: str) -> Any:
    _both(ground)
    fields, paths = _UPDATES[name]
    changed = ground.subscriber.update_subscription(
        request={
            "subscription": {"name": ground.subscription(), **fields},
            "update_mask": {"paths": paths},
        }
    )
    return [changed.ack_deadline_seconds, changed.filter, dict(changed.labels)]


for _name in _UPDATES:
    subscriptions.add(f"update_{_name}", partial(_updated, name=_name))


@subscriptions.case
def modify_push_config(ground: PubSubGround) -> Any:
    _both(ground)
    config = {"push_endpoint": "http://127.0.0.1:9/push"}
    ground.subscriber.modify_push_config(
        request={"subscription": ground.subscription(), "push_config": config}
    )
    found = ground.subscriber.get_subscription(subscription=ground.subscription())
    return found.push_config.push_endpoint


_MISSING: dict[str, Callable[[PubSubGround], Any]] = {
    "pull": lambda g: g.subscriber.pull(subscription=g.subscription(), max_messages=1),
    "acknowledge": lambda g: g.subscriber.acknowledge(subscription=g.subscription(), ack_ids=["x"]),
    "modify_deadline": lambda g: g.subscriber.modify_ack_deadline(
        subscription=g.subscription(), ack_ids=["x"], ack_deadline_seconds=10
    ),
    "seek": lambda g: g.subscriber.seek(
        request={"subscription": g.subscription(), "time": {"seconds": 1}}
    ),
    "snapshot": lambda g: g.subscriber.create_snapshot(
        name=f"{g.project}/snapshots/snap", subscription=g.subscription()
    ),
    "publish": lambda g: g.publisher.publish(g.topic(), b"x").result(20),
}


def _on_missing(ground: PubSubGround, *, verb: str) -> Any:
    _MISSING[verb](ground)
    return "accepted"


for _verb in _MISSING:
    subscriptions.add(f"{_verb}_on_missing", partial(_on_missing, verb=_verb))


@subscriptions.case
def detach(ground: PubSubGround) -> Any:
    _both(ground)
    ground.publisher.detach_subscription(request={"subscription": ground.subscription()})
    found = ground.subscriber.get_subscription(subscription=ground.subscription())
    pulled = attempt(
        lambda: len(
            ground.subscriber.pull(
                subscription=ground.subscription(), max_messages=1, timeout=3
            ).received_messages
        )
    )
    return [found.detached, pulled]


_TOPIC_PERIODS = {"ok": 3600, "short": 599, "long": 31 * 86_400 + 1}


def _topic_retention(ground: PubSubGround, *, seconds: int) -> Any:
    made = ground.publisher.create_topic(
        request={"name": ground.topic(), "message_retention_duration": {"seconds": seconds}}
    )
    return made.message_retention_duration.total_seconds()


for _name, _seconds in _TOPIC_PERIODS.items():
    topics.add(f"retention_{_name}", partial(_topic_retention, seconds=_seconds))


@topics.case
def retention_changed(ground: PubSubGround) -> Any:
    ground.publisher.create_topic(name=ground.topic())
    made = ground.publisher.update_topic(
        topic={"name": ground.topic(), "message_retention_duration": {"seconds": 7200}},
        update_mask={"paths": ["message_retention_duration"]},
    )
    return made.message_retention_duration.total_seconds()


_POLICY_CALLS: dict[str, Callable[[Any, str], Any]] = {
    "get": lambda client, name: len(client.get_iam_policy(request={"resource": name}).bindings),
    "set": lambda client, name: len(
        client.set_iam_policy(
            request={
                "resource": name,
                "policy": {"bindings": [{"role": "roles/viewer", "members": ["allUsers"]}]},
            }
        ).bindings
    ),
    "test": lambda client, name: list(
        client.test_iam_permissions(
            request={"resource": name, "permissions": ["pubsub.topics.get"]}
        ).permissions
    ),
}


def _policy(ground: PubSubGround, *, call: str, missing: bool) -> Any:
    if not missing:
        ground.publisher.create_topic(name=ground.topic())
    return _POLICY_CALLS[call](ground.publisher, ground.topic())


for _call in _POLICY_CALLS:
    topics.add(f"{_call}_policy", partial(_policy, call=_call, missing=False))
    topics.add(f"{_call}_policy_of_a_missing_topic", partial(_policy, call=_call, missing=True))


AREAS = [topics, subscriptions]
