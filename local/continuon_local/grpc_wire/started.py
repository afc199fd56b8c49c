"""Coroutines driven to their first pause at once: most have none, and then need no task.

Python 3.12 calls the same thing an eager task.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

__all__ = ["start"]


class _Paused:
    """A coroutine that has been driven to a pause, to be awaited from there on."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._coroutine = coroutine
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, None]:
        awaited = self._awaited
        try:
            while True:
                try:
                    value = yield awaited
                except BaseException as error:  # noqa: BLE001 - it is the coroutine's to handle
                    awaited = self._coroutine.throw(error)
                else:
                    awaited = self._coroutine.send(value)
        except StopIteration:
            return


async def _finished(paused: _Paused) -> None:
    await paused


def start(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """Run ``coroutine`` to its first pause; return the task that runs the rest, None when done.

    Until that pause there is no current task: what it does first must not ask for one, as
    ``asyncio.timeout`` does.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        return None
    return asyncio.get_running_loop().create_task(_finished(_Paused(coroutine, awaited)))
