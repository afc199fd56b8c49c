"""The Firestore service of the local cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.database import open_database
from continuon_local.events.outbox import Outbox
from continuon_local.fault_layers import faulty_calls
from continuon_local.firestore.app import FirestoreApp
from continuon_local.firestore.calls import Calls
from continuon_local.firestore.emulator import EmulatorApi
from continuon_local.firestore.engine import Engine
from continuon_local.firestore.events import EventRecorder
from continuon_local.firestore.expiry import Expiry
from continuon_local.firestore.faults import faulty_app
from continuon_local.firestore.indexes import load_indexes
from continuon_local.firestore.limits import MAX_MESSAGE_BYTES
from continuon_local.firestore.methods import method_table
from continuon_local.firestore.rpc import MethodTable
from continuon_local.firestore.rules_access import RulesAccess, RulesDocuments
from continuon_local.firestore.rules_source import RulesSource
from continuon_local.firestore.triggers import TriggerDelivery
from continuon_local.grpc_wire.port import Port

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from pathlib import Path

    from continuon_local.service import ServiceContext

__all__ = ["FirestoreService"]

_MAX_MESSAGE_BYTES = MAX_MESSAGE_BYTES + 64 * 1024
"""The limit on a request, with room for what surrounds it."""


class FirestoreService:
    """Firestore over gRPC and HTTP/1.1 on one loopback port.

    Args:
        context: Where data goes, what time it is, who counts.
        port: The port to bind, 0 for a free one.
        indexes_file: ``firestore.indexes.json``; with it, a query whose composite index is not
            defined there fails as it would in production, and documents expire by its time-to-live
            policies. None checks nothing.
        rules_file: ``firestore.rules``, the security rules that judge calls of users. Without it
            they may do nothing, until rules are set.
        functions_emulator: ``HOST:PORT`` of the Firebase CLI's functions emulator, to which the
            triggers that it registers here are delivered.
    """

    def __init__(
        self,
        context: ServiceContext,
        *,
        port: int,
        indexes_file: Path | None = None,
        rules_file: Path | None = None,
        functions_emulator: str | None = None,
    ) -> None:
        self._context = context
        self._requested_port = port
        self._app: FirestoreApp | None = None
        self._expiry: Expiry | None = None
        self._front: Port | None = None
        self._indexes_file = indexes_file
        self._rules = RulesSource(rules_file)
        self._functions_emulator = functions_emulator
        self._triggers: TriggerDelivery | None = None
        self._connection: sqlite3.Connection | None = None
        self._outbox: Outbox | None = None
        self._events: EventRecorder | None = None
        self._engine: Engine | None = None
        self._watched: list[str] = []

    @property
    def name(self) -> str:
        """The short name, as in ``continuon-local serve NAME``."""
        return "firestore"

    @property
    def port(self) -> int:
        """The bound port; known once :meth:`start` has returned."""
        return self._requested_port if self._front is None else self._front.port

    @property
    def outbox(self) -> Outbox:
        """Where events are recorded; exists once :meth:`start` has returned.

        Raises:
            RuntimeError: The service has not been started.
        """
        if self._outbox is None:
            raise RuntimeError("the Firestore service has not been started")
        return self._outbox

    @property
    def listener_count(self) -> int:
        """How many Listen streams are open."""
        return 0 if self._engine is None else self._engine.listener_count

    def rules_documents(self, project_id: str) -> RulesDocuments:
        """Return a reader of the default database, for the rules of Cloud Storage.

        Raises:
            RuntimeError: The service has not been started.
        """
        if self._engine is None:
            raise RuntimeError("the Firestore service has not been started")
        return RulesDocuments(self._engine, f"projects/{project_id}/databases/(default)")

    def watch_events(self, patterns: Iterable[str]) -> None:
        """Record events for documents whose path matches one of ``patterns``.

        A pattern is a trigger's: ``users/{uid}``, ``robots/{id}/{rest=**}``. Without a call no
        event is recorded at all. May be called before :meth:`start` and repeatedly.
        """
        watched = list(patterns)
        self._watched.extend(watched)
        if self._events is not None:
            self._events.watch(watched)

    async def start(self) -> None:
        """Open the data, bind the port, begin to serve.

        Raises:
            OSError: The port is taken.
        """
        folder = self._context.data_dir
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        path = None if folder is None else folder / f"{self.name}.db"
        self._connection = open_database(path)
        self._outbox = Outbox(self._connection)
        self._events = EventRecorder(self._outbox)
        self._events.watch(self._watched)
        engine = self._engine = Engine(self._context, self._connection, self._events)
        engine.on_events = self._outbox.notify
        self._outbox.settle = engine.settle
        indexes = None if self._indexes_file is None else load_indexes(self._indexes_file)
        access = RulesAccess(engine, self._rules, lambda: self._context.clock.now().timestamp())
        calls = Calls(method_table(engine, indexes, access), access)
        if indexes is not None:
            engine.is_exempt = indexes.is_exempt
            self._expiry = Expiry(engine, indexes.lifetimes)
            self._expiry.start()
        self._triggers = TriggerDelivery(engine, self._functions_emulator)
        app = self._app = FirestoreApp(calls, EmulatorApi(engine, access, self._triggers))
        faults = self._context.faults
        self._front = front = Port(
            faulty_calls(MethodTable(calls).resolve, faults, self.name),
            limit=_MAX_MESSAGE_BYTES,
            app=faulty_app(app, faults),
            host=self._context.host,
            port=self._requested_port,
        )
        try:
            await front.start()
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Finish what is under way, close the port and the data. Safe to call twice."""
        if self._app is not None:
            await self._app.stop()
        if self._front is not None:
            await self._front.stop()
        if self._triggers is not None:
            await self._triggers.stop()
        if self._expiry is not None:
            await self._expiry.stop()
        if self._engine is not None:
            self._engine.settle()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
