"""Snapshots and seeking: what comes again, and what is refused."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from conformance.model import Area, PubSubGround
from conformance.pubsub_messages import ack, datas, publish, pull, ready

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AREAS"]

replay = Area("pubsub", "replay")

_QUIET_S = 1


def _snapshot(ground: PubSubGround, name: str = "snap", **options: Any) -> Any:
    full = f"{ground.project}/snapshots/{name}"
    request = {"name": full, "subscription": ground.subscription(), **options}
    return ground.subscriber.create_snapshot(request=request)


def _seek(ground: PubSubGround, **target: Any) -> Any:
    request = {"subscription": ground.subscription(), **target}
    return ground.subscriber.seek(request=request)


def _made(ground: PubSubGround) -> PubSubGround:
    """Make a topic and a subscription first."""
    ready(ground)
    return ground


def _past() -> dict[str, int]:
    return {"seconds": int(time.time()) - 300}


def _all(ground: PubSubGround, count: int) -> Any:
    """Take and acknowledge; return what came."""
    found = pull(ground, count) if count else pull(ground, 1, wait=_QUIET_S)
    if found:
        ack(ground, found)
    return datas(found)


@replay.case
def snapshot_as_made(ground: PubSubGround) -> Any:
    ready(ground)
    made = _snapshot(ground)
    left_s = made.expire_time.timestamp() - time.time()
    return [made.name, made.topic, round(left_s / 3600)]


@replay.case
def snapshot_listed_and_deleted(ground: PubSubGround) -> Any:
    ready(ground)
    made = _snapshot(ground)
    _snapshot(ground, "other")
    project = ground.project
    before = [each.name for each in ground.subscriber.list_snapshots(project=project)]
    of_topic = list(ground.publisher.list_topic_snapshots(request={"topic": ground.topic()}))
    ground.subscriber.delete_snapshot(snapshot=made.name)
    after = [each.name for each in ground.subscriber.list_snapshots(project=project)]
    return [sorted(before), sorted(of_topic), after]


@replay.case
def snapshot_of_a_deleted_topic(ground: PubSubGround) -> Any:
    ready(ground)
    made = _snapshot(ground)
    ground.publisher.delete_topic(topic=ground.topic())
    return ground.subscriber.get_snapshot(snapshot=made.name).topic


@replay.case
def snapshot_outlives_its_subscription(ground: PubSubGround) -> Any:
    ready(ground)
    publish(ground, b"one")
    made = _snapshot(ground)
    ground.subscriber.delete_subscription(subscription=ground.subscription())
    ground.subscriber.create_subscription(name=ground.subscription(), topic=ground.topic())
    _seek(ground, snapshot=made.name)
    return _all(ground, 1)


@replay.case
def snapshot_keeps_what_waits_and_what_comes(ground: PubSubGround) -> Any:
    ready(ground)
    publish(ground, b"acknowledged")
    answers = [_all(ground, 1)]
    publish(ground, b"waiting")
    made = _snapshot(ground)
    publish(ground, b"later")
    answers.append(_all(ground, 2))
    _seek(ground, snapshot=made.name)
    answers.append(_all(ground, 2))
    return [*answers, _all(ground, 0)]


@replay.case
def snapshot_for_another_subscription(ground: PubSubGround) -> Any:
    ready(ground)
    other = ground.subscription("sub-b")
    ground.subscriber.create_subscription(name=other, topic=ground.topic())
    publish(ground, b"one")
    made = _snapshot(ground)
    _all(ground, 1)
    ground.subscriber.seek(request={"subscription": other, "snapshot": made.name})
    answer = ground.subscriber.pull(subscription=other, max_messages=5, timeout=10)
    return datas(answer.received_messages)


@replay.case
def seek_without_retention_brings_back_nothing(ground: PubSubGround) -> Any:
    ready(ground)
    publish(ground, b"one")
    _all(ground, 1)
    _seek(ground, time=_past())
    return _all(ground, 0)


@replay.case
def seek_brings_a_leased_message_back(ground: PubSubGround) -> Any:
    ready(ground)
    publish(ground, b"one")
    pull(ground, 1)
    _seek(ground, time=_past())
    return _all(ground, 1)


@replay.case
def seek_to_the_time_of_a_message(ground: PubSubGround) -> Any:
    ready(ground, retain_acked_messages=True)
    publish(ground, b"one")
    time.sleep(0.05)
    publish(ground, b"two")
    found = pull(ground, 2)
    ack(ground, found)
    times = {each.message.data: each.message.publish_time for each in found}
    _seek(ground, time=times[b"two"])
    return _all(ground, 1)


@replay.case
def seek_again_and_again(ground: PubSubGround) -> Any:
    ready(ground, retain_acked_messages=True)
    publish(ground, b"one", b"two")
    answers = []
    for _ in range(3):
        answers.append(_all(ground, 2))
        _seek(ground, time=_past())
    _seek(ground, time={"seconds": int(time.time()) + 60})
    return [*answers, _all(ground, 0)]


@replay.case
def topic_keeps_for_a_later_subscription(ground: PubSubGround) -> Any:
    ground.publisher.create_topic(
        request={"name": ground.topic(), "message_retention_duration": {"seconds": 3600}}
    )
    publish(ground, b"early")
    ground.subscriber.create_subscription(name=ground.subscription(), topic=ground.topic())
    answers = [_all(ground, 0)]
    _seek(ground, time=_past())
    return [*answers, _all(ground, 1)]


def _foreign_snapshot(ground: PubSubGround) -> Any:
    ready(ground)
    made = _snapshot(ground)
    other = ground.subscription("sub-b")
    ground.publisher.create_topic(name=ground.topic("topic-b"))
    ground.subscriber.create_subscription(name=other, topic=ground.topic("topic-b"))
    ground.subscriber.seek(request={"subscription": other, "snapshot": made.name})


def _snapshot_twice(ground: PubSubGround) -> None:
    ready(ground)
    _snapshot(ground)
    _snapshot(ground)


_REFUSED: dict[str, Callable[[PubSubGround], Any]] = {
    "snapshot_twice": _snapshot_twice,
    "seek_to_the_snapshot_of_another_topic": _foreign_snapshot,
    "seek_to_nothing": lambda g: _seek(_made(g)),
    "seek_to_a_missing_snapshot": lambda g: _seek(_made(g), snapshot=f"{g.project}/snapshots/none"),
    "snapshot_without_a_name": lambda g: _made(g).subscriber.create_snapshot(
        name="", subscription=g.subscription()
    ),
    "snapshot_with_the_name_of_a_topic": lambda g: _made(g).subscriber.create_snapshot(
        name=g.topic(), subscription=g.subscription()
    ),
    "get_missing_snapshot": lambda g: g.subscriber.get_snapshot(
        snapshot=f"{g.project}/snapshots/none"
    ),
    "delete_missing_snapshot": lambda g: g.subscriber.delete_snapshot(
        snapshot=f"{g.project}/snapshots/none"
    ),
    "snapshots_of_a_missing_topic": lambda g: list(
        g.publisher.list_topic_snapshots(request={"topic": g.topic()})
    ),
    "update_snapshot": lambda g: g.subscriber.update_snapshot(
        snapshot={"name": _snapshot(_made(g)).name, "labels": {"k": "v"}},
        update_mask={"paths": ["labels"]},
    ),
}


def _answered(ground: PubSubGround, *, call: str) -> str:
    _REFUSED[call](ground)
    return "accepted"


for _call in _REFUSED:
    replay.add(_call, partial(_answered, call=_call))

AREAS = [replay]
