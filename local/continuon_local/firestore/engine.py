"""The database itself: snapshots, reads and commits, between the calls and the store."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from continuon_local.database import transaction as database_transaction
from continuon_local.firestore.commit import (
    CommitResult,
    Pending,
    check_required_time,
    guarded_by,
    written_names,
)
from continuon_local.firestore.commit_group import CommitGroup
from continuon_local.firestore.errors import StatusError, failed_precondition, invalid_argument
from continuon_local.firestore.index_entries import check_index_entries
from continuon_local.firestore.limits import READ_TIME_WINDOW_S
from continuon_local.firestore.locks import LockOwner
from continuon_local.firestore.messages import Document
from continuon_local.firestore.paths import parse_document_name
from continuon_local.firestore.query_run import run_query, run_query_in_turns
from continuon_local.firestore.store import DocumentStore
from continuon_local.firestore.times import from_datetime, from_timestamp
from continuon_local.firestore.transactions import Change, TransactionManager
from continuon_local.firestore.writes import apply_write, check_writes, write_name
from continuon_local.grpc_wire.codes import Code
from continuon_local.meter import Operation

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from continuon_local.firestore.access import Guard
    from continuon_local.firestore.commit import Decision, Mode
    from continuon_local.firestore.events import EventRecorder
    from continuon_local.firestore.messages import Message
    from continuon_local.firestore.paths import DocumentName
    from continuon_local.firestore.query import CompiledQuery
    from continuon_local.firestore.query_run import QueryResult
    from continuon_local.firestore.store import StoredDocument
    from continuon_local.firestore.transactions import Transaction
    from continuon_local.service import ServiceContext

    CommitListener = Callable[[int, Mapping[str, Change]], None]

__all__ = ["Engine", "Reader"]

_MICROSECONDS = 1_000_000
_MAX_TURNS = 100
"""Locks that one query queues for; locks only decide who goes first."""


@dataclass(slots=True)
class Reader:
    """How one call reads.

    Attributes:
        transaction: The transaction it belongs to, if any.
        opened: The id of the transaction that this call began, else empty.
        version: The fixed version to read at, or None for the present.
    """

    transaction: Transaction | None = None
    opened: bytes = b""
    version: int | None = None


class Engine:
    """One Firestore service: all projects, all databases."""

    def __init__(
        self, context: ServiceContext, connection: sqlite3.Connection, events: EventRecorder
    ) -> None:
        self._context = context
        self._connection = connection
        self._events = events
        self._listeners: list[CommitListener] = []
        self._group = CommitGroup(connection)
        self.store = DocumentStore(connection)
        self._issued = self.store.last_version
        self.transactions = TransactionManager(
            lambda name: self.store.version_of(parse_document_name(name)),
            lambda: self.store.last_version,
        )
        self.on_events: Callable[[], None] = _nothing
        self.is_exempt: Callable[[str, str], bool] = _none_is_exempt

    def subscribe(self, listener: CommitListener) -> None:
        """Call ``listener`` with the version and the changes after each commit."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: CommitListener) -> None:
        """Stop calling ``listener``."""
        self._listeners.remove(listener)

    @property
    def is_observed(self) -> bool:
        """Whether anybody has to be told of changes: a listener, or a transaction that reads."""
        return bool(self._listeners) or self.transactions.any_active

    @property
    def listener_count(self) -> int:
        """How many listeners are subscribed."""
        return len(self._listeners)

    def meter(self, operation: Operation, count: int, caller: str) -> None:
        """Count billable operations."""
        self._context.meter.record(operation, count, caller=caller)

    def now(self) -> int:
        """Return a read time: the present, never before a commit that has been answered."""
        present = from_datetime(self._context.clock.now())
        self._issued = max(self._issued, present)
        return self._issued

    def _next_version(self) -> int:
        present = from_datetime(self._context.clock.now())
        self._issued = max(self._issued + 1, present)
        return self._issued

    def begin(self, database: str, options: Message) -> Transaction:
        """Begin a transaction as ``TransactionOptions`` ask.

        Raises:
            StatusError: The read time is in the future or too old.
        """
        transaction = self.transactions.begin(database, options)
        if transaction.read_only:
            if options.read_only.HasField("read_time"):
                transaction.snapshot = self._checked(options.read_only.read_time)
            else:
                transaction.snapshot = self.now()
        return transaction

    def _checked(self, read_time: Message) -> int:
        version = from_timestamp(read_time)
        now = self.now()
        if version > now:
            raise invalid_argument("The requested 'read_time' cannot be in the future.")
        if version < now - READ_TIME_WINDOW_S * _MICROSECONDS:
            raise failed_precondition("The requested 'read_time' is too old.")
        return version

    def reader(self, database: str, request: Message) -> Reader:
        """Return how ``request`` reads, by its consistency selector.

        Raises:
            StatusError: The transaction is not in progress, or the read time is not readable.
        """
        selector = request.WhichOneof("consistency_selector")
        if selector == "transaction" and request.transaction:
            transaction = self.transactions.get(database, request.transaction)
            return Reader(transaction=transaction)
        if selector == "new_transaction":
            transaction = self.begin(database, request.new_transaction)
            return Reader(transaction=transaction, opened=transaction.id)
        if selector == "read_time":
            return Reader(version=self._checked(request.read_time))
        return Reader()

    def move_up(self, reader: Reader) -> int:
        """Fix what ``reader`` sees now; return the read time to report."""
        self.settle()
        if reader.transaction is not None:
            now = self.now()
            reader.version = self.transactions.snapshot_of(reader.transaction, now)
        return self.now() if reader.version is None else reader.version

    def _read(self, reader: Reader, name: DocumentName) -> StoredDocument | None:
        if reader.version is None:
            return self.store.get(name)
        return self.store.get_at(name, reader.version)

    async def read_documents(
        self, reader: Reader, names: Sequence[str], caller: str
    ) -> tuple[int, Sequence[StoredDocument | None]]:
        """Read documents by name; return the read time and, for each, the document or None."""
        parsed = [parse_document_name(name) for name in names]
        if reader.transaction is not None:
            await self.transactions.lock(reader.transaction, set(names))
        read_time = self.move_up(reader)
        found = [self._read(reader, name) for name in parsed]
        if reader.transaction is not None:
            for name, stored in zip(names, found, strict=True):
                version = 0 if stored is None else stored.version
                self.transactions.record_read(reader.transaction, name, version)
        self.meter(Operation.FIRESTORE_READ, len(names), caller)
        return read_time, found

    async def query(self, reader: Reader, query: CompiledQuery) -> tuple[int, QueryResult]:
        """Run a query; return the read time and the result."""
        read_time = self.move_up(reader)
        transaction = reader.transaction
        if transaction is None or transaction.read_only:
            result = await run_query_in_turns(self.store, query, reader.version, read_time)
            return read_time, result
        # At once: whatever is committed from here on has to be told from what was read.
        result = run_query(self.store, query, reader.version)
        # Take turns over the documents found, then look again at what the others left.
        before = self.store.last_version
        await self.transactions.lock(transaction, [row.name for row in result.rows[:_MAX_TURNS]])
        if self.store.last_version != before:
            read_time = self.move_up(reader)
            result = run_query(self.store, query, reader.version)
        self.transactions.record_query(transaction, query.matches)
        return read_time, result

    async def commit(
        self,
        database: str,
        writes: Sequence[Message],
        transaction_id: bytes,
        caller: str,
        guard: Guard | None = None,
    ) -> CommitResult:
        """Apply ``writes`` all together or not at all, ending the transaction if there is one.

        ``guard`` sees the very state that the writes change: nothing happens in between.

        Raises:
            StatusError: A precondition fails, a write is not allowed, or the transaction is
                not in progress or has to be tried again (ABORTED).
        """
        names = written_names(database, writes)
        if not transaction_id:
            return await self._commit_alone(names, writes, caller, guarded_by(self._in_one, guard))
        transaction = self.transactions.get(database, transaction_id)
        try:
            if transaction.read_only and writes:
                raise invalid_argument("Cannot modify entities in a read-only transaction.")
            await self.transactions.locks.acquire(transaction.lock, names)
            # It may have been rolled back or have expired meanwhile.
            self.transactions.get(database, transaction_id)
            self.transactions.validate(transaction)
            return await self._apply(writes, caller, guarded_by(self._in_one, guard))
        finally:
            self.transactions.end(transaction)

    async def _commit_alone(
        self, names: Sequence[str], writes: Sequence[Message], caller: str, mode: Mode
    ) -> CommitResult:
        locks = self.transactions.locks
        if all(map(locks.is_free, names)):
            return await self._apply(writes, caller, mode)
        owner = LockOwner(active_at=asyncio.get_running_loop().time())
        try:
            await locks.acquire(owner, names)
            return await self._apply(writes, caller, mode)
        finally:
            locks.release(owner)

    async def batch_write(
        self, database: str, writes: Sequence[Message], caller: str
    ) -> Sequence[Message | StatusError]:
        """Apply ``writes`` one by one; return a ``WriteResult`` or an error for each.

        Raises:
            StatusError: INVALID_ARGUMENT when a document is written twice.
        """
        names = written_names(database, writes)
        if len(names) != len(writes):
            raise invalid_argument(
                "the same document cannot be written more than once in a single request"
            )
        result = await self._commit_alone(names, writes, caller, self._one_by_one)
        return result.results

    def _load(self, name: str) -> Pending:
        parsed = parse_document_name(name)
        stored = self.store.get(parsed)
        old = None if stored is None else Document.FromString(stored.data)
        return Pending(parsed, stored, old, old)

    def _write(self, write: Message, pending: dict[str, Pending], version: int) -> Message:
        check_required_time(write, version)
        name = write_name(write)
        entry = pending.get(name)
        if entry is None:
            entry = pending[name] = self._load(name)
        entry.new, result = apply_write(write, entry.new, version)
        if entry.new is not None:
            check_index_entries(entry.name, entry.new, self.is_exempt)
        return result

    def _in_one(
        self, writes: Sequence[Message], pending: dict[str, Pending], version: int
    ) -> Sequence[Message | StatusError]:
        """Apply all the writes or raise what the first bad one raises."""
        try:
            return [self._write(write, pending, version) for write in writes]
        except StatusError as error:
            if error.code is not Code.INVALID_ARGUMENT:
                # A malformed request is refused as such, whatever the documents are.
                check_writes(writes, version)
            raise

    def _one_by_one(
        self, writes: Sequence[Message], pending: dict[str, Pending], version: int
    ) -> Sequence[Message | StatusError]:
        """Apply the writes that can be; they are of different documents."""
        outcomes: list[Message | StatusError] = []
        for write in writes:
            try:
                outcomes.append(self._write(write, pending, version))
            except StatusError as error:
                outcomes.append(error)
        return outcomes

    def _decide(self, writes: Sequence[Message], mode: Mode, version: int) -> Decision:
        """Work out what the writes do, on a state that others may still be waiting for.

        What ends with nothing to store has nothing to wait for: that is decided on what is on the
        disk.
        """
        if self._group.is_open:
            with contextlib.suppress(StatusError):
                decision = self._evaluate(writes, mode, version)
                if decision[2]:
                    return decision
            self.settle()
        return self._evaluate(writes, mode, version)

    def _evaluate(self, writes: Sequence[Message], mode: Mode, version: int) -> Decision:
        pending: dict[str, Pending] = {}
        results = mode(writes, pending, version)
        changes = {
            name: Change(name, entry.old, entry.new)
            for name, entry in pending.items()
            if entry.new is not entry.old
        }
        return pending, results, changes

    async def _apply(self, writes: Sequence[Message], caller: str, mode: Mode) -> CommitResult:
        """Do the commit at once: nothing else runs before it is applied; then wait for the disk."""
        version = self._next_version()
        pending, results, changes = self._decide(writes, mode, version)
        if changes:
            await self._store(version, pending, changes)
        done = [
            write.WhichOneof("operation")
            for write, result in zip(writes, results, strict=True)
            if not isinstance(result, StatusError)
        ]
        self.meter(Operation.FIRESTORE_DELETE, done.count("delete"), caller)
        self.meter(Operation.FIRESTORE_WRITE, len(done) - done.count("delete"), caller)
        return CommitResult(version, results)

    def _store(
        self, version: int, pending: Mapping[str, Pending], changes: Mapping[str, Change]
    ) -> asyncio.Future[None]:
        has_events = False

        def announce() -> None:
            self._tell(version, changes)
            if has_events:
                self.on_events()

        with self._group.member(announce) as stored:
            for name, change in changes.items():
                entry = pending[name]
                if change.new is not None:
                    self.store.put(entry.name, version, change.new, entry.stored, entry.old)
                elif entry.stored is not None:
                    self.store.delete(entry.name, version, entry.stored, entry.old)
            has_events = self._events.record(changes.values(), version)
            self.store.advance(version)
        # Not only when it is on the disk: others of its group are validated against it.
        self.transactions.record_commit(version, changes)
        return stored

    def _tell(self, version: int, changes: Mapping[str, Change]) -> None:
        for listener in tuple(self._listeners):
            listener(version, changes)

    def settle(self) -> None:
        """Bring every commit under way to the disk. Before any reading: none sees what is not."""
        self._group.settle()

    @contextmanager
    def writing(self, changes: Mapping[str, Change]) -> Iterator[int]:
        """Give a version under which to store; at the end commit, and tell who watches.

        Args:
            changes: What is stored, complete by the end.
        """
        self.settle()
        version = self._next_version()
        with database_transaction(self._connection):
            yield version
            self.store.advance(version)
        self.transactions.record_commit(version, changes)
        self._tell(version, changes)


def _none_is_exempt(_collection_id: str, _path: str) -> bool:
    return False


def _nothing() -> None:
    """Stand in for a listener that nobody has set."""
