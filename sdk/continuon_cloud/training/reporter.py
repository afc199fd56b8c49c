"""What goes to the cloud while the training runs: heartbeats, metrics and the log.

All of it is sent from one place, in the background, a batch at a time. The trainer only leaves
what it has to say and goes on.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from continuon import limits
from continuon.contracts.training import (
    CallbackRequest,
    CallbackResponse,
    CallbackState,
    HeartbeatRequest,
    HeartbeatResponse,
    LogRequest,
    MetricRow,
    MetricsRequest,
)
from continuon_cloud.errors import ApiProblem
from continuon_cloud.training.api import LOST
from continuon_cloud.training.errors import CloudLostError, StoppedError

if TYPE_CHECKING:
    from continuon_cloud.training.api import JobApi

__all__ = ["Reporter", "flush_interval_s"]

FIRST_FLUSH_S: Final = 2.0
LONGEST_FLUSH_S: Final = 10.0
"""How old a row or a line gets before it is sent. In the beginning somebody watches. Later each
request costs two writes, one of them to the job's document, which takes about one a second."""

_FLUSH_SHARE: Final = 15.0
"""Of the time since the start: ten seconds are reached after two and a half minutes."""

MAX_HELD_ROWS: Final = 10_000
"""Rows kept while the cloud is out of reach; the oldest go first."""

MAX_HELD_LOG_BYTES: Final = 1024**2
"""Of log kept while the cloud is out of reach; the oldest goes first, and a line says so."""

_LOGS_PER_CALLBACK: Final = 1000
_MAX_LOG_SEQUENCE: Final = 90_000_000
"""A trainer that is restarted within its attempt numbers its log beyond what was stored: between
two callbacks there are far fewer chunks than this."""

_FINAL: Final = frozenset({CallbackState.COMPLETED, CallbackState.FAILED})
_CUT: Final = "[... the cloud was out of reach; part of the log was left out ...]\n"


class Reporter:
    """Sends what it is given, in order, until it is closed.

    `leave_*` may be called from any thread; the coroutines belong to one event loop.

    Args:
        api: Of the job.
        attempt: The present one.
        sequence: Of the last callback that was applied before.
        heartbeat_s: How often to say that the trainer lives.
    """

    def __init__(self, api: JobApi, *, attempt: int, sequence: int, heartbeat_s: float) -> None:
        self._api = api
        self._attempt = attempt
        self._sequence = sequence
        self._heartbeat_s = heartbeat_s
        self._lock = threading.Lock()
        self._rows: deque[MetricRow] = deque(maxlen=MAX_HELD_ROWS)
        self._log: deque[str] = deque()
        self._log_bytes = 0
        self._log_sequence = min(sequence * _LOGS_PER_CALLBACK, _MAX_LOG_SEQUENCE)
        self._heard_at = time.monotonic()
        self._in_order = asyncio.Lock()
        self._flushing = asyncio.Lock()

    # --- From the trainer's thread ---------------------------------------------------------------

    def leave_row(self, row: MetricRow) -> None:
        """Take a row of metrics."""
        with self._lock:
            self._rows.append(row)

    def leave_text(self, text: str) -> None:
        """Take some log."""
        with self._lock:
            self._log.append(text)
            self._log_bytes += len(text)
            cut = False
            while self._log_bytes > MAX_HELD_LOG_BYTES and len(self._log) > 1:
                self._log_bytes -= len(self._log.popleft())
                cut = True
            if cut:
                self._log.appendleft(_CUT)
                self._log_bytes += len(_CUT)

    # --- On the loop -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Flush and beat until cancelled; what ends the job ends everything that waits."""
        await asyncio.gather(self._beat(), self._flush_now_and_then())

    async def callback(self, **fields: Any) -> CallbackResponse:
        """Report something that counts, in order, and obey the answer.

        Raises:
            StoppedError: The answer says so, or says that this attempt is no longer the one.
        """
        async with self._in_order:
            self._sequence += 1
            request = CallbackRequest(attempt=self._attempt, sequence=self._sequence, **fields)
            answer = await self._api.callback(request)
        self._heard_at = time.monotonic()
        if request.state not in _FINAL:
            self._obey(answer)
        return answer

    async def flush(self) -> None:
        """Send all that was left so far."""
        async with self._flushing:
            await self._send_rows()
            await self._send_log()

    async def _flush_now_and_then(self) -> None:
        started = time.monotonic()
        while True:
            await asyncio.sleep(flush_interval_s(time.monotonic() - started))
            await self._guarded(self.flush)

    async def _beat(self) -> None:
        while True:
            due_s = self._heard_at + self._heartbeat_s - time.monotonic()
            if due_s > 0:
                # A little early, so that the beats of a fleet that started together spread.
                await asyncio.sleep(due_s * random.uniform(0.8, 1.0))  # noqa: S311 - jitter
                if self._heard_at + self._heartbeat_s * 0.7 > time.monotonic():
                    continue
            await self._guarded(self._heartbeat)
            self._heard_at = time.monotonic()

    async def _heartbeat(self) -> None:
        self._obey(await self._api.heartbeat(HeartbeatRequest(attempt=self._attempt)))

    async def _guarded(self, work: Any) -> None:
        """Do background work; an end is passed on to whoever waits in the foreground."""
        try:
            await work()
        except StoppedError as error:
            self._api.patience.stop(error.reason)
        except CloudLostError:
            self._api.patience.stop(LOST)
        except ApiProblem:
            # The cloud refuses a row or a line for good: not worth a training.
            return

    def _obey(self, answer: CallbackResponse | HeartbeatResponse) -> None:
        if answer.stop or answer.status.is_final:
            reason = answer.stop_reason.value if answer.stop_reason else answer.status.value
            raise StoppedError(reason)

    async def _send_rows(self) -> None:
        while True:
            with self._lock:
                count = min(len(self._rows), limits.MAX_METRIC_ROWS_PER_REQUEST)
                rows = [self._rows.popleft() for _ in range(count)]
            if not rows:
                return
            await self._api.metrics(MetricsRequest(rows=rows))

    async def _send_log(self) -> None:
        while text := self._take_log():
            self._log_sequence += 1
            await self._api.logs(LogRequest(sequence=self._log_sequence, text=text))

    def _take_log(self) -> str:
        with self._lock:
            text = "".join(self._log)
            head = text.encode("utf-8", "replace")[: limits.MAX_LOG_CHUNK_BYTES]
            chunk = head.decode("utf-8", "ignore")
            rest = text[len(chunk) :]
            self._log.clear()
            if rest:
                self._log.append(rest)
            self._log_bytes = len(rest)
            return chunk


def flush_interval_s(elapsed_s: float) -> float:
    """Return how long to gather before the next request, so long after the start."""
    return min(LONGEST_FLUSH_S, max(FIRST_FLUSH_S, elapsed_s / _FLUSH_SHARE))
