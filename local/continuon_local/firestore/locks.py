"""Document locks of transactions: first come, first served.

A lock decides who goes first; it does not decide what is correct. Every commit validates what its
transaction read, so a lock that was not obtained costs at most a retry. That is why a wait may
end early: when it would close a circle of waiters, or when the holder shows no sign of life.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LockOwner", "LockTable"]

_POLL_S = 0.25
"""How often a waiter looks whether the holder is still alive."""


@dataclass(eq=False, slots=True)
class LockOwner:
    """Somebody who holds and awaits locks: a transaction, or one write outside of any.

    Attributes:
        active_at: When the owner last did something, in seconds of the event loop's clock.
        held: The names locked.
        awaiting: The name waited for.
        priority: A retried transaction goes to the head of the queue.
    """

    active_at: float = 0.0
    held: set[str] = field(default_factory=set)
    awaiting: str | None = None
    priority: bool = False


@dataclass(slots=True)
class _Lock:
    owner: LockOwner
    queue: deque[tuple[LockOwner, asyncio.Future[None]]] = field(default_factory=deque)


class LockTable:
    """Who holds which document.

    Args:
        patience_s: How long a holder may be silent before waiters pass it by.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._locks: dict[str, _Lock] = {}

    def is_free(self, name: str) -> bool:
        """Tell whether nobody holds ``name``."""
        return name not in self._locks

    async def acquire(self, owner: LockOwner, names: Iterable[str]) -> None:
        """Lock ``names`` in turn, waiting for each as long as that can help."""
        for name in names:
            await self._acquire(owner, name)

    async def _acquire(self, owner: LockOwner, name: str) -> None:
        lock = self._locks.get(name)
        if lock is None:
            self._locks[name] = _Lock(owner)
            owner.held.add(name)
        elif lock.owner is not owner and not self._would_deadlock(owner, name):
            await self._wait(owner, name, lock)

    def _would_deadlock(self, owner: LockOwner, name: str | None) -> bool:
        seen: set[str] = set()
        while name is not None and name in self._locks and name not in seen:
            seen.add(name)
            holder = self._locks[name].owner
            if holder is owner:
                return True
            name = holder.awaiting
        return False

    async def _wait(self, owner: LockOwner, name: str, lock: _Lock) -> None:
        loop = asyncio.get_running_loop()
        granted: asyncio.Future[None] = loop.create_future()
        entry = (owner, granted)
        if owner.priority:
            lock.queue.appendleft(entry)
        else:
            lock.queue.append(entry)
        owner.awaiting = name
        try:
            while not granted.done():
                await asyncio.wait([granted], timeout=_POLL_S)
                if not granted.done() and self._is_silent(lock.owner, loop.time()):
                    return
        finally:
            owner.awaiting = None
            owner.active_at = loop.time()
            if entry in lock.queue:
                lock.queue.remove(entry)

    def _is_silent(self, holder: LockOwner, now: float) -> bool:
        return holder.awaiting is None and now - holder.active_at > self._patience_s

    def release(self, owner: LockOwner) -> None:
        """Give up everything that ``owner`` holds; the next in each queue takes over."""
        for name in owner.held:
            lock = self._locks[name]
            if lock.queue:
                lock.owner, granted = lock.queue.popleft()
                lock.owner.held.add(name)
                # Said here and not when its task runs, so that nobody follows it in a circle.
                lock.owner.awaiting = None
                # Its request is under way although it has been silent while it waited.
                lock.owner.active_at = granted.get_loop().time()
                granted.set_result(None)
            else:
                del self._locks[name]
        owner.held.clear()
