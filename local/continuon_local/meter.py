"""Counts of the operations that Google bills, so that cost is measured and not guessed."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Meter", "Operation"]


class Operation(StrEnum):
    """One billable unit. The names follow the price lists of the services.

    Firestore bills documents read, written and deleted, and a query without results as one read.
    Cloud Storage bills class A (insert, copy, compose, list, patch) and class B (get, read)
    operations and egress; deletes are free. Cloud Run functions bill invocations.
    """

    FIRESTORE_READ = "firestore.read"
    FIRESTORE_WRITE = "firestore.write"
    FIRESTORE_DELETE = "firestore.delete"
    STORAGE_CLASS_A = "storage.class_a"
    STORAGE_CLASS_B = "storage.class_b"
    STORAGE_EGRESS_BYTES = "storage.egress_bytes"
    STORAGE_INGRESS_BYTES = "storage.ingress_bytes"
    PUBSUB_BYTES = "pubsub.bytes"
    FUNCTION_INVOCATION = "functions.invocation"


class Meter:
    """Counts operations, in all and by who caused them."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Operation, str]] = Counter()

    def record(self, operation: Operation, count: int = 1, *, caller: str = "") -> None:
        """Add ``count`` of ``operation``; ``caller`` names the function behind it when known."""
        if count:
            self._counts[operation, caller] += count

    def totals(self) -> Mapping[Operation, int]:
        """Return the sum over all callers, by operation."""
        totals: Counter[Operation] = Counter()
        for (operation, _), count in self._counts.items():
            totals[operation] += count
        return totals

    def by_caller(self) -> Mapping[tuple[Operation, str], int]:
        """Return the counts by operation and caller."""
        return dict(self._counts)

    def reset(self) -> None:
        """Start counting again from zero."""
        self._counts.clear()
