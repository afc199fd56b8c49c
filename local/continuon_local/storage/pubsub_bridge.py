"""From the queue of notifications to the local Pub/Sub, at least once and in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Protocol

from continuon_local.storage.errors import StorageError, not_implemented

if TYPE_CHECKING:
    from collections.abc import Mapping

    from continuon_local.storage.notices import Notices

__all__ = ["PubSubBridge", "Topics"]

_LOG = logging.getLogger(__name__)

# How long a message waits after Pub/Sub refused it.
_RETRY_SECONDS = 1.0


class Topics(Protocol):
    """What the local Pub/Sub does for notifications."""

    def has_topic(self, topic: str) -> bool:
        """Say whether a topic exists; ``topic`` is its full name."""
        ...

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> None:
        """Publish one message durably.

        Raises:
            LookupError: The topic does not exist.
        """
        ...


class PubSubBridge:
    """Publishes what :class:`Notices` has queued; idle until Pub/Sub is connected."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._topics: Topics | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def check_topic(self, topic: str) -> None:
        """Refuse a notification that nobody could ever receive.

        Raises:
            StorageError: The topic does not exist (404), or no Pub/Sub runs beside (501).
        """
        if self._topics is None:
            raise not_implemented("notificationConfigs.insert without the local Pub/Sub")
        if not self._topics.has_topic(topic):
            message = f"Cloud Pub/Sub topic '{topic}' not found."
            raise StorageError(404, "notFound", "NotFound", message)

    def connect(self, topics: Topics) -> None:
        """Begin to publish to ``topics``."""
        self._topics = topics
        self._wake.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def notify(self) -> None:
        """Say that messages may have been queued."""
        self._wake.set()

    async def stop(self) -> None:
        """End the task; what is queued stays for the next start."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._drain():
                self._wake.set()
                await asyncio.sleep(0)  # other tasks get their turn between batches
            elif self._notices.waiting(1):
                self._wake.set()
                await asyncio.sleep(_RETRY_SECONDS)

    def _drain(self) -> bool:
        """Publish a batch; say whether there may be more to do at once."""
        batch = self._notices.waiting()
        for message in batch:
            try:
                self._publish(message.topic, message.data, message.attributes)
            except Exception:  # noqa: BLE001 - whatever went wrong, the message is kept
                _LOG.exception("a notification to %s was not published", message.topic)
                return False
            self._notices.done(message.position)
        return bool(batch)

    def _publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> None:
        if self._topics is None:
            return
        try:
            self._topics.publish(topic, data, attributes)
        except LookupError:
            # The service drops notifications to a deleted topic as well.
            _LOG.warning("a notification was dropped: %s does not exist", topic)
