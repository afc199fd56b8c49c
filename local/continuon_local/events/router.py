"""The event router: from outboxes to stored deliveries to functions, at least once.

An event leaves its outbox only after every delivery it causes is stored; a delivery ends only with
a 2xx answer or when its trigger does not ask for more. A crash at any point repeats work and loses
nothing. Order is not kept, as in production.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING

from continuon_local.events.cloudevents import binary_headers, with_auth_context
from continuon_local.events.deliveries import DeliveryKind, DeliveryStore
from continuon_local.events.scheduler import Scheduler, scheduler_headers
from continuon_local.events.triggers import matches, wants_auth_context
from continuon_local.faults import FaultInjector

if TYPE_CHECKING:
    from continuon_local.events.deliveries import Delivery
    from continuon_local.events.manifest import FunctionSpec
    from continuon_local.events.outbox import Outbox, OutboxEvent
    from continuon_local.events.retry import RetryPolicy
    from continuon_local.faults import Faults
    from continuon_local.functions.host import FunctionsHost, Reply
    from continuon_local.service import ServiceContext

__all__ = ["EventRouter"]

CONCURRENT_DELIVERIES = 8
"""Deliveries to one function at a time. Production scales out to many instances; one process on a
laptop should not be handed everything at once."""

MAX_SLEEP_S = 60.0
"""The router looks again at least this often, in seconds."""

_log = logging.getLogger(__name__)


class EventRouter:
    """Takes events from outboxes and delivers them to the functions whose triggers match.

    Args:
        functions: Whose triggers are served.
        retry: When a failed delivery is repeated.
        faults: What goes wrong on purpose.
    """

    def __init__(
        self,
        context: ServiceContext,
        functions: FunctionsHost,
        *,
        retry: RetryPolicy,
        faults: FaultInjector | None = None,
    ) -> None:
        self._context = context
        self._functions = functions
        self._retry = retry
        self.faults = faults or FaultInjector()
        self._scheduler = Scheduler(functions.functions)
        self._outboxes: list[Outbox] = []
        self._store: DeliveryStore | None = None
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._busy: Counter[tuple[str, str]] = Counter()
        self._jitter = random.Random(self.faults.plan.seed)  # noqa: S311 - spreads load, guards nothing

    @property
    def store(self) -> DeliveryStore:
        """The deliveries; open between start and stop."""
        if self._store is None:
            raise RuntimeError("the event router is not running")
        return self._store

    def attach(self, outbox: Outbox) -> None:
        """Take the events of ``outbox`` from now on."""
        self._outboxes.append(outbox)
        outbox.subscribe(self.wake)

    async def start(self) -> None:
        """Open the deliveries, take up what an earlier process left, begin to route."""
        self._loop = asyncio.get_running_loop()
        data_dir = self._context.data_dir
        self._store = DeliveryStore(None if data_dir is None else data_dir / "events.db")
        self._store.requeue_interrupted(latest_s=self._now_s() + self._retry.cap_s)
        self._scheduler.begin(self._context.clock.now())
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop routing; deliveries under way are repeated at the next start. Safe to call twice."""
        tasks = [*self._under_way, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._task = None
        if self._store is not None:
            self._store.close()
            self._store = None

    def wake(self) -> None:
        """Look for work now: an event was committed, or the clock moved. Any thread may call."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    def submit(self, event: OutboxEvent) -> None:
        """Store ``event`` for every function whose trigger matches, to be delivered."""
        plain: list[tuple[str, str]] = []
        with_auth: list[tuple[str, str]] = []
        for spec in self._functions.functions:
            if matches(spec, event):
                chosen = with_auth if wants_auth_context(spec, event) else plain
                chosen.append((spec.id, spec.region))
        if plain:
            self.store.add(event, plain, kind=DeliveryKind.EVENT, now_s=self._now_s())
        if with_auth:
            enriched = with_auth_context(event)
            self.store.add(enriched, with_auth, kind=DeliveryKind.EVENT, now_s=self._now_s())
        if plain or with_auth:
            self.wake()

    async def call(self, spec: FunctionSpec, event: OutboxEvent) -> Reply:
        """Deliver ``event`` to one function now and return its answer."""
        return await self._functions.post(spec, binary_headers(event), event.data)

    def _now_s(self) -> float:
        return self._context.clock.now().timestamp()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                self._take_events()
                self._take_schedules()
                self._dispatch()
            except sqlite3.Error:
                # A full disk or a locked file must not end routing for good.
                _log.exception("event routing failed; it is tried again")
                await asyncio.sleep(1)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._sleep_s())

    def _sleep_s(self) -> float:
        # A function without a free slot is looked at again when a slot becomes free.
        due = [
            self.store.next_due_s(spec.id, spec.region)
            for spec in self._functions.functions
            if self._busy[spec.id, spec.region] < CONCURRENT_DELIVERIES
        ]
        times = [time for time in (*due, self._scheduler.next_s()) if time is not None]
        now_s = self._now_s()
        return min([MAX_SLEEP_S, *(max(time - now_s, 0.001) for time in times)])

    def _take_events(self) -> None:
        for outbox in self._outboxes:
            while batch := outbox.pending():
                for _, event in batch:
                    self.submit(event)
                outbox.remove([position for position, _ in batch])

    def _take_schedules(self) -> None:
        for spec, event in self._scheduler.due(self._context.clock.now()):
            self.store.add(
                event, [(spec.id, spec.region)], kind=DeliveryKind.SCHEDULE, now_s=self._now_s()
            )

    def _dispatch(self) -> None:
        for spec in self._functions.functions:
            key = (spec.id, spec.region)
            free = CONCURRENT_DELIVERIES - self._busy[key]
            for delivery in self.store.take_due(*key, now_s=self._now_s(), limit=free):
                self._busy[key] += 1
                task = asyncio.create_task(self._deliver(spec, delivery))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)

    async def _deliver(self, spec: FunctionSpec, delivery: Delivery) -> None:
        try:
            reply = await self._attempt(spec, delivery)
            self._settle(spec, delivery, reply)
        except sqlite3.Error:
            # It stays under way in the file, so the next start delivers it again.
            _log.exception("%s: the outcome of a delivery could not be stored", spec.id)
        finally:
            self._busy[spec.id, spec.region] -= 1
            self.wake()

    async def _attempt(self, spec: FunctionSpec, delivery: Delivery) -> Reply | None:
        """Return the function's answer, or None when the fault plan lost the delivery."""
        faults = self.faults.decide(spec.id)
        await asyncio.sleep(faults.delay_ms / 1000)
        if faults.drop:
            return None
        killing = asyncio.create_task(self._kill(spec, faults))
        try:
            replies = await asyncio.gather(
                *(self._post(spec, delivery) for _ in range(faults.copies))
            )
        finally:
            killing.cancel()
        return next((reply for reply in replies if reply.acknowledged), replies[0])

    async def _post(self, spec: FunctionSpec, delivery: Delivery) -> Reply:
        event = delivery.event
        if delivery.kind is DeliveryKind.SCHEDULE:
            return await self._functions.post(spec, scheduler_headers(spec, event), b"")
        return await self._functions.post(spec, binary_headers(event), event.data)

    async def _kill(self, spec: FunctionSpec, faults: Faults) -> None:
        if faults.kill_after_ms is None:
            return
        process = self._functions.process(spec)
        await process.listening()
        await asyncio.sleep(faults.kill_after_ms / 1000)
        process.kill()

    def _settle(self, spec: FunctionSpec, delivery: Delivery, reply: Reply | None) -> None:
        now_s, jitter = self._now_s(), self._jitter.random()
        if reply is None:
            delay_s = self._retry.after_loss(attempts=delivery.attempts, jitter=jitter)
            error = "lost on the way, by the fault plan"
            self.store.postpone(delivery.id, 0, error, until_s=now_s + delay_s)
            return
        if reply.acknowledged:
            self.store.acknowledge(delivery.id, reply.status)
            return
        wait_s = self._retry.delay_s(
            spec, attempts=delivery.attempts, age_s=now_s - delivery.created_s, jitter=jitter
        )
        if wait_s is None:
            _log.warning("%s: event %s is given up: %s", spec.id, delivery.event.id, reply.error)
            self.store.fail(delivery.id, reply.status, reply.error)
        else:
            self.store.postpone(delivery.id, reply.status, reply.error, until_s=now_s + wait_s)
