"""The Pub/Sub service of the local cloud."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from continuon_local.database import open_database, transaction
from continuon_local.events.outbox import Outbox
from continuon_local.fault_layers import faulty_calls
from continuon_local.grpc_wire.port import Port
from continuon_local.pubsub import limits
from continuon_local.pubsub.broker import Broker
from continuon_local.pubsub.iam import Policies
from continuon_local.pubsub.messages import new
from continuon_local.pubsub.names import check_name
from continuon_local.pubsub.publisher import Publisher
from continuon_local.pubsub.push import PushDispatcher
from continuon_local.pubsub.retention import Retention
from continuon_local.pubsub.rpc import PubSubHandlers
from continuon_local.pubsub.seeking import Seeking
from continuon_local.pubsub.store import PubSubStore
from continuon_local.pubsub.subscriber import Subscriber

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

    from continuon_local.service import ServiceContext

__all__ = ["PubSubService"]

_STOP_GRACE_S = 0.3  # calls take milliseconds; streams never end by themselves
_SWEEP_INTERVAL_S = 1.0


class PubSubService:
    """Serves ``google.pubsub.v1`` over gRPC; data lives in ``pubsub.db``.

    Point clients at it with ``PUBSUB_EMULATOR_HOST=127.0.0.1:PORT``.

    Attributes:
        watch_topics: Short or full names of the topics whose messages are appended to
            :attr:`outbox`. Empty without a router, so that nothing piles up there.
    """

    name = "pubsub"

    def __init__(self, context: ServiceContext, *, port: int) -> None:
        self.watch_topics: set[str] = set()
        self._context = context
        self._port = port
        self._running: _Running | None = None

    @property
    def port(self) -> int:
        """The bound port, once :meth:`start` has returned."""
        return self._port

    @property
    def outbox(self) -> Outbox:
        """Where messages of watched topics are recorded, in the transaction of their publish."""
        return self._started().outbox

    async def start(self) -> None:
        """Open the data, bind the port, begin to serve and to push."""
        context = self._context
        folder = context.data_dir
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        connection = open_database(None if folder is None else folder / "pubsub.db")
        running = _Running(context, connection, lambda: self.watch_topics, self._port)
        try:
            self._port = await running.serve()
        except BaseException:
            await running.close()
            raise
        self._running = running

    async def stop(self) -> None:
        """End streams and pushes, close the port and the data. Safe to call twice."""
        running, self._running = self._running, None
        if running is not None:
            await running.close()

    def ensure_topic(self, name: str) -> None:
        """Create a topic of the default project (or a full name) unless it exists.

        Raises:
            PubSubError: INVALID_ARGUMENT: not a topic's name.
        """
        full = name if "/" in name else f"projects/{self._context.project_id}/topics/{name}"
        check_name(full, "topics")
        running = self._started()
        if running.store.topic(full) is None:
            with transaction(running.connection):
                running.store.put_topic(new("Topic", name=full))

    def has_topic(self, topic: str) -> bool:
        """Say whether a topic exists; ``topic`` is its full name."""
        return self._started().store.topic(topic) is not None

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> None:
        """Publish a message of another local service, durably.

        Raises:
            LookupError: The topic does not exist.
        """
        if not self.has_topic(topic):
            raise LookupError(topic)
        message = new("PubsubMessage", data=data, attributes=dict(attributes))
        self._started().broker.publish(topic, [message])

    def _started(self) -> _Running:
        if self._running is None:
            raise RuntimeError("the Pub/Sub service has not been started")
        return self._running


class _Running:
    """What exists between the start and the stop."""

    def __init__(
        self,
        context: ServiceContext,
        connection: sqlite3.Connection,
        watched: Callable[[], set[str]],
        port: int,
    ) -> None:
        self.connection = connection
        self.store = PubSubStore(connection)
        self.outbox = Outbox(connection)
        retention = Retention(connection, self.store)
        self.broker = Broker(
            connection,
            store=self.store,
            retention=retention,
            clock=context.clock,
            meter=context.meter,
            outbox=self.outbox,
            watched=watched,
        )
        self._push = PushDispatcher(self.broker, self.store, context.clock)
        policies = Policies(
            connection,
            {
                "topics": lambda name: self.store.topic(name) is not None,
                "subscriptions": lambda name: self.store.subscription(name) is not None,
                "snapshots": lambda name: retention.snapshot(name) is not None,
            },
        )
        publisher = Publisher(
            connection, self.store, self.broker, retention=retention, policies=policies
        )
        subscriber = Subscriber(
            connection, self.store, self.broker, self._push, retention=retention, policies=policies
        )
        seeking = Seeking(
            connection, self.store, self.broker, retention=retention, policies=policies
        )
        served = PubSubHandlers(publisher, subscriber, seeking, policies, self.broker)
        self._server = Port(
            faulty_calls(served.resolve, context.faults, "pubsub"),
            limit=limits.MAX_REQUEST_BYTES,
            app=None,
            host=context.host,
            port=port,
        )
        self._sweeper: asyncio.Task[None] | None = None

    async def serve(self) -> int:
        """Begin to serve and return the port."""
        await self._server.start()
        self._sweeper = asyncio.create_task(self._sweep())
        return self._server.port

    async def close(self) -> None:
        """End everything and close the file."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        await self._push.stop()
        await self._server.stop(_STOP_GRACE_S)
        self.connection.close()

    async def _sweep(self) -> None:
        """Bury and drop what nobody pulls, and start pushes that failed again."""
        while True:
            self._push.refresh()
            now_ms = self.broker.now_ms()
            for stored in self.store.all_subscriptions():
                self.broker.bury(stored, now_ms)
                self.broker.expire(stored, now_ms)
            self.broker.sweep_retained(now_ms)
            await asyncio.sleep(_SWEEP_INTERVAL_S)
