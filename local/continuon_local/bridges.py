"""What services tell each other directly when they run in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["connect"]


def connect(services: Mapping[str, Any]) -> None:
    """Connect the started ``services``, by name, as far as they are there.

    Cloud Storage publishes the notifications of its buckets to the local Pub/Sub, and its rules
    read the documents of the local Firestore.
    """
    storage, pubsub = services.get("storage"), services.get("pubsub")
    firestore = services.get("firestore")
    if storage is not None and firestore is not None:
        storage.connect_firestore(firestore)
    if storage is not None and pubsub is not None:
        storage.connect_pubsub(pubsub)
