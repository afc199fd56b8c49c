"""Messages: published, pulled, acknowledged, delivered again, filtered, ordered, sought."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from google.pubsub_v1 import PublisherClient as Generated

from conformance.answers import attempt
from conformance.model import Area, PubSubGround

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["AREAS", "ack", "datas", "publish", "pull", "ready"]

messages = Area("pubsub", "messages")
filters = Area("pubsub", "filters")

_WAIT_S = 4
_QUIET_S = 1


def ready(ground: PubSubGround, **options: Any) -> None:
    ground.publisher.create_topic(name=ground.topic())
    ground.subscriber.create_subscription(
        request={"name": ground.subscription(), "topic": ground.topic(), **options}
    )


def publish(ground: PubSubGround, *datas: bytes, **attributes: str) -> list[str]:
    futures = [ground.publisher.publish(ground.topic(), data, **attributes) for data in datas]
    return [future.result(20) for future in futures]


def pull(ground: PubSubGround, count: int, *, wait: float = _WAIT_S) -> list[Any]:
    """Pull until ``count`` messages have come or none for ``wait`` seconds."""
    found: list[Any] = []
    deadline = time.monotonic() + wait
    while len(found) < count and time.monotonic() < deadline:
        answer = ground.subscriber.pull(
            request={
                "subscription": ground.subscription(),
                "max_messages": count - len(found),
                "return_immediately": True,
            }
        )
        found.extend(answer.received_messages)
        if answer.received_messages:
            deadline = time.monotonic() + wait
        else:
            time.sleep(0.05)
    return found


def datas(received: Iterable[Any]) -> list[Any]:
    return sorted(item.message.data.decode() for item in received)


def ack(ground: PubSubGround, received: Iterable[Any]) -> None:
    ground.subscriber.acknowledge(
        subscription=ground.subscription(), ack_ids=[item.ack_id for item in received]
    )


@messages.case
def publish_and_pull(ground: PubSubGround) -> Any:
    ready(ground)
    publish(ground, b"one", b"two", colour="red")
    received = pull(ground, 2)
    ack(ground, received)
    first = received[0].message
    return [datas(received), dict(first.attributes), bool(first.publish_time), first.ordering_key]


@messages.case
def acknowledged_does_not_return(ground: PubSubGround) -> Any:
    ready(ground)
    publish(ground, b"one")
    ack(ground, pull(ground, 1))
    return datas(pull(ground, 1, wait=_QUIET_S))


@messages.case
def refused_returns_at_once(ground: PubSubGround) -> Any:
    ready(ground)
    publish(ground, b"one")
    received = pull(ground, 1)
    ground.subscriber.modify_ack_deadline(
        subscription=ground.subscription(),
        ack_ids=[item.ack_id for item in received],
        ack_deadline_seconds=0,
    )
    again = pull(ground, 1)
    return [datas(again), received[0].message.message_id == again[0].message.message_id]


@messages.case
def leased_is_not_pulled_twice(ground: PubSubGround) -> Any:
    ready(ground)
    publish(ground, b"one")
    return [datas(pull(ground, 1)), datas(pull(ground, 1, wait=_QUIET_S))]


@messages.case
def acknowledged_twice(ground: PubSubGround) -> Any:
    ready(ground)
    publish(ground, b"one")
    received = pull(ground, 1)
    return [attempt(lambda: ack(ground, received)) for _ in range(2)]


@messages.case
def acknowledged_with_rubbish(ground: PubSubGround) -> Any:
    ready(ground)
    return ground.subscriber.acknowledge(subscription=ground.subscription(), ack_ids=["rubbish"])


@messages.case
def acknowledged_nothing(ground: PubSubGround) -> Any:
    ready(ground)
    return ground.subscriber.acknowledge(subscription=ground.subscription(), ack_ids=[])


@messages.case
def every_subscription_gets_a_copy(ground: PubSubGround) -> Any:
    ready(ground)
    other = ground.subscription("sub-b")
    ground.subscriber.create_subscription(name=other, topic=ground.topic())
    publish(ground, b"one")
    copy = ground.subscriber.pull(subscription=other, max_messages=1)
    return [datas(pull(ground, 1)), datas(copy.received_messages)]


@messages.case
def published_before_subscribing_is_not_delivered(ground: PubSubGround) -> Any:
    ground.publisher.create_topic(name=ground.topic())
    publish(ground, b"early")
    ground.subscriber.create_subscription(name=ground.subscription(), topic=ground.topic())
    publish(ground, b"late")
    return datas(pull(ground, 2, wait=_QUIET_S))


def _raw_publish(ground: PubSubGround, *, body: Any) -> Any:
    ready(ground)
    request = {"topic": ground.topic(), "messages": body}
    # The generated call: the outer client's `publish` takes one message at a time.
    return len(Generated.publish(ground.publisher, request=request).message_ids)


_BODIES: dict[str, Any] = {
    "empty_message": [{}],
    "no_messages": [],
    "only_attributes": [{"attributes": {"a": "b"}}],
    "empty_attribute_key": [{"data": b"x", "attributes": {"": "b"}}],
    "attribute_key_256_bytes": [{"data": b"x", "attributes": {"a" * 256: "b"}}],
    "attribute_key_257_bytes": [{"data": b"x", "attributes": {"a" * 257: "b"}}],
    "attribute_value_1024_bytes": [{"data": b"x", "attributes": {"a": "b" * 1024}}],
    "attribute_value_1025_bytes": [{"data": b"x", "attributes": {"a": "b" * 1025}}],
    "attributes_100": [{"data": b"x", "attributes": {f"a{n}": "b" for n in range(100)}}],
    "attributes_101": [{"data": b"x", "attributes": {f"a{n}": "b" for n in range(101)}}],
    "attribute_key_goog": [{"data": b"x", "attributes": {"googclient_x": "b"}}],
    "messages_1000": [{"data": b"x"}] * 1000,
    "messages_1001": [{"data": b"x"}] * 1001,
    "ordering_key_1024_bytes": [{"data": b"x", "ordering_key": "k" * 1024}],
    "ordering_key_1025_bytes": [{"data": b"x", "ordering_key": "k" * 1025}],
    "data_10_mb": [{"data": b"x" * 10_000_000}],
    "one_empty_among_two": [{"data": b"x"}, {}],
}
for _name, _body in _BODIES.items():
    messages.add(f"publish_{_name}", partial(_raw_publish, body=_body))


@messages.case
def pull_zero(ground: PubSubGround) -> Any:
    ready(ground)
    return len(
        ground.subscriber.pull(subscription=ground.subscription(), max_messages=0).received_messages
    )


@messages.case
def modify_deadline_out_of_range(ground: PubSubGround) -> Any:
    ready(ground)
    publish(ground, b"one")
    ids = [item.ack_id for item in pull(ground, 1)]
    return [
        attempt(
            partial(
                ground.subscriber.modify_ack_deadline,
                subscription=ground.subscription(),
                ack_ids=ids,
                ack_deadline_seconds=seconds,
            )
        )
        for seconds in (-1, 600, 601)
    ]


@messages.case
def ordered_by_key(ground: PubSubGround) -> Any:
    ready(ground, enable_message_ordering=True)
    for number in range(5):
        ground.publisher.publish(ground.topic(), str(number).encode(), ordering_key="k").result(20)
    found: list[str] = []
    for _ in range(20):
        received = pull(ground, 1, wait=_QUIET_S)
        found += [item.message.data.decode() for item in received]
        if received:
            ack(ground, received)
        if len(found) == 5:
            break
    return found


@messages.case
def ordered_key_waits_for_its_predecessor(ground: PubSubGround) -> Any:
    ready(ground, enable_message_ordering=True)
    for number in range(2):
        ground.publisher.publish(ground.topic(), str(number).encode(), ordering_key="k").result(20)
    first = pull(ground, 1)
    held = pull(ground, 1, wait=_QUIET_S)
    ack(ground, first)
    return [datas(first), datas(held), datas(pull(ground, 1))]


@messages.case
def seek_to_the_future_drops_all(ground: PubSubGround) -> Any:
    ready(ground)
    publish(ground, b"one")
    ground.subscriber.seek(
        request={
            "subscription": ground.subscription(),
            "time": {"seconds": int(time.time()) + 60},
        }
    )
    return datas(pull(ground, 1, wait=_QUIET_S))


@messages.case
def seek_to_the_past_replays(ground: PubSubGround) -> Any:
    ready(ground, retain_acked_messages=True)
    before = int(time.time()) - 60
    publish(ground, b"one")
    ack(ground, pull(ground, 1))
    ground.subscriber.seek(
        request={"subscription": ground.subscription(), "time": {"seconds": before}}
    )
    return datas(pull(ground, 1))


@messages.case
def snapshot_and_seek(ground: PubSubGround) -> Any:
    ready(ground)
    publish(ground, b"one")
    name = f"{ground.project}/snapshots/snap"
    made = ground.subscriber.create_snapshot(name=name, subscription=ground.subscription())
    ack(ground, pull(ground, 1))
    ground.subscriber.seek(request={"subscription": ground.subscription(), "snapshot": name})
    return [made.topic, datas(pull(ground, 1))]


@messages.case
def streaming_pull(ground: PubSubGround) -> Any:
    ready(ground)
    heard: list[str] = []

    def take(message: Any) -> None:
        heard.append(message.data.decode())
        message.ack()

    future = ground.subscriber.subscribe(ground.subscription(), callback=take)
    publish(ground, b"one", b"two", b"three")
    deadline = time.monotonic() + _WAIT_S
    while len(heard) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    future.cancel()
    attempt(lambda: future.result(20))
    return sorted(heard)


@messages.case
def streaming_pull_of_missing_subscription(ground: PubSubGround) -> Any:
    future = ground.subscriber.subscribe(ground.subscription(), callback=lambda _: None)
    return future.result(20)


@messages.case
def delivery_attempts_are_counted(ground: PubSubGround) -> Any:
    ground.publisher.create_topic(name=ground.topic("dead"))
    policy = {"dead_letter_topic": ground.topic("dead"), "max_delivery_attempts": 5}
    ready(ground, dead_letter_policy=policy)
    publish(ground, b"one")
    counts = []
    for _ in range(3):
        received = pull(ground, 1)
        counts.append(received[0].delivery_attempt)
        ground.subscriber.modify_ack_deadline(
            subscription=ground.subscription(),
            ack_ids=[received[0].ack_id],
            ack_deadline_seconds=0,
        )
    return counts


@messages.case
def dead_letter_after_five(ground: PubSubGround) -> Any:
    ground.publisher.create_topic(name=ground.topic("dead"))
    dead = ground.subscription("dead-sub")
    ground.subscriber.create_subscription(name=dead, topic=ground.topic("dead"))
    policy = {"dead_letter_topic": ground.topic("dead"), "max_delivery_attempts": 5}
    ready(ground, dead_letter_policy=policy)
    publish(ground, b"one")
    deliveries = 0
    for _ in range(6):
        received = pull(ground, 1, wait=_QUIET_S)
        deliveries += len(received)
        if not received:
            break
        ground.subscriber.modify_ack_deadline(
            subscription=ground.subscription(),
            ack_ids=[received[0].ack_id],
            ack_deadline_seconds=0,
        )
    letters = ground.subscriber.pull(
        request={"subscription": dead, "max_messages": 1}, timeout=_WAIT_S
    ).received_messages
    attributes = sorted(letters[0].message.attributes) if letters else []
    return [deliveries, datas(letters), attributes]


_SENT: list[dict[str, str]] = [
    {},
    {"colour": "red"},
    {"colour": "blue", "size": "1"},
    {"size": "10"},
    {"odd name": "x"},
    {"colour": "redish"},
]
_FILTERS: dict[str, str] = {
    "equal": 'attributes.colour = "red"',
    "not_equal": 'attributes.colour != "red"',
    "has": "attributes:colour",
    "has_not": "NOT attributes:colour",
    "minus": "-attributes:colour",
    "prefix": 'hasPrefix(attributes.colour, "red")',
    "and": 'attributes.colour = "blue" AND attributes.size = "1"',
    "or": 'attributes.colour = "red" OR attributes:size',
    "parentheses": '(attributes.colour = "red" OR attributes:size) AND attributes.size = "10"',
    "mixed_without_parentheses": "attributes:a AND attributes:b OR attributes:c",
    "quoted_key": 'attributes:"odd name"',
    "lower_case_and": 'attributes.colour = "red" and attributes:size',
    "number": "attributes.size > 1",
    "unquoted_value": "attributes.colour = red",
    "single_quotes": "attributes.colour = 'red'",
    "other_field": 'data = "x"',
    "empty": "",
    "not_not": "NOT NOT attributes:colour",
    "escaped": 'attributes.colour = "\\u0072ed"',
}


def _filtered(ground: PubSubGround, *, text: str) -> Any:
    ready(ground, filter=text)
    for number, attributes in enumerate(_SENT):
        publish(ground, str(number).encode(), **attributes)
    return datas(pull(ground, len(_SENT), wait=_QUIET_S))


for _name, _text in _FILTERS.items():
    filters.add(f"filter_{_name}", partial(_filtered, text=_text))

AREAS = [messages, filters]
