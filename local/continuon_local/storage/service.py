"""The local Cloud Storage as one service of the local cloud."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import uvicorn

from continuon_local.database import open_database
from continuon_local.lock import DataFolderLock
from continuon_local.storage.accounts import Accounts, load_or_create
from continuon_local.storage.app import create_app
from continuon_local.storage.engine import Engine
from continuon_local.storage.faults import faulty_app
from continuon_local.storage.lifecycle import Sweeper

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from continuon_local.events.outbox import Outbox
    from continuon_local.service import ServiceContext
    from continuon_local.storage.firebase_rules import DocumentSource
    from continuon_local.storage.pubsub_bridge import Topics

__all__ = ["StorageService"]

# How long a stopping service waits for transfers; the clients resume or repeat them.
_GRACE_SECONDS = 2

_BACKLOG = 512

_Part = TypeVar("_Part")


class _Server(uvicorn.Server):
    """Uvicorn inside a loop that is not its own: signals belong to the host process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signal handlers alone."""
        yield


class StorageService:
    """Cloud Storage on one loopback port; see :class:`continuon_local.service.Service`."""

    name = "storage"

    def __init__(
        self, context: ServiceContext, *, port: int, rules_file: Path | None = None
    ) -> None:
        self._rules_file = rules_file
        self._context = context
        self._port = port
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._lock: DataFolderLock | None = None
        self._connection: sqlite3.Connection | None = None
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._engine: Engine | None = None
        self._sweeper: Sweeper | None = None
        self._service_account_file: Path | None = None

    @property
    def port(self) -> int:
        """The bound port; known once :meth:`start` has returned."""
        return self._port

    @property
    def outbox(self) -> Outbox:
        """The events of objects; known once :meth:`start` has returned."""
        return _started(self._engine).outbox

    @property
    def service_account_file(self) -> Path:
        """A Google service account key whose signed URLs this service accepts."""
        return _started(self._service_account_file)

    async def start(self) -> None:
        """Open the data, sweep what a crash left, bind the port, begin to serve.

        Raises:
            AlreadyRunningError: Another process serves the same data.
            OSError: The port is taken, or the folder cannot be written.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        folder = self._folder()
        self._lock = DataFolderLock(folder / "storage")
        self._lock.acquire()
        accounts = Accounts()
        self._service_account_file = await asyncio.to_thread(
            load_or_create, folder, self._context.project_id, accounts
        )
        durable = self._context.data_dir is not None
        self._connection = open_database(folder / "storage.db" if durable else None)
        self._engine = Engine.create(
            self._context,
            self._connection,
            folder / "storage",
            accounts,
            rules_file=self._rules_file,
        )
        self._sweeper = Sweeper(self._engine)
        await self._serve(self._engine)
        self._sweeper.start()

    def _folder(self) -> Path:
        if self._context.data_dir is not None:
            self._context.data_dir.mkdir(parents=True, exist_ok=True)
            return self._context.data_dir
        self._temporary = tempfile.TemporaryDirectory(prefix="continuon-storage-")
        return Path(self._temporary.name)

    async def _serve(self, engine: Engine) -> None:
        listener = socket.create_server((self._context.host, self._port), backlog=_BACKLOG)
        # Connections inherit it; without it an answer in two writes waits 40 ms for a delayed
        # acknowledgement (asyncio sets it only where the socket names its protocol).
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            faulty_app(create_app(engine), self._context.faults),
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._serving.done():
                self._serving.result()
                raise RuntimeError("the storage server ended before it started")
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Finish what is under way, close the port and the data. Safe to call twice."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
            self._server = self._serving = None
        if self._sweeper is not None:
            await self._sweeper.stop()
        if self._engine is not None:
            await self._engine.pubsub.stop()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def connect_pubsub(self, topics: Topics) -> None:
        """Publish the notifications of buckets to ``topics``, those that already wait included."""
        _started(self._engine).pubsub.connect(topics)

    def connect_firestore(self, documents: DocumentSource) -> None:
        """Let ``storage.rules`` read the project's documents."""
        reader = documents.rules_documents(self._context.project_id)
        _started(self._engine).rules.connect(reader)

    def ensure_bucket(self, name: str) -> None:
        """Create a bucket of the default project unless it exists."""
        engine = _started(self._engine)
        if engine.store.bucket(name) is None:
            engine.buckets.create(name, self._context.project_id, {})


def _started(part: _Part | None) -> _Part:
    if part is None:
        raise RuntimeError("the storage service was not started")
    return part
