"""The transactional outbox: an event is stored in the same commit as the change it reports.

A service appends inside its own transaction and calls :meth:`Outbox.notify` after the commit. The
event router takes events in order, stores one delivery for each trigger that matches, and removes
them here. A crash between the two leaves the event in place, so it is routed again: at least once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Outbox", "OutboxEvent"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS event_outbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    source TEXT NOT NULL,
    subject TEXT NOT NULL,
    time TEXT NOT NULL,
    data_content_type TEXT NOT NULL,
    data_schema TEXT NOT NULL,
    extensions TEXT NOT NULL,
    data BLOB NOT NULL
)
"""


@dataclass(frozen=True, kw_only=True)
class OutboxEvent:
    """One CloudEvents 1.0 event, its attributes named as in the specification.

    Attributes:
        id: Unique for the source; redelivery keeps it.
        type: For example ``google.cloud.storage.object.v1.finalized``.
        source: For example ``//storage.googleapis.com/projects/_/buckets/B``.
        subject: For example ``objects/NAME`` or ``documents/users/u1``.
        time: RFC 3339, UTC.
        data: The payload, encoded as production encodes it.
        data_content_type: ``application/json`` or ``application/protobuf``.
        data_schema: The schema's address, empty where production sends none.
        extensions: Further attributes (``bucket``, ``document``, ``database`` ...), without "ce-".
    """

    id: str
    type: str
    source: str
    subject: str
    time: str
    data: bytes
    data_content_type: str = "application/json"
    data_schema: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict)


class Outbox:
    """The events of one service that the router has not taken yet.

    Attributes:
        settle: Called before events are read or removed: a service whose commits may be still on
            their way to the disk finishes them here.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.settle: Callable[[], None] = _nothing
        self._connection = connection
        self._listeners: list[Callable[[], None]] = []
        connection.execute(_SCHEMA)

    def append(self, event: OutboxEvent) -> None:
        """Record ``event`` in the transaction that is open on the service's connection."""
        self._connection.execute(
            "INSERT INTO event_outbox (event_id, type, source, subject, time, data_content_type,"
            " data_schema, extensions, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.id,
                event.type,
                event.source,
                event.subject,
                event.time,
                event.data_content_type,
                event.data_schema,
                json.dumps(dict(event.extensions)),
                event.data,
            ),
        )

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each commit that appended events."""
        self._listeners.append(listener)

    def notify(self) -> None:
        """Say that events were committed. The listener runs on the caller's thread."""
        for listener in self._listeners:
            listener()

    def pending(self, limit: int = 100) -> Sequence[tuple[int, OutboxEvent]]:
        """Return up to ``limit`` events in the order of their commits, with their positions."""
        self.settle()
        rows = self._connection.execute(
            "SELECT position, event_id, type, source, subject, time, data_content_type,"
            " data_schema, extensions, data FROM event_outbox ORDER BY position LIMIT ?",
            (limit,),
        )
        return [
            (
                row[0],
                OutboxEvent(
                    id=row[1],
                    type=row[2],
                    source=row[3],
                    subject=row[4],
                    time=row[5],
                    data_content_type=row[6],
                    data_schema=row[7],
                    extensions=json.loads(row[8]),
                    data=row[9],
                ),
            )
            for row in rows
        ]

    def remove(self, positions: Sequence[int]) -> None:
        """Forget events that the router has stored on its side."""
        self.settle()
        self._connection.executemany(
            "DELETE FROM event_outbox WHERE position = ?", [(position,) for position in positions]
        )


def _nothing() -> None:
    """Stand in where commits are on the disk as soon as they are made."""
