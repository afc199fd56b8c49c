"""What was acknowledged survives ``kill -9``, and what was not comes again."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions
from google.pubsub_v1 import PublisherClient as GeneratedPublisherClient
from google.pubsub_v1 import PubsubMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def killable_server(folder: Path) -> Iterator[tuple[int, Callable[[], None]]]:
    """Run the service in a child of this test; yield its port and what kills it at once."""
    command = [sys.executable, "-m", "continuon_local.serve", "pubsub", "--data-dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - own code

    def kill() -> None:
        process.kill()
        process.wait(10)

    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["ports"]["pubsub"], kill
    finally:
        kill()
        process.stdout.close()


def test_no_published_message_and_no_acknowledgement_is_lost_by_a_kill(
    clients: Any, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    # The publisher's own batching would blur which messages were answered.
    publish = functools.partial(GeneratedPublisherClient.publish, retry=None)
    published: list[bytes] = []
    acknowledged: list[bytes] = []
    with killable_server(tmp_path) as (port, kill), clients(port) as bench:
        topic = bench.topic("durable")
        name = bench.subscription(topic)

        def keep_publishing() -> None:
            for number in range(100_000):
                body = b"%d" % number
                try:
                    publish(bench.publisher, topic=topic, messages=[PubsubMessage(data=body)])
                except exceptions.GoogleAPICallError:
                    return
                published.append(body)

        writer = threading.Thread(target=keep_publishing)
        writer.start()
        eventually(lambda: len(published) > 50)
        received = bench.pull(name, 20)
        bench.acknowledge(name, received[:10])
        acknowledged += [each.message.data for each in received[:10]]
        held = [each.message.data for each in received[10:]]
        bench.give_back(name, received[10:], deadline_s=1)
        kill()
        writer.join()
    with killable_server(tmp_path) as (port, _kill), clients(port) as bench:
        expected = set(published) - set(acknowledged)
        found: set[bytes] = set()
        eventually(lambda: expected <= found.union(drain(bench, name, found)))
    assert set(held) <= found
    assert not found & set(acknowledged)


def test_the_count_of_attempts_survives_a_kill(clients: Any, tmp_path: Path) -> None:
    with killable_server(tmp_path) as (port, kill), clients(port) as bench:
        topic, dead = bench.topic(), bench.topic("dead")
        name = bench.subscription(topic, dead_letter_policy={"dead_letter_topic": dead})
        bench.publish(topic, b"a")
        for _ in range(3):
            bench.give_back(name, bench.pull(name))
        kill()
    with killable_server(tmp_path) as (port, _kill), clients(port) as bench:
        [received] = bench.pull(name)
        assert received.delivery_attempt == 4


def drain(bench: Any, name: str, found: set[bytes]) -> set[bytes]:
    received = bench.pull(name, 1000, wait=False)
    found.update(each.message.data for each in received)
    if received:
        bench.acknowledge(name, received)
    return found
