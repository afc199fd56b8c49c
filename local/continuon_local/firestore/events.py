"""Document events, in production's encoding, for the documents somebody subscribed to."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

from continuon_local.events.outbox import OutboxEvent
from continuon_local.firestore.paths import parse_document_name
from continuon_local.firestore.times import to_rfc3339
from continuon_local.firestore.wire import embed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from continuon_local.events.outbox import Outbox
    from continuon_local.firestore.messages import Message
    from continuon_local.firestore.transactions import Change

__all__ = [
    "EventRecorder",
    "change_kind",
    "changed_paths",
    "cloud_event",
    "document_event_data",
    "pattern_to_regex",
]

_TYPE = "google.cloud.firestore.document.v1."
_SCHEMA = (
    "https://github.com/googleapis/google-cloudevents/blob/main/proto/google/events/cloud/"
    "firestore/v1/data.proto"
)
_LOCATION = "nam5"
"""The location production names for its default multi-region."""

_SIMPLE_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*", re.ASCII)


def pattern_to_regex(pattern: str) -> re.Pattern[str]:
    """Turn a trigger's document pattern into a regular expression on document paths.

    ``{name}`` and ``*`` stand for one segment, ``{name=**}`` and ``**`` for any number.
    """
    parts = []
    for segment in pattern.strip("/").split("/"):
        if segment == "**" or (segment.startswith("{") and segment.endswith("=**}")):
            parts.append(".+")
        elif segment == "*" or (segment.startswith("{") and segment.endswith("}")):
            parts.append("[^/]+")
        else:
            parts.append(re.escape(segment))
    return re.compile("/".join(parts), re.DOTALL)


def _quoted(name: str) -> str:
    if _SIMPLE_NAME.fullmatch(name):
        return name
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def changed_paths(old: Message, new: Message, prefix: str = "") -> Iterator[str]:
    """Yield the paths of the fields that differ between two maps of fields."""
    for name in sorted(set(old) | set(new)):
        path = prefix + _quoted(name)
        if name not in old or name not in new:
            yield path
        elif old[name] != new[name]:
            kinds = {old[name].WhichOneof("value_type"), new[name].WhichOneof("value_type")}
            if kinds == {"map_value"}:
                before, after = old[name].map_value.fields, new[name].map_value.fields
                yield from changed_paths(before, after, f"{path}.")
            else:
                yield path


def document_event_data(change: Change) -> bytes:
    """Return the serialized ``google.events.cloud.firestore.v1.DocumentEventData``.

    Its ``Document`` has the same field numbers as the API's, so the bytes are shared.
    """
    parts = []
    if change.new is not None:
        parts.append(embed(1, change.new.SerializeToString()))
    if change.old is not None:
        parts.append(embed(2, change.old.SerializeToString()))
    # Of a creation and a deletion it is there and empty, as Google's emulator sends it.
    paths: Iterable[str] = ()
    if change.new is not None and change.old is not None:
        paths = changed_paths(change.old.fields, change.new.fields)
    parts.append(embed(3, b"".join(embed(1, path.encode()) for path in paths)))
    return b"".join(parts)


def change_kind(change: Change) -> str:
    """Return ``created``, ``updated`` or ``deleted``."""
    if change.old is None:
        return "created"
    return "deleted" if change.new is None else "updated"


def cloud_event(change: Change, kind: str, commit_time: int, data: bytes = b"") -> OutboxEvent:
    """Return the event of one kind (``created``, ``written`` ...) about a change.

    Args:
        change: What happened.
        kind: The last part of the event's type.
        commit_time: Microseconds.
        data: The payload when it has been made already.
    """
    name = parse_document_name(change.name)
    database, path = name.collection.database, name.path
    _, project, _, database_id = database.split("/")
    return OutboxEvent(
        id=str(uuid.uuid4()),
        type=_TYPE + kind,
        source=f"//firestore.googleapis.com/{database}",
        subject=f"documents/{path}",
        time=to_rfc3339(commit_time),
        data=data or document_event_data(change),
        data_content_type="application/protobuf",
        data_schema=_SCHEMA,
        extensions={
            "location": _LOCATION,
            "project": project,
            "database": database_id,
            "namespace": "(default)",
            "document": path,
        },
    )


class EventRecorder:
    """Appends events for watched documents to the outbox, in the commit's own transaction."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._patterns: list[re.Pattern[str]] = []

    def watch(self, patterns: Iterable[str]) -> None:
        """Record events for documents matching any of ``patterns``, besides those watched."""
        self._patterns.extend(pattern_to_regex(pattern) for pattern in patterns)

    def wants(self, path: str) -> bool:
        """Tell whether events about the document at ``path`` are recorded."""
        return any(pattern.fullmatch(path) for pattern in self._patterns)

    def record(self, changes: Iterable[Change], commit_time: int) -> bool:
        """Append the events of one commit; return whether there were any."""
        if not self._patterns:
            return False
        recorded = False
        for change in changes:
            if self.wants(parse_document_name(change.name).path):
                recorded = True
                self._append(change, commit_time)
        return recorded

    def _append(self, change: Change, commit_time: int) -> None:
        data = document_event_data(change)
        for kind in (change_kind(change), "written"):
            self._outbox.append(cloud_event(change, kind, commit_time, data))
