"""Waking the consumers of a subscription, fairly."""

from __future__ import annotations

import asyncio
from collections import defaultdict

__all__ = ["Wakeups"]


class Wakeups:
    """Who waits for which subscription.

    A consumer that waits again queues behind those who already wait, so messages that arrive one
    by one go round all of them.
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[int, list[asyncio.Event]] = defaultdict(list)

    def wake(self, subscription_id: int) -> None:
        """Wake everyone who waits for the subscription, longest waiting first."""
        for event in self._waiting.get(subscription_id, ()):
            event.set()

    async def wait(self, subscription_id: int, timeout_s: float) -> None:
        """Wait for :meth:`wake`, at most ``timeout_s``."""
        event = asyncio.Event()
        waiting = self._waiting[subscription_id]
        waiting.append(event)
        try:
            async with asyncio.timeout(max(timeout_s, 0.001)):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            waiting.remove(event)
            if not waiting:
                self._waiting.pop(subscription_id, None)
