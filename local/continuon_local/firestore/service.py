"""The Firestore service of the local cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc.aio

from continuon_local.database import open_database
from continuon_local.events.outbox import Outbox
from continuon_local.firestore import messages
from continuon_local.firestore.access import DenyUsers
from continuon_local.firestore.document_calls import DocumentCalls
from continuon_local.firestore.engine import Engine
from continuon_local.firestore.events import EventRecorder
from continuon_local.firestore.indexes import load_indexes
from continuon_local.firestore.limits import MAX_MESSAGE_BYTES
from continuon_local.firestore.listen import ListenCalls
from continuon_local.firestore.query_calls import QueryCalls
from continuon_local.firestore.rpc import Method, MethodTable
from continuon_local.firestore.write_stream import WriteStreamCalls

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from pathlib import Path

    from continuon_local.firestore.access import Access
    from continuon_local.firestore.indexes import IndexChecker
    from continuon_local.service import ServiceContext

__all__ = ["FirestoreService"]

_OPTIONS = [
    # The limit on a request, with room for what surrounds it.
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES + 64 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # two instances on one port must fail, not share it
]
_STOP_GRACE_S = 1.0


def _methods(engine: Engine, indexes: IndexChecker | None) -> dict[str, Method]:
    documents, queries = DocumentCalls(engine), QueryCalls(engine, indexes)
    listening, writing = ListenCalls(engine, indexes), WriteStreamCalls(engine)
    return {
        "GetDocument": Method(messages.GetDocumentRequest, unary=documents.get_document),
        "BatchGetDocuments": Method(
            messages.BatchGetDocumentsRequest, stream=documents.batch_get_documents
        ),
        "CreateDocument": Method(messages.CreateDocumentRequest, unary=documents.create_document),
        "UpdateDocument": Method(messages.UpdateDocumentRequest, unary=documents.update_document),
        "DeleteDocument": Method(messages.DeleteDocumentRequest, unary=documents.delete_document),
        "Commit": Method(messages.CommitRequest, unary=documents.commit),
        "BatchWrite": Method(messages.BatchWriteRequest, unary=documents.batch_write),
        "BeginTransaction": Method(
            messages.BeginTransactionRequest, unary=documents.begin_transaction
        ),
        "Rollback": Method(messages.RollbackRequest, unary=documents.rollback),
        "ListDocuments": Method(messages.ListDocumentsRequest, unary=queries.list_documents),
        "RunQuery": Method(messages.RunQueryRequest, stream=queries.run_query),
        "RunAggregationQuery": Method(
            messages.RunAggregationQueryRequest, stream=queries.run_aggregation_query
        ),
        "PartitionQuery": Method(messages.PartitionQueryRequest, unary=queries.partition_query),
        "ListCollectionIds": Method(
            messages.ListCollectionIdsRequest, unary=queries.list_collection_ids
        ),
        "Listen": Method(messages.ListenRequest, bidi=listening.listen),
        "Write": Method(messages.WriteRequest, bidi=writing.write),
    }


class FirestoreService:
    """Firestore over gRPC on one loopback port.

    Args:
        context: Where data goes, what time it is, who counts.
        port: The port to bind, 0 for a free one.
        indexes_file: ``firestore.indexes.json``; with it, a query whose composite index is not
            defined there fails as it would in production. None checks nothing.
        access: Decides what a user's token may do; by default nothing.
    """

    def __init__(
        self,
        context: ServiceContext,
        *,
        port: int,
        indexes_file: Path | None = None,
        access: Access | None = None,
    ) -> None:
        self._context = context
        self._requested_port = port
        self._bound_port = 0
        self._indexes_file = indexes_file
        self._access = access or DenyUsers()
        self._connection: sqlite3.Connection | None = None
        self._server: grpc.aio.Server | None = None
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
        return self._bound_port

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
            RuntimeError: The port is taken.
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
        indexes = None if self._indexes_file is None else load_indexes(self._indexes_file)
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers([MethodTable(_methods(engine, indexes), self._access)])
        address = f"{self._context.host}:{self._requested_port}"
        self._bound_port = server.add_insecure_port(address)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Finish what is under way, close the port and the data. Safe to call twice."""
        if self._server is not None:
            await self._server.stop(_STOP_GRACE_S)
            self._server = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
