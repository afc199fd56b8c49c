"""A link to the cloud that can break: TCP passed on, cut, and passed on again."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Link", "breakable_link"]

_PIECE_BYTES = 64 * 1024


class Link:
    """Passes connections on to ``target`` while it is whole.

    Attributes:
        url: Where it listens.
        passed: Connections passed on so far.
        refused: Connections broken at once, because the link was cut.
        budgets: Bytes towards the target after which the next connections break, one each.
        broken: Connections that reached their budget.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._whole = True
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self.passed = self.refused = self.broken = 0
        self.budgets: list[int] = []
        self.url = ""
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        self._whole = False
        self._loop.call_soon_threadsafe(self._abort)

    def mend(self) -> None:
        """Pass connections on again."""
        self._whole = True

    def close(self) -> None:
        """End for good."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _abort(self) -> None:
        for one in self._open:
            one.transport.abort()

    def _run(self, ready: threading.Event) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._pass_on, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(_ended(asyncio.all_tasks(self._loop)))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            self.refused += 1
            writer.transport.abort()
            return
        self.passed += 1
        budget = self.budgets.pop(0) if self.budgets else None
        there, back = await asyncio.open_connection(*self._target)
        self._open |= {writer, back}
        try:
            await asyncio.gather(_pump(reader, back, budget), _pump(there, writer))
        except _SpentError:
            self.broken += 1
        finally:
            self._open -= {writer, back}
            for one in (writer, back):
                one.transport.abort()


async def _ended(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _SpentError(Exception):
    """A connection has carried as much as it was to carry."""


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: int | None = None
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_PIECE_BYTES):
            if budget is not None and (budget := budget - len(data)) < 0:
                raise _SpentError
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


@contextlib.contextmanager
def breakable_link(target: str) -> Iterator[Link]:
    """Listen on a free port for as long as the block runs."""
    link = Link(target)
    try:
        yield link
    finally:
        link.close()
