"""Works for the executors' tests, and waiting for what they become."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

from continuon_training.executors.base import Resources, Work, WorkState

if TYPE_CHECKING:
    from collections.abc import Callable

    from continuon_training.executors.base import Executor, WorkStatus

DEADLINE_S = 60
_numbers = itertools.count(1)


def python_work(script: str, **changes: Any) -> Work:
    """A work that runs a few lines of Python, under a name of its own."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "name": f"continuon-job-{number:04}-1",
        "job_id": f"job_{number:04}",
        "attempt": 1,
        "command": ("python", "-c", script),
        "resources": Resources(cpu=1, memory_mib=512),
        "timeout_s": DEADLINE_S,
    }
    return Work(**(values | changes))


async def until(executor: Executor, name: str, *states: WorkState) -> WorkStatus:
    """Poll until the work is in one of the states."""
    deadline = time.monotonic() + DEADLINE_S
    while (status := await executor.poll(name)).state not in states:
        assert time.monotonic() < deadline, f"still {status}"
        await asyncio.sleep(0.02)
    return status


async def over(executor: Executor, name: str) -> WorkStatus:
    """Poll until the work is over."""
    return await until(executor, name, WorkState.SUCCEEDED, WorkState.FAILED, WorkState.GONE)


async def eventually(what: Callable[[], object]) -> None:
    """Wait until ``what`` is true."""
    deadline = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < deadline, "it did not become true"
        await asyncio.sleep(0.02)


async def output(executor: Executor, name: str) -> str:
    """Everything that the finished work wrote."""
    text, offset, complete = "", 0, False
    while not complete:
        chunk = await executor.logs(name, offset)
        text, offset, complete = text + chunk.text, chunk.next_offset, chunk.complete
    return text
