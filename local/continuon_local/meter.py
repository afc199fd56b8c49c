"""Counts of the operations that Google bills, so that cost is measured and not guessed."""

from __future__ import annotations

from collections import Counter, OrderedDict
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["CALLER_HEADER", "MAX_REQUESTS", "Meter", "Operation", "split_caller"]

CALLER_HEADER = "x-continuon-caller"
"""Names who makes a call: ``FUNCTION``, or ``FUNCTION;trace=REQUEST``. The functions host puts it
on every call of a function's Google clients; a program outside may send it as well."""

MAX_REQUESTS = 1000
"""How many requests are kept apart; older ones still count in the totals and for their function."""

_TRACE = ";trace="


class Operation(StrEnum):
    """One billable unit. The names follow the price lists of the services.

    Firestore bills documents read, written and deleted, and a query without results as one read.
    Cloud Storage bills class A (insert, copy, compose, list, patch) and class B (get, read)
    operations and egress; deletes are free. Cloud Run functions bill invocations, memory and CPU
    while an instance has at least one request, in steps of 100 ms.
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
    FUNCTION_MIB_MS = "functions.mib_ms"
    FUNCTION_VCPU_US = "functions.vcpu_us"


def split_caller(caller: str) -> tuple[str, str]:
    """Return the function and the request that a caller's name stands for; either may be empty."""
    function, _, request = caller.partition(_TRACE)
    return function, request


class Meter:
    """Counts operations: in all, by the function that caused them, and by its latest requests."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Operation, str]] = Counter()
        self._requests: OrderedDict[tuple[str, str], Counter[Operation]] = OrderedDict()

    def record(self, operation: Operation, count: int = 1, *, caller: str = "") -> None:
        """Add ``count`` of ``operation``.

        Args:
            operation: What was done.
            count: How many; 0 leaves no trace.
            caller: Who did it, as in :data:`CALLER_HEADER`; empty for a client outside.
        """
        if not count:
            return
        function, request = split_caller(caller)
        self._counts[operation, function] += count
        if request:
            self._of_request(function, request)[operation] += count

    def totals(self) -> Mapping[Operation, int]:
        """Return the sum over all callers, by operation."""
        totals: Counter[Operation] = Counter()
        for (operation, _), count in self._counts.items():
            totals[operation] += count
        return totals

    def by_caller(self) -> Mapping[tuple[Operation, str], int]:
        """Return the counts by operation and function."""
        return dict(self._counts)

    def by_request(self) -> Iterable[tuple[str, str, Mapping[Operation, int]]]:
        """Return function, request and counts of the latest requests, the oldest first."""
        return [(*key, dict(counts)) for key, counts in self._requests.items()]

    def reset(self) -> None:
        """Start counting again from zero."""
        self._counts.clear()
        self._requests.clear()

    def _of_request(self, function: str, request: str) -> Counter[Operation]:
        counts = self._requests.setdefault((function, request), Counter())
        self._requests.move_to_end((function, request))
        if len(self._requests) > MAX_REQUESTS:
            self._requests.popitem(last=False)
        return counts
