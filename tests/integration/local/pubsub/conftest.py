"""The local Pub/Sub service in its own process, and the unmodified clients pointed at it."""

from __future__ import annotations

import itertools
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient, types

from conftest import local_services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

PROJECT = "demo-continuon"
_PATIENCE_S = 15.0
_numbers = itertools.count()


@dataclass(frozen=True)
class Bench:
    """A publisher, a subscriber, and names that no other test uses."""

    publisher: Any
    subscriber: Any

    def topic(self, name: str = "topic") -> str:
        path: str = self.publisher.topic_path(PROJECT, f"{name}-{next(_numbers)}")
        self.publisher.create_topic(name=path)
        return path

    def subscription(self, topic: str, **fields: Any) -> str:
        path: str = self.subscriber.subscription_path(PROJECT, f"sub-{next(_numbers)}")
        self.subscriber.create_subscription(request={"name": path, "topic": topic, **fields})
        return path

    def publish(self, topic: str, *bodies: bytes, **attributes: str) -> list[str]:
        futures = [self.publisher.publish(topic, body, **attributes) for body in bodies]
        return [future.result(10) for future in futures]

    def pull(self, subscription: str, most: int = 100, *, wait: bool = True) -> list[Any]:
        request = {"subscription": subscription, "max_messages": most}
        with warnings.catch_warnings():
            # Deprecated, and the one way to ask what is there without waiting.
            warnings.filterwarnings("ignore", "The return_immediately flag", DeprecationWarning)
            request["return_immediately"] = not wait
            return list(self.subscriber.pull(request=request, timeout=15).received_messages)

    def give_back(self, subscription: str, received: list[Any], deadline_s: int = 0) -> None:
        self.subscriber.modify_ack_deadline(
            subscription=subscription,
            ack_ids=[each.ack_id for each in received],
            ack_deadline_seconds=deadline_s,
        )

    def acknowledge(self, subscription: str, received: list[Any]) -> None:
        self.subscriber.acknowledge(
            subscription=subscription, ack_ids=[each.ack_id for each in received]
        )


@contextmanager
def clients(port: int) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{port}")
        publisher = PublisherClient(
            publisher_options=types.PublisherOptions(enable_message_ordering=True)
        )
        subscriber = SubscriberClient()
    try:
        yield Bench(publisher, subscriber)
    finally:
        publisher.stop()
        publisher.transport.close()
        subscriber.close()


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with local_services("pubsub") as ports, clients(ports["pubsub"]) as made:
        yield made


@pytest.fixture(name="clients")
def _clients() -> Callable[[int], AbstractContextManager[Bench]]:
    return clients


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait until a condition holds, and fail when it does not in time."""

    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + _PATIENCE_S
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.01)

    return wait
