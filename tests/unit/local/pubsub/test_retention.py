"""What is kept after it was acknowledged, for how long, and what a seek makes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.iam.v1 import iam_policy_pb2, policy_pb2

from continuon_local.pubsub.errors import PubSubError
from continuon_local.pubsub.iam import Policies
from continuon_local.pubsub.messages import new
from continuon_local.pubsub.seeking import Seeking
from unit.local.pubsub.test_broker import TOPIC, Bench

if TYPE_CHECKING:
    from collections.abc import Iterator

    from continuon_local.pubsub.store import StoredSubscription

HOUR_S = 3600


class Replay(Bench):
    """The bench with the methods that move subscriptions in time."""

    def __init__(self) -> None:
        super().__init__()
        self.policies = Policies(
            self.connection, {"topics": lambda name: self.store.topic(name) is not None}
        )
        self.seeking = Seeking(
            self.connection,
            self.store,
            self.broker,
            retention=self.broker._retention,
            policies=self.policies,
        )

    def retain(self, **by: float) -> None:
        topic = new("Topic", name=TOPIC)
        topic.message_retention_duration.FromTimedelta(timedelta(**by))
        self.store.put_topic(topic)

    def take_all(self, sub: StoredSubscription) -> list[str]:
        leases = self.take(sub)
        self.broker.acknowledge(sub, [lease.ack_id for lease in leases])
        return [lease.received.message.data.decode() for lease in leases]

    async def seek_back(self, sub: StoredSubscription, **by: float) -> None:
        request = new("SeekRequest", subscription=sub.config.name)
        # As exact as the times of messages.
        back_ms = int(timedelta(**by).total_seconds() * 1000)
        request.time.FromMilliseconds(self.broker.now_ms() - back_ms)
        await self.seeking.seek(request, "")

    async def seek_to(self, sub: StoredSubscription, snapshot: str) -> None:
        await self.seeking.seek(
            new("SeekRequest", subscription=sub.config.name, snapshot=snapshot), ""
        )

    async def snapshot(self, sub: StoredSubscription, name: str = "snap") -> Any:
        full = f"projects/p/snapshots/{name}"
        request = new("CreateSnapshotRequest", name=full, subscription=sub.config.name)
        return await self.seeking.create_snapshot(request, "")

    def sweep(self) -> None:
        self.broker.sweep_retained(self.broker.now_ms())


@pytest.fixture
def replay() -> Iterator[Replay]:
    made = Replay()
    yield made
    made.connection.close()


async def test_what_was_acknowledged_comes_back_only_where_it_was_retained(replay: Replay) -> None:
    plain = replay.subscribe("plain")
    keeping = replay.subscribe("keeping", retain_acked_messages=True)
    replay.publish("a", "b")
    assert replay.take_all(plain) == replay.take_all(keeping) == ["a", "b"]
    for sub in (plain, keeping):
        await replay.seek_back(sub, minutes=5)
    assert replay.take_all(plain) == []
    assert replay.take_all(keeping) == ["a", "b"]


async def test_a_time_divides_exactly(replay: Replay) -> None:
    sub = replay.subscribe(retain_acked_messages=True)
    replay.publish("before")
    replay.advance(seconds=1)
    replay.publish("at the time")
    replay.advance(seconds=1)
    replay.publish("after")
    await replay.seek_back(sub, seconds=1)
    assert replay.take_all(sub) == ["at the time", "after"]
    await replay.seek_back(sub, seconds=2)
    assert replay.take_all(sub) == ["before", "at the time", "after"]
    await replay.seek_back(sub, seconds=-60)
    assert replay.take_all(sub) == []


async def test_a_leased_message_comes_again_at_once_after_a_seek(replay: Replay) -> None:
    sub = replay.subscribe()
    replay.publish("a")
    (old,) = replay.take(sub)
    await replay.seek_back(sub, minutes=5)
    assert replay.bodies(sub) == ["a"]
    replay.broker.acknowledge(sub, [old.ack_id])
    assert replay.count("deliveries") == 1


async def test_a_snapshot_remembers_what_was_unacknowledged_and_all_that_follows(
    replay: Replay,
) -> None:
    sub, other = replay.subscribe("one"), replay.subscribe("two")
    replay.publish("acknowledged")
    assert replay.take_all(sub) == ["acknowledged"]
    replay.publish("waiting")
    await replay.snapshot(sub)
    replay.publish("later")
    assert replay.take_all(sub) == ["waiting", "later"]
    assert replay.take_all(other) == ["acknowledged", "waiting", "later"]
    for each in (sub, other):
        await replay.seek_to(each, "projects/p/snapshots/snap")
        assert sorted(replay.take_all(each)) == ["later", "waiting"]


async def test_a_snapshot_ends_a_week_after_its_oldest_message(replay: Replay) -> None:
    sub = replay.subscribe()
    replay.publish("a")
    replay.advance(days=2)
    made = await replay.snapshot(sub)
    left_s = made.expire_time.ToMilliseconds() / 1000 - replay.broker.now_ms() / 1000
    assert left_s == pytest.approx(5 * 24 * HOUR_S, abs=1)
    replay.take_all(sub)
    replay.sweep()
    assert replay.count("messages") == 1
    replay.advance(days=5, seconds=1)
    replay.sweep()
    assert replay.count("snapshots") == replay.count("messages") == replay.count("holds") == 0


async def test_a_snapshot_that_would_end_within_the_hour_is_refused(replay: Replay) -> None:
    sub = replay.subscribe()
    replay.publish("a")
    replay.advance(days=6, hours=23, minutes=30)
    with pytest.raises(PubSubError, match="within an hour"):
        await replay.snapshot(sub)


async def test_a_topic_keeps_messages_for_those_who_come_later(replay: Replay) -> None:
    replay.retain(hours=1)
    replay.publish("old")
    replay.advance(minutes=50)
    replay.publish("new")
    late = replay.subscribe("late", filter='attributes.kind = "x"')
    unfiltered = replay.subscribe("unfiltered")
    for sub in (late, unfiltered):
        await replay.seek_back(sub, hours=2)
    assert replay.take_all(late) == []
    assert replay.take_all(unfiltered) == ["old", "new"]
    replay.advance(minutes=20)
    replay.sweep()
    await replay.seek_back(unfiltered, hours=2)
    assert replay.take_all(unfiltered) == ["new"]
    replay.advance(hours=1)
    replay.sweep()
    assert replay.count("messages") == replay.count("holds") == 0


async def test_retained_messages_go_with_the_subscriptions_own_period(replay: Replay) -> None:
    period = {"seconds": HOUR_S}
    sub = replay.subscribe(retain_acked_messages=True, message_retention_duration=period)
    replay.publish("a")
    replay.take_all(sub)
    replay.advance(hours=1, seconds=1)
    replay.sweep()
    await replay.seek_back(sub, hours=2)
    assert replay.take_all(sub) == []
    assert replay.count("messages") == 0


async def test_a_detached_subscription_holds_and_receives_nothing(replay: Replay) -> None:
    sub = replay.subscribe(retain_acked_messages=True)
    replay.publish("acknowledged")
    replay.take_all(sub)
    replay.publish("waiting")
    request = new("DetachSubscriptionRequest", subscription=sub.config.name)
    await replay.seeking.detach_subscription(request, "")
    replay.publish("later")
    assert replay.count("messages") == replay.count("deliveries") == replay.count("holds") == 0
    with pytest.raises(PubSubError, match="detached"):
        await replay.seek_back(sub, hours=1)
    with pytest.raises(PubSubError, match="detached"):
        await replay.snapshot(sub)


async def test_a_policy_is_replaced_only_by_who_has_read_it(replay: Replay) -> None:
    unset = await replay.policies.get(iam_policy_pb2.GetIamPolicyRequest(resource=TOPIC), "")
    policy = policy_pb2.Policy(
        etag=unset.etag, bindings=[{"role": "roles/pubsub.viewer", "members": ["user:a@b.c"]}]
    )
    request = iam_policy_pb2.SetIamPolicyRequest(resource=TOPIC, policy=policy)
    stored = await replay.policies.set(request, "")
    assert stored.bindings == policy.bindings
    with pytest.raises(PubSubError, match="read it again"):
        await replay.policies.set(request, "")
    found = await replay.policies.get(iam_policy_pb2.GetIamPolicyRequest(resource=TOPIC), "")
    assert found == stored


@pytest.mark.parametrize(
    "policy",
    [
        policy_pb2.Policy(version=2),
        policy_pb2.Policy(bindings=[{"role": "viewer"}]),
        policy_pb2.Policy(bindings=[{"role": "roles/viewer", "condition": {"expression": "true"}}]),
    ],
)
async def test_a_malformed_policy_is_refused(replay: Replay, policy: Any) -> None:
    request = iam_policy_pb2.SetIamPolicyRequest(resource=TOPIC, policy=policy)
    with pytest.raises(PubSubError):
        await replay.policies.set(request, "")
    assert replay.count("policies") == 0


async def test_permissions_are_answered_by_name(replay: Replay) -> None:
    def ask(resource: str, *permissions: str) -> Any:
        return replay.policies.test(
            iam_policy_pb2.TestIamPermissionsRequest(resource=resource, permissions=permissions),
            "",
        )

    assert list((await ask(TOPIC, "pubsub.topics.get")).permissions) == ["pubsub.topics.get"]
    assert list((await ask(f"{TOPIC}-none", "pubsub.topics.get")).permissions) == []
    for wrong in ("pubsub.topics.*", "storage.objects.get"):
        with pytest.raises(PubSubError):
            await ask(TOPIC, wrong)
