"""Locks are given in turn, and waiting ends when it cannot help."""

from __future__ import annotations

import asyncio

from continuon_local.firestore.locks import LockOwner, LockTable


def owner(*, priority: bool = False) -> LockOwner:
    return LockOwner(active_at=asyncio.get_running_loop().time(), priority=priority)


async def test_waiters_are_served_in_the_order_of_arrival_retries_first() -> None:
    locks = LockTable(patience_s=60)
    holder = owner()
    await locks.acquire(holder, ["a"])
    served: list[str] = []

    async def wait(name: str, *, priority: bool) -> None:
        me = owner(priority=priority)
        await locks.acquire(me, ["a"])
        served.append(name)
        locks.release(me)

    tasks = [
        asyncio.create_task(wait(name, priority=name == "retry")) for name in ("1", "2", "retry")
    ]
    await asyncio.sleep(0)
    locks.release(holder)
    await asyncio.gather(*tasks)
    assert served == ["retry", "1", "2"]
    assert locks.is_free("a")


async def test_a_circle_of_waiters_is_never_closed() -> None:
    locks = LockTable(patience_s=60)
    one, other = owner(), owner()
    await locks.acquire(one, ["a"])
    await locks.acquire(other, ["b"])
    waiting = asyncio.create_task(locks.acquire(one, ["b"]))
    await asyncio.sleep(0)
    await asyncio.wait_for(locks.acquire(other, ["a"]), 1)  # goes on without the lock
    assert other.held == {"b"}
    locks.release(other)
    await asyncio.wait_for(waiting, 1)
    assert one.held == {"a", "b"}


async def test_a_silent_holder_is_passed_by() -> None:
    locks = LockTable(patience_s=0)
    holder, waiter = owner(), owner()
    await locks.acquire(holder, ["a"])
    await asyncio.wait_for(locks.acquire(waiter, ["a"]), 2)
    assert waiter.held == set()
    assert holder.held == {"a"}


async def test_a_waiter_that_is_cancelled_leaves_the_queue() -> None:
    locks = LockTable(patience_s=60)
    holder = owner()
    await locks.acquire(holder, ["a"])
    waiting = asyncio.create_task(locks.acquire(owner(), ["a"]))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    locks.release(holder)
    assert locks.is_free("a")
