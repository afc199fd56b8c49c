"""Pull and streaming pull through the unmodified clients."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from google.api_core import exceptions
from google.cloud.pubsub_v1 import types

if TYPE_CHECKING:
    from collections.abc import Callable


def data(received: list[Any]) -> list[bytes]:
    return [each.message.data for each in received]


def test_a_message_arrives_as_it_was_published(bench: Any) -> None:
    topic = bench.topic()
    name = bench.subscription(topic)
    body = bytes(range(256))
    [message_id] = bench.publish(topic, body, kind="train", text="é✓")
    [received] = bench.pull(name)
    assert received.message.message_id == message_id
    assert received.message.data == body
    assert dict(received.message.attributes) == {"kind": "train", "text": "é✓"}
    assert abs(received.message.publish_time.timestamp() - time.time()) < 30
    assert received.delivery_attempt == 0


def test_pull_waits_for_a_message_and_return_immediately_does_not(bench: Any) -> None:
    topic = bench.topic()
    name = bench.subscription(topic)
    assert bench.pull(name, wait=False) == []
    timer = threading.Timer(0.3, lambda: bench.publish(topic, b"late"))
    timer.start()
    began = time.monotonic()
    assert data(bench.pull(name)) == [b"late"]
    assert 0.2 < time.monotonic() - began < 5
    timer.join()


def test_an_unacknowledged_message_comes_again_after_its_deadline(bench: Any) -> None:
    topic = bench.topic()
    name = bench.subscription(topic)
    bench.publish(topic, b"a")
    first = bench.pull(name)
    bench.give_back(name, first, deadline_s=1)
    assert bench.pull(name, wait=False) == []
    again = bench.pull(name)
    assert data(again) == [b"a"]
    bench.acknowledge(name, first)
    assert bench.pull(name, wait=False) == []
    bench.acknowledge(name, again)
    assert bench.pull(name, wait=False) == []


def test_a_dead_letter_reaches_its_topic_without_anyone_pulling_again(bench: Any) -> None:
    topic, dead = bench.topic(), bench.topic("dead")
    name = bench.subscription(topic, dead_letter_policy={"dead_letter_topic": dead})
    graves = bench.subscription(dead)
    bench.publish(topic, b"poison", job="j1")
    for attempt in range(1, 6):
        received = bench.pull(name)
        assert received[0].delivery_attempt == attempt
        bench.give_back(name, received, deadline_s=1 if attempt == 5 else 0)
    [buried] = bench.pull(graves)
    assert buried.message.data == b"poison"
    assert buried.message.attributes["job"] == "j1"
    assert buried.message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
    assert bench.pull(name, wait=False) == []


def test_a_retry_policy_delays_redelivery(bench: Any) -> None:
    topic = bench.topic()
    policy = {"minimum_backoff": {"seconds": 1}, "maximum_backoff": {"seconds": 2}}
    name = bench.subscription(topic, retry_policy=policy)
    bench.publish(topic, b"a")
    bench.give_back(name, bench.pull(name))
    given_back_at = time.monotonic()
    assert bench.pull(name, wait=False) == []
    assert data(bench.pull(name)) == [b"a"]
    assert time.monotonic() - given_back_at > 0.8


def test_bad_pulls_and_acknowledgements_are_refused(bench: Any) -> None:
    topic = bench.topic()
    name = bench.subscription(topic)
    calls: list[Callable[[], Any]] = [
        lambda: bench.pull(name, 0),
        lambda: bench.pull("projects/demo-continuon/topics/jobs"),
        lambda: bench.acknowledge(name, []),
        lambda: bench.subscriber.acknowledge(subscription=name, ack_ids=["nonsense"]),
        lambda: bench.subscriber.modify_ack_deadline(
            subscription=name, ack_ids=["1-1-1"], ack_deadline_seconds=601
        ),
    ]
    for call in calls:
        with pytest.raises(exceptions.InvalidArgument):
            call()


def test_a_stream_receives_what_is_there_and_what_comes(
    bench: Any, eventually: Callable[..., None]
) -> None:
    topic = bench.topic()
    name = bench.subscription(topic)
    bench.publish(topic, *[b"early-%d" % number for number in range(50)])
    seen: Counter[bytes] = Counter()

    def receive(message: Any) -> None:
        seen[message.data] += 1
        message.ack()

    streaming = bench.subscriber.subscribe(name, callback=receive)
    eventually(lambda: len(seen) == 50)
    bench.publish(topic, *[b"late-%d" % number for number in range(50)])
    eventually(lambda: len(seen) == 100)
    streaming.cancel()
    streaming.result(10)
    assert set(seen.values()) == {1}
    assert bench.pull(name, wait=False) == []


def test_a_message_given_back_on_a_stream_comes_again(
    bench: Any, eventually: Callable[..., None]
) -> None:
    topic = bench.topic()
    name = bench.subscription(topic)
    attempts: list[bytes] = []

    def receive(message: Any) -> None:
        attempts.append(message.data)
        if len(attempts) < 3:
            message.nack()
        else:
            message.ack()

    streaming = bench.subscriber.subscribe(name, callback=receive)
    bench.publish(topic, b"a")
    eventually(lambda: len(attempts) == 3)
    streaming.cancel()
    streaming.result(10)
    assert bench.pull(name, wait=False) == []


def test_two_subscribers_share_one_subscription(
    bench: Any, eventually: Callable[..., None]
) -> None:
    topic = bench.topic()
    name = bench.subscription(topic)
    seen: tuple[list[bytes], list[bytes]] = ([], [])

    def receiver(mine: list[bytes]) -> Callable[[Any], None]:
        def receive(message: Any) -> None:
            mine.append(message.data)
            message.ack()

        return receive

    streams = [bench.subscriber.subscribe(name, callback=receiver(mine)) for mine in seen]
    time.sleep(0.5)  # both streams are open before the first message
    for number in range(40):
        bench.publish(topic, b"%d" % number)
    eventually(lambda: len(seen[0]) + len(seen[1]) == 40)
    for stream in streams:
        stream.cancel()
        stream.result(10)
    assert sorted(seen[0] + seen[1]) == sorted(b"%d" % number for number in range(40))
    assert min(len(mine) for mine in seen) >= 10


def test_flow_control_bounds_what_a_stream_holds(
    bench: Any, eventually: Callable[..., None]
) -> None:
    topic = bench.topic()
    name = bench.subscription(topic)
    bench.publish(topic, *[b"%d" % number for number in range(10)])
    held: list[Any] = []
    streaming = bench.subscriber.subscribe(
        name, callback=held.append, flow_control=types.FlowControl(max_messages=3)
    )
    eventually(lambda: len(held) == 3)
    # Another consumer still finds the other seven: the stream has not drawn them in.
    others = bench.pull(name)
    assert len(others) == 7
    bench.acknowledge(name, others[1:])
    bench.give_back(name, others[:1])
    held[0].ack()
    eventually(lambda: len(held) == 4)
    for message in held[1:]:
        message.ack()
    eventually(lambda: bench.pull(name, wait=False) == [])
    streaming.cancel()
    streaming.result(10)


def test_ordered_messages_arrive_in_order_though_one_is_given_back(
    bench: Any, eventually: Callable[..., None]
) -> None:
    topic = bench.topic()
    name = bench.subscription(topic, enable_message_ordering=True)
    for number in range(10):
        bench.publisher.publish(topic, b"%d" % number, ordering_key="robot-1").result(10)
    acknowledged: list[bytes] = []
    refused: list[bytes] = []

    def receive(message: Any) -> None:
        if message.data == b"4" and not refused:
            refused.append(message.data)
            message.nack()
            return
        acknowledged.append(message.data)
        message.ack()

    streaming = bench.subscriber.subscribe(name, callback=receive)
    eventually(lambda: len(acknowledged) == 10)
    streaming.cancel()
    streaming.result(10)
    assert refused == [b"4"]
    assert acknowledged == [b"%d" % number for number in range(10)]


def test_a_stream_on_an_absent_subscription_ends_with_not_found(bench: Any) -> None:
    absent = bench.subscriber.subscription_path("demo-continuon", "absent")
    streaming = bench.subscriber.subscribe(absent, callback=lambda _message: None)
    with pytest.raises(exceptions.NotFound):
        streaming.result(10)
