"""An event loop in a thread of its own, for callers that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

__all__ = ["BackgroundLoop"]

_Result = TypeVar("_Result")


class BackgroundLoop:
    """Runs coroutines while the caller's thread computes."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon: a trainer that crashes ends its process, whatever is still being sent.
        self._thread = threading.Thread(target=self._serve, name="continuon-job", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run ``work`` and wait for its result; an interruption cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def start(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        """Run ``work`` in the background."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call_soon(self, function: Any, *arguments: Any) -> None:
        """Call ``function`` on the loop."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def close(self) -> None:
        """Stop the loop and wait for its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._thread.is_alive():
            self._loop.close()
