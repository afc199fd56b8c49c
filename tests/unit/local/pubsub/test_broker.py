"""The broker on an in-memory database and a clock that the test moves."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from continuon_local.clock import MovableClock
from continuon_local.database import open_database
from continuon_local.events.outbox import Outbox
from continuon_local.meter import Meter, Operation
from continuon_local.pubsub.broker import Broker, Lease
from continuon_local.pubsub.errors import PubSubError
from continuon_local.pubsub.messages import new
from continuon_local.pubsub.retention import Retention
from continuon_local.pubsub.store import PubSubStore, StoredSubscription
from continuon_local.pubsub.validation import check_subscription

TOPIC = "projects/p/topics/jobs"
DEAD = "projects/p/topics/jobs-dead"


class StillClock(MovableClock):
    """Stands still between the moves of the test."""

    def __init__(self) -> None:
        super().__init__()
        self._moment = super().now()

    def now(self) -> Any:
        return self._moment + self._offset


class Bench:
    def __init__(self) -> None:
        connection = open_database(None)
        self.clock = StillClock()
        self.meter = Meter()
        self.store = PubSubStore(connection)
        self.outbox = Outbox(connection)
        self.watched: set[str] = set()
        self.connection = connection
        self.broker = Broker(
            connection,
            store=self.store,
            retention=Retention(connection, self.store),
            clock=self.clock,
            meter=self.meter,
            outbox=self.outbox,
            watched=lambda: self.watched,
        )
        for name in (TOPIC, DEAD):
            self.store.put_topic(new("Topic", name=name))

    def subscribe(self, name: str = "sub", topic: str = TOPIC, **fields: Any) -> StoredSubscription:
        config = new("Subscription", name=f"projects/p/subscriptions/{name}", topic=topic, **fields)
        check_subscription(config)
        self.store.add_subscription(config)
        return self.broker.subscription(config.name)

    def publish(self, *bodies: str, key: str = "", **attributes: str) -> list[str]:
        messages = [
            new("PubsubMessage", data=body.encode(), attributes=attributes, ordering_key=key)
            for body in bodies
        ]
        return self.broker.publish(TOPIC, messages)

    def take(self, stored: StoredSubscription, limit: int = 100) -> list[Lease]:
        return self.broker.lease(stored, limit=limit)

    def bodies(self, stored: StoredSubscription, limit: int = 100) -> list[str]:
        return [lease.received.message.data.decode() for lease in self.take(stored, limit)]

    def advance(self, **by: float) -> None:
        self.clock.advance(timedelta(**by))

    def count(self, table: str) -> int:
        counted: int = self.connection.execute(
            f"SELECT COUNT(*) FROM {table}"  # noqa: S608 - the test names the table
        ).fetchone()[0]
        return counted


@pytest.fixture
def bench() -> Any:
    made = Bench()
    yield made
    made.connection.close()


def dead_letters(attempts: int = 5) -> dict[str, Any]:
    policy = new("DeadLetterPolicy", dead_letter_topic=DEAD, max_delivery_attempts=attempts)
    return {"dead_letter_policy": policy}


def test_every_subscription_receives_every_message_in_order(bench: Bench) -> None:
    one, two = bench.subscribe("one"), bench.subscribe("two")
    bench.publish("a", "b", "c")
    assert bench.bodies(one) == bench.bodies(two) == ["a", "b", "c"]


def test_what_was_published_before_the_subscription_is_not_received(bench: Bench) -> None:
    bench.publish("early")
    assert bench.bodies(bench.subscribe()) == []
    assert bench.count("messages") == 0


def test_a_leased_message_comes_again_when_its_deadline_has_passed(bench: Bench) -> None:
    sub = bench.subscribe(ack_deadline_seconds=10)
    bench.publish("a")
    assert bench.bodies(sub) == ["a"]
    bench.advance(seconds=9.9)
    assert bench.bodies(sub) == []
    bench.advance(seconds=0.1)
    assert bench.bodies(sub) == ["a"]


def test_an_acknowledged_message_never_comes_again(bench: Bench) -> None:
    sub = bench.subscribe()
    bench.publish("a", "b")
    leases = bench.take(sub)
    bench.broker.acknowledge(sub, [lease.ack_id for lease in leases])
    bench.advance(days=1)
    assert bench.bodies(sub) == []
    assert bench.count("messages") == bench.count("deliveries") == 0


def test_an_extended_deadline_holds_and_an_expired_one_cannot_be_extended(bench: Bench) -> None:
    sub = bench.subscribe(ack_deadline_seconds=10)
    bench.publish("a")
    [lease] = bench.take(sub)
    bench.advance(seconds=9)
    bench.broker.extend(sub, [lease.ack_id], 60)
    bench.advance(seconds=59)
    assert bench.bodies(sub) == []
    bench.advance(seconds=2)
    bench.broker.extend(sub, [lease.ack_id], 60)
    assert bench.bodies(sub) == ["a"]


def test_a_stale_acknowledgement_does_not_take_the_message_from_the_next_consumer(
    bench: Bench,
) -> None:
    sub = bench.subscribe(ack_deadline_seconds=10)
    bench.publish("a")
    [first] = bench.take(sub)
    bench.advance(seconds=11)
    [second] = bench.take(sub)
    bench.broker.acknowledge(sub, [first.ack_id])
    bench.broker.extend(sub, [first.ack_id], 0)
    assert bench.broker.is_current(sub, second.ack_id)
    bench.advance(seconds=11)
    assert bench.bodies(sub) == ["a"]


@pytest.mark.parametrize("ack_id", ["", "x", "1-1", "9-1-1", "1-1-1-1", "1-" + "9" * 30 + "-1"])
def test_an_ack_id_of_nobody_is_refused_and_changes_nothing(bench: Bench, ack_id: str) -> None:
    sub = bench.subscribe()
    bench.publish("a")
    [lease] = bench.take(sub)
    with pytest.raises(PubSubError) as refusal:
        bench.broker.acknowledge(sub, [lease.ack_id, ack_id])
    assert refusal.value.code.name == "INVALID_ARGUMENT"
    assert bench.broker.is_current(sub, lease.ack_id)


def test_without_a_retry_policy_a_message_given_back_comes_at_once(bench: Bench) -> None:
    sub = bench.subscribe()
    bench.publish("a")
    for _ in range(8):
        [lease] = bench.take(sub)
        assert not lease.received.delivery_attempt
        bench.broker.extend(sub, [lease.ack_id], 0)


def test_a_retry_policy_doubles_the_wait_up_to_its_maximum(bench: Bench) -> None:
    policy = new("RetryPolicy")
    policy.minimum_backoff.seconds, policy.maximum_backoff.seconds = 10, 30
    sub = bench.subscribe(retry_policy=policy)
    bench.publish("a")
    for wait_s in (10, 20, 30, 30):
        [lease] = bench.take(sub)
        bench.broker.extend(sub, [lease.ack_id], 0)
        bench.advance(seconds=wait_s - 0.1)
        assert bench.bodies(sub) == []
        bench.advance(seconds=0.1)


def test_a_message_that_failed_often_enough_goes_to_the_dead_letter_topic(bench: Bench) -> None:
    sub = bench.subscribe(**dead_letters())
    dead = bench.subscribe("dead", topic=DEAD)
    bench.publish("poison", origin="robot")
    for attempt in range(1, 6):
        [lease] = bench.take(sub)
        assert lease.received.delivery_attempt == attempt
        assert bench.bodies(dead) == []
        bench.broker.extend(sub, [lease.ack_id], 0)
    assert bench.bodies(sub) == []
    [buried] = bench.take(dead)
    attributes = dict(buried.received.message.attributes)
    assert buried.received.message.data == b"poison"
    assert attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime").endswith("Z")
    assert attributes == {
        "origin": "robot",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": "sub",
        "CloudPubSubDeadLetterSourceSubscriptionProject": "p",
    }


def test_expired_deadlines_count_as_attempts(bench: Bench) -> None:
    sub = bench.subscribe(ack_deadline_seconds=10, **dead_letters())
    dead = bench.subscribe("dead", topic=DEAD)
    bench.publish("slow")
    for _ in range(5):
        assert bench.bodies(sub) == ["slow"]
        bench.advance(seconds=11)
    assert bench.bodies(sub) == []
    assert bench.bodies(dead) == ["slow"]


def test_the_last_attempt_is_not_buried_while_its_consumer_works(bench: Bench) -> None:
    sub = bench.subscribe(ack_deadline_seconds=10, **dead_letters())
    bench.subscribe("dead", topic=DEAD)
    bench.publish("slow")
    for _ in range(4):
        bench.take(sub)
        bench.advance(seconds=11)
    [last] = bench.take(sub)
    bench.advance(seconds=9)
    bench.broker.bury(sub, bench.broker.now_ms())
    bench.broker.acknowledge(sub, [last.ack_id])
    assert bench.count("deliveries") == 0


def test_without_its_dead_letter_topic_a_message_keeps_coming(bench: Bench) -> None:
    sub = bench.subscribe(**dead_letters())
    bench.store.delete_topic(DEAD)
    bench.publish("poison")
    for _ in range(7):
        [lease] = bench.take(sub)
        bench.broker.extend(sub, [lease.ack_id], 0)
    assert bench.count("deliveries") == 1


def test_messages_of_an_ordering_key_come_one_after_the_other(bench: Bench) -> None:
    sub = bench.subscribe(enable_message_ordering=True)
    bench.publish("a1", "a2", key="a")
    bench.publish("b1", key="b")
    bench.publish("free")
    leases = bench.take(sub)
    assert [lease.received.message.data for lease in leases] == [b"a1", b"b1", b"free"]
    bench.broker.extend(sub, [leases[0].ack_id], 0)
    [again] = bench.take(sub)
    assert again.received.message.data == b"a1"
    bench.broker.acknowledge(sub, [again.ack_id])
    assert bench.bodies(sub) == ["a2"]


def test_a_filter_drops_messages_for_its_own_subscription_only(bench: Bench) -> None:
    some = bench.subscribe("some", filter='attributes.kind = "train"')
    everything = bench.subscribe("all")
    bench.publish("a", kind="train")
    bench.publish("b", kind="eval")
    assert bench.bodies(some) == ["a"]
    assert bench.bodies(everything) == ["a", "b"]


def test_messages_are_dropped_after_the_retention(bench: Bench) -> None:
    sub = bench.subscribe()
    bench.publish("old")
    bench.advance(days=6.9)
    bench.publish("new")
    bench.advance(days=0.2)
    bench.broker.expire(sub, bench.broker.now_ms())
    assert bench.bodies(sub) == ["new"]
    assert bench.count("messages") == 1


def test_an_answer_is_bounded_in_bytes_but_never_empty(bench: Bench) -> None:
    sub = bench.subscribe()
    bench.publish("x" * 900, "y" * 900, "z")
    assert len(bench.broker.lease(sub, limit=10, max_bytes=100)) == 1
    assert len(bench.broker.lease(sub, limit=10, max_bytes=1000)) == 2


def test_a_failed_publish_leaves_nothing(bench: Bench) -> None:
    sub = bench.subscribe()
    with pytest.raises(PubSubError) as refusal:
        bench.broker.publish("projects/p/topics/absent", [new("PubsubMessage", data=b"a")])
    assert refusal.value.code.name == "NOT_FOUND"
    assert bench.bodies(sub) == []


@pytest.mark.parametrize("watched", ["jobs", TOPIC])
def test_only_watched_topics_raise_events(bench: Bench, watched: str) -> None:
    bench.publish("unwatched")
    assert bench.outbox.pending() == []
    notified: list[bool] = []
    bench.outbox.subscribe(lambda: notified.append(True))
    bench.watched.add(watched)
    [message_id] = bench.publish("watched", key="k", kind="train")
    [(_, event)] = bench.outbox.pending()
    assert notified == [True]
    assert event.type == "google.cloud.pubsub.topic.v1.messagePublished"
    assert event.source == f"//pubsub.googleapis.com/{TOPIC}"
    assert event.id == message_id
    payload = json.loads(event.data)
    assert payload["subscription"] == "projects/p/subscriptions/eventarc-jobs"
    assert payload["message"]["data"] == "d2F0Y2hlZA=="
    assert payload["message"]["attributes"] == {"kind": "train"}
    assert payload["message"]["orderingKey"] == "k"
    assert payload["message"]["publishTime"] == event.time


def test_a_dead_letter_on_a_watched_topic_raises_its_event(bench: Bench) -> None:
    bench.watched.add("jobs-dead")
    sub = bench.subscribe(**dead_letters())
    bench.publish("poison")
    for _ in range(5):
        [lease] = bench.take(sub)
        bench.broker.extend(sub, [lease.ack_id], 0)
    [(_, event)] = bench.outbox.pending()
    assert event.source.endswith("/jobs-dead")


def test_bytes_are_metered_as_billed_and_by_caller(bench: Bench) -> None:
    bench.broker.publish(TOPIC, [new("PubsubMessage", data=b"a")], caller="training_api")
    assert bench.meter.by_caller() == {(Operation.PUBSUB_BYTES, "training_api"): 1000}
