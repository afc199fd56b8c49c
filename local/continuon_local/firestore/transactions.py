"""Transactions: serializable, by snapshot reads, queued locks and validation at commit.

A transaction reads at a snapshot. Before it reads a document it queues for the document's lock, so
that contenders take turns instead of failing; once it is its turn the snapshot moves up to the
present, provided that all it read before is still current. At commit everything read must be
unchanged, or the commit ends ABORTED and the client library runs the transaction again. So there
is no lost update, no dirty read, no phantom, and a read never fails because of contention.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from continuon_local.firestore.errors import aborted, invalid_argument
from continuon_local.firestore.limits import TRANSACTION_IDLE_S, TRANSACTION_MAX_S
from continuon_local.firestore.locks import LockOwner, LockTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from continuon_local.firestore.messages import Message

    VersionOf = Callable[[str], int]
    Matches = Callable[[str, Message], bool]

__all__ = ["Change", "Transaction", "TransactionManager"]

_LOCK_PATIENCE_S = 3.0
"""A transaction that is silent for so long loses its place: its contenders go ahead."""

_REMEMBERED = 10_000
"""Ended transactions whose ids are remembered, so that a late rollback is not an error."""

_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit did to one document; the states are None where there is no document."""

    name: str
    old: Message | None
    new: Message | None


@dataclass(eq=False, slots=True)
class Transaction:
    """One transaction in progress.

    Attributes:
        id: What the client names it by.
        database: The database it was begun on.
        read_only: Whether it may not write.
        snapshot: The version it reads at, None before its first read.
        reads: The version read of each document, 0 for one that did not exist.
        queries: For each query run, what tells whether a document could be in its result.
        lock: Its place in the queues.
        began_at: Seconds of the event loop's clock.
        stale: Whether something it read has changed, so that its commit cannot succeed.
    """

    id: bytes
    database: str
    read_only: bool
    snapshot: int | None
    began_at: float
    lock: LockOwner
    reads: dict[str, int] = field(default_factory=dict)
    queries: list[Matches] = field(default_factory=list)
    stale: bool = False


class TransactionManager:
    """All transactions of the service.

    Args:
        version_of: Returns the current version of the document with a name, 0 for none.
        last_version: Returns the version of the last commit.
    """

    def __init__(self, version_of: VersionOf, last_version: Callable[[], int]) -> None:
        self._version_of = version_of
        self._last_version = last_version
        self._active: dict[bytes, Transaction] = {}
        self._ended: dict[bytes, None] = {}
        self._commits: deque[tuple[int, Mapping[str, Change]]] = deque()
        self.locks = LockTable(_LOCK_PATIENCE_S)

    @property
    def any_active(self) -> bool:
        """Whether a transaction is in progress."""
        return bool(self._active)

    def begin(self, database: str, options: Message) -> Transaction:
        """Begin a transaction as ``TransactionOptions`` ask; read times are the caller's to check.

        A transaction that retries another inherits a place at the head of the queues.
        """
        self._expire()
        now = asyncio.get_running_loop().time()
        read_only = options.WhichOneof("mode") == "read_only"
        retried = options.read_write.retry_transaction
        transaction = Transaction(
            id=secrets.token_bytes(_ID_BYTES),
            database=database,
            read_only=read_only,
            snapshot=None,
            began_at=now,
            lock=LockOwner(active_at=now, priority=bool(retried) and retried in self._ended),
        )
        self._active[transaction.id] = transaction
        return transaction

    def get(self, database: str, transaction_id: bytes) -> Transaction:
        """Return a transaction in progress and note that its client is alive.

        Raises:
            StatusError: INVALID_ARGUMENT when it is unknown, ended or expired.
        """
        self._expire()
        transaction = self._active.get(transaction_id)
        if transaction is None or transaction.database != database:
            known = "has expired or is no longer valid"
            if transaction is not None:
                known = "belongs to another database"
            raise invalid_argument(f"The referenced transaction {known}.")
        transaction.lock.active_at = asyncio.get_running_loop().time()
        return transaction

    def end(self, transaction: Transaction) -> None:
        """Forget a transaction and let its contenders go on."""
        if self._active.pop(transaction.id, None) is None:
            return
        self._ended[transaction.id] = None
        if len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]
        self.locks.release(transaction.lock)

    def rollback(self, database: str, transaction_id: bytes) -> None:
        """End a transaction; one that ended before is left alone.

        Raises:
            StatusError: INVALID_ARGUMENT when there never was such a transaction.
        """
        if transaction_id not in self._ended:
            self.end(self.get(database, transaction_id))

    def _expire(self) -> None:
        if not self._active:
            return
        now = asyncio.get_running_loop().time()
        for transaction in list(self._active.values()):
            lock = transaction.lock
            idle = lock.awaiting is None and now - lock.active_at > TRANSACTION_IDLE_S
            if idle or now - transaction.began_at > TRANSACTION_MAX_S:
                self.end(transaction)

    def snapshot_of(self, transaction: Transaction, now: int) -> int:
        """Return the version to read at, moved up to ``now`` when that changes nothing read."""
        if transaction.snapshot is None:
            transaction.snapshot = now
        elif not transaction.read_only and not self._is_outdated(transaction):
            transaction.snapshot = max(now, transaction.snapshot)
        return transaction.snapshot

    def record_read(self, transaction: Transaction, name: str, version: int) -> None:
        """Remember that ``transaction`` read a document (or that there was none)."""
        if not transaction.read_only:
            transaction.reads.setdefault(name, version)

    def record_query(self, transaction: Transaction, matches: Matches) -> None:
        """Remember that ``transaction`` ran a query; ``matches`` must not err towards no."""
        if not transaction.read_only:
            transaction.queries.append(matches)

    def record_commit(self, version: int, changes: Mapping[str, Change]) -> None:
        """Note what a commit changed, as long as a transaction may have to be validated."""
        if not any(not each.read_only and each.queries for each in self._active.values()):
            self._commits.clear()
            return
        self._commits.append((version, changes))
        oldest = min(
            each.snapshot
            for each in self._active.values()
            if each.queries and each.snapshot is not None
        )
        while self._commits and self._commits[0][0] <= oldest:
            self._commits.popleft()

    def _is_outdated(self, transaction: Transaction) -> bool:
        if transaction.stale or transaction.snapshot is None:
            return transaction.stale
        if self._last_version() > transaction.snapshot:
            transaction.stale = any(
                self._version_of(name) != version for name, version in transaction.reads.items()
            ) or self._results_changed(transaction, transaction.snapshot)
        return transaction.stale

    def _results_changed(self, transaction: Transaction, snapshot: int) -> bool:
        return any(
            state is not None and matches(change.name, state)
            for version, changes in self._commits
            if version > snapshot
            for change in changes.values()
            for state in (change.old, change.new)
            for matches in transaction.queries
        )

    def validate(self, transaction: Transaction) -> None:
        """Check before a commit that everything read is unchanged.

        Raises:
            StatusError: ABORTED when it is not.
        """
        if self._is_outdated(transaction):
            raise aborted(
                "Aborted due to cross-transaction contention. This occurs when multiple "
                "transactions attempt to access the same data, requiring Firestore to abort at "
                "least one in order to enforce serializability."
            )

    async def lock(self, transaction: Transaction, names: Iterable[str]) -> None:
        """Queue for documents about to be read, in one order for everybody."""
        if not transaction.read_only and not transaction.stale:
            await self.locks.acquire(transaction.lock, sorted(names))
