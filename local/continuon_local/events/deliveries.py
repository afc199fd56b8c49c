"""The deliveries: one row for each event and function, from the moment an event is taken.

A row is ``pending`` until it is due, ``delivering`` while the function works, then
``acknowledged``, or ``failed`` when it will not be repeated. A process that dies leaves
``delivering`` rows; they are pending again at the next start, so a function may see an event twice
but never miss it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from continuon_local.database import open_database, transaction
from continuon_local.events.outbox import OutboxEvent

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["Delivery", "DeliveryKind", "DeliveryState", "DeliveryStore"]

KEPT_DONE_ROWS = 10_000
"""How many finished deliveries are remembered: enough to recognise a repeated outbox row and to
look into yesterday, small enough that the file stays small."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    function TEXT NOT NULL,
    region TEXT NOT NULL,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    source TEXT NOT NULL,
    subject TEXT NOT NULL,
    time TEXT NOT NULL,
    data_content_type TEXT NOT NULL,
    data_schema TEXT NOT NULL,
    extensions TEXT NOT NULL,
    data BLOB NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    created_s REAL NOT NULL,
    next_attempt_s REAL NOT NULL,
    last_status INTEGER,
    last_error TEXT NOT NULL DEFAULT '',
    UNIQUE (event_id, source, function, region)
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (state, function, region, next_attempt_s);
"""

_COLUMNS = (
    "id, kind, function, region, event_id, type, source, subject, time, data_content_type,"
    " data_schema, extensions, data, state, attempts, created_s, next_attempt_s, last_status,"
    " last_error"
)


class DeliveryKind(StrEnum):
    """What is posted: a CloudEvent, or a call as Cloud Scheduler makes it."""

    EVENT = "event"
    SCHEDULE = "schedule"


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERING = "delivering"
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One event on its way to one function; times are Unix seconds."""

    id: int
    kind: DeliveryKind
    function: str
    region: str
    event: OutboxEvent
    state: DeliveryState
    attempts: int
    created_s: float
    next_attempt_s: float
    last_status: int | None
    last_error: str


class DeliveryStore:
    """The deliveries of one local cloud, in ``events.db``."""

    def __init__(self, path: Path | None) -> None:
        self._connection: sqlite3.Connection = open_database(path)
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def add(
        self,
        event: OutboxEvent,
        functions: Iterable[tuple[str, str]],
        *,
        kind: DeliveryKind,
        now_s: float,
    ) -> None:
        """Store a delivery for each (function, region); one that is there already stays."""
        with transaction(self._connection) as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO deliveries (kind, function, region, event_id, type, source,"
                " subject, time, data_content_type, data_schema, extensions, data, state,"
                " created_s, next_attempt_s)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?)",
                [
                    (kind, function, region, *_event_row(event), now_s, now_s)
                    for function, region in functions
                ],
            )

    def requeue_interrupted(self, *, latest_s: float) -> int:
        """Make what a dead process was delivering pending again; return how many.

        Nothing waits beyond ``latest_s``: the earlier process may have had its clock moved, and
        what was soon for it would be far away now.
        """
        with transaction(self._connection) as connection:
            connection.execute(
                "UPDATE deliveries SET next_attempt_s = ?"
                " WHERE state = 'pending' AND next_attempt_s > ?",
                (latest_s, latest_s),
            )
            return connection.execute(
                "UPDATE deliveries SET state = 'pending' WHERE state = 'delivering'"
            ).rowcount

    def take_due(self, function: str, region: str, *, now_s: float, limit: int) -> list[Delivery]:
        """Mark up to ``limit`` due deliveries of a function as under way and return them."""
        if limit <= 0:
            return []
        with transaction(self._connection) as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM deliveries WHERE state = 'pending' AND function = ?"  # noqa: S608 - constants
                " AND region = ? AND next_attempt_s <= ? ORDER BY next_attempt_s, id LIMIT ?",
                (function, region, now_s, limit),
            ).fetchall()
            connection.executemany(
                "UPDATE deliveries SET state = 'delivering', attempts = attempts + 1 WHERE id = ?",
                [(row[0],) for row in rows],
            )
        return [_delivery(row, taken=True) for row in rows]

    def acknowledge(self, delivery_id: int, status: int) -> None:
        """Record success; the data is not needed any more."""
        self._finish(delivery_id, DeliveryState.ACKNOWLEDGED, status, "")

    def fail(self, delivery_id: int, status: int, error: str) -> None:
        """Record that a delivery is given up."""
        self._finish(delivery_id, DeliveryState.FAILED, status, error)

    def postpone(self, delivery_id: int, status: int, error: str, *, until_s: float) -> None:
        """Record a failure that is repeated at ``until_s``."""
        with transaction(self._connection) as connection:
            connection.execute(
                "UPDATE deliveries SET state = 'pending', last_status = ?, last_error = ?,"
                " next_attempt_s = ? WHERE id = ?",
                (status, error, until_s, delivery_id),
            )

    def next_due_s(self, function: str, region: str) -> float | None:
        """Return when a function's earliest pending delivery is due, or None without one."""
        row = self._connection.execute(
            "SELECT min(next_attempt_s) FROM deliveries"
            " WHERE state = 'pending' AND function = ? AND region = ?",
            (function, region),
        ).fetchone()
        due: float | None = row[0]
        return due

    def list(self, *, state: str | None = None, limit: int = 1000) -> Sequence[Delivery]:
        """Return the latest deliveries, newest first."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM deliveries WHERE ? IS NULL OR state = ?"  # noqa: S608 - constants
            " ORDER BY id DESC LIMIT ?",
            (state, state, limit),
        )
        return [_delivery(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Return how many deliveries are in each state."""
        rows = self._connection.execute("SELECT state, count(*) FROM deliveries GROUP BY state")
        return {state.value: 0 for state in DeliveryState} | dict(rows.fetchall())

    def _finish(self, delivery_id: int, state: DeliveryState, status: int, error: str) -> None:
        data = ", data = x''" if state is DeliveryState.ACKNOWLEDGED else ""
        with transaction(self._connection) as connection:
            connection.execute(
                f"UPDATE deliveries SET state = ?, last_status = ?, last_error = ?{data}"  # noqa: S608 - constants
                " WHERE id = ?",
                (state, status, error, delivery_id),
            )
            connection.execute(
                "DELETE FROM deliveries WHERE id <= ? AND state IN ('acknowledged', 'failed')",
                (delivery_id - KEPT_DONE_ROWS,),
            )


def _event_row(event: OutboxEvent) -> tuple[Any, ...]:
    return (
        event.id,
        event.type,
        event.source,
        event.subject,
        event.time,
        event.data_content_type,
        event.data_schema,
        json.dumps(dict(event.extensions)),
        event.data,
    )


def _delivery(row: tuple[Any, ...], *, taken: bool = False) -> Delivery:
    event = OutboxEvent(
        id=row[4],
        type=row[5],
        source=row[6],
        subject=row[7],
        time=row[8],
        data_content_type=row[9],
        data_schema=row[10],
        extensions=json.loads(row[11]),
        data=row[12],
    )
    return Delivery(
        id=row[0],
        kind=DeliveryKind(row[1]),
        function=row[2],
        region=row[3],
        event=event,
        state=DeliveryState.DELIVERING if taken else DeliveryState(row[13]),
        attempts=row[14] + 1 if taken else row[14],
        created_s=row[15],
        next_attempt_s=row[16],
        last_status=row[17],
        last_error=row[18],
    )
