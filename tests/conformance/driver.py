"""Put every case to one target and collect the answers."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore, pubsub_v1

from conformance.areas import AREAS
from conformance.model import Area, FirestoreGround, PubSubGround

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.targets import Addresses

__all__ = ["Answers", "collect"]

_credentials: Any = AnonymousCredentials
PROJECT = "demo-conformance"

Answers = dict[str, dict[str, Any]]
"""By area, by case: the answer as JSON."""


def collect(
    addresses: Addresses, *, areas: list[str] | None = None, recorded_only: bool = False
) -> Answers:
    """Return the answers of the services at ``addresses``; all areas unless some are named."""
    found: Answers = {}
    for area in AREAS:
        if (areas and area.name not in areas) or (recorded_only and not area.recorded):
            continue
        if area.service == "firestore":
            found[area.name] = _firestore(area, addresses.firestore)
        else:
            found[area.name] = _pubsub(area, addresses.pubsub)
    return found


def _firestore(area: Area, address: str) -> dict[str, Any]:
    with _environment("FIRESTORE_EMULATOR_HOST", address):
        client: Any = firestore.Client(
            project=PROJECT, database=area.name, credentials=_credentials()
        )
    if area.seed is not None:
        area.seed(FirestoreGround(client, "seed", address))
    answers = {
        name: area.answer(name, FirestoreGround(client, name, address)) for name in area.cases
    }
    client.close()
    return answers


def _pubsub(area: Area, address: str) -> dict[str, Any]:
    answers = {}
    with _environment("PUBSUB_EMULATOR_HOST", address):
        publisher = pubsub_v1.PublisherClient(
            publisher_options=pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
        )
        subscriber = pubsub_v1.SubscriberClient()
    for name in area.cases:
        project = name.replace("_", "-").lower()
        answers[name] = area.answer(name, PubSubGround(publisher, subscriber, project))
    subscriber.close()
    publisher.transport.close()
    return answers


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable that a client reads when it is constructed."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
