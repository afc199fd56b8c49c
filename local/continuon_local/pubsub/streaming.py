"""StreamingPull: a consumer stays connected and is sent what there is, as far as it has room."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from continuon_local.pubsub import limits
from continuon_local.pubsub.broker import check_attached
from continuon_local.pubsub.errors import invalid
from continuon_local.pubsub.messages import Message, new
from continuon_local.pubsub.validation import check_ack_deadline

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from continuon_local.pubsub.broker import Broker

__all__ = ["streaming_pull"]


async def streaming_pull(
    broker: Broker, requests: AsyncIterator[Message], *, caller: str = ""
) -> AsyncGenerator[Message]:
    """Yield responses until the client closes its side.

    Raises:
        PubSubError: A request is refused, or the subscription is gone.
    """
    first = await anext(requests, None)
    if first is None:
        raise invalid("A streaming pull begins with a request that names a subscription.")
    stream = _Stream(broker, first, caller)
    broker.on_release(stream.release)
    reader = asyncio.create_task(stream.read(requests))
    try:
        while not reader.done():
            if (response := stream.take()) is not None:
                yield response
            else:
                await stream.wait()
        reader.result()
    finally:
        broker.remove_release_listener(stream.release)
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await reader


class _Stream:
    """One open stream: what it was promised, and what it has not acknowledged yet.

    Flow control counts what this stream holds, however the client acknowledges it: the Python
    client does so by unary calls beside the stream.
    """

    def __init__(self, broker: Broker, first: Message, caller: str) -> None:
        self._broker = broker
        self._name = first.subscription
        self._caller = caller
        self._max_messages = first.max_outstanding_messages
        self._max_bytes = first.max_outstanding_bytes
        self._outstanding: dict[str, int] = {}
        self._outstanding_bytes = 0
        self._subscription_id = broker.subscription(self._name).id
        check_ack_deadline(first.stream_ack_deadline_seconds)
        self._deadline_s = first.stream_ack_deadline_seconds
        self._apply(first)

    async def read(self, requests: AsyncIterator[Message]) -> None:
        """Apply what the client sends until it closes its side."""
        try:
            async for request in requests:
                if request.subscription:
                    raise invalid("Only the first request of a stream names the subscription.")
                self._apply(request)
        finally:
            self._broker.wakeups.wake(self._subscription_id)

    def take(self) -> Message | None:
        """Return the next response, or None where there is nothing to send or no room."""
        stored = self._broker.subscription(self._name)
        check_attached(stored)
        room, room_bytes = self._room()
        if room <= 0 or room_bytes <= 0:
            self._forget_expired()
            return None
        leases = self._broker.lease(
            stored,
            limit=min(room, limits.MAX_STREAM_BATCH_MESSAGES),
            max_bytes=min(room_bytes, limits.MAX_BATCH_BYTES),
            deadline_s=self._deadline_s,
            caller=self._caller,
        )
        if not leases:
            return None
        for lease in leases:
            self._outstanding[lease.ack_id] = lease.size_bytes
            self._outstanding_bytes += lease.size_bytes
        response = new("StreamingPullResponse")
        response.received_messages.extend(lease.received for lease in leases)
        response.subscription_properties.message_ordering_enabled = (
            stored.config.enable_message_ordering
        )
        return response

    async def wait(self) -> None:
        """Wait until there may be something to send."""
        await self._broker.wait(self._broker.subscription(self._name), limits.MAX_IDLE_S)

    def release(self, ack_id: str) -> None:
        """Take back the room of a message that was acknowledged or given back."""
        room, room_bytes = self._room()
        was_full = room <= 0 or room_bytes <= 0
        if self._forget(ack_id) and was_full:
            self._broker.wakeups.wake(self._subscription_id)

    def _apply(self, request: Message) -> None:
        stored = self._broker.subscription(self._name)
        if request.stream_ack_deadline_seconds:
            check_ack_deadline(request.stream_ack_deadline_seconds)
            self._deadline_s = request.stream_ack_deadline_seconds
        if len(request.modify_deadline_ack_ids) != len(request.modify_deadline_seconds):
            raise invalid("modify_deadline_ack_ids and modify_deadline_seconds differ in length.")
        for deadline_s in request.modify_deadline_seconds:
            check_ack_deadline(deadline_s, least=0)
        if request.ack_ids:
            self._broker.acknowledge(stored, request.ack_ids)
        pairs = zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True)
        for ack_id, deadline_s in pairs:
            self._broker.extend(stored, [ack_id], deadline_s)

    def _room(self) -> tuple[int, int]:
        """Return the messages and bytes that may still be sent; 0 or less asked: no limit."""
        messages, size = limits.MAX_PULL_MESSAGES, limits.MAX_BATCH_BYTES
        if self._max_messages > 0:
            messages = self._max_messages - len(self._outstanding)
        if self._max_bytes > 0:
            size = self._max_bytes - self._outstanding_bytes
        return messages, size

    def _forget_expired(self) -> None:
        stored = self._broker.subscription(self._name)
        for ack_id in list(self._outstanding):
            if not self._broker.is_current(stored, ack_id):
                self._forget(ack_id)

    def _forget(self, ack_id: str) -> bool:
        size = self._outstanding.pop(ack_id, None)
        self._outstanding_bytes -= size or 0
        return size is not None
