"""What one commit consists of, as the engine works it out. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from continuon_local.firestore.errors import invalid_argument
from continuon_local.firestore.paths import parse_document_name
from continuon_local.firestore.times import from_timestamp
from continuon_local.firestore.writes import write_name

if TYPE_CHECKING:
    from continuon_local.firestore.access import Guard
    from continuon_local.firestore.errors import StatusError
    from continuon_local.firestore.messages import Message
    from continuon_local.firestore.paths import DocumentName
    from continuon_local.firestore.store import StoredDocument
    from continuon_local.firestore.transactions import Change

__all__ = [
    "CommitResult",
    "Decision",
    "Mode",
    "Pending",
    "check_required_time",
    "guarded_by",
    "written_names",
]


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What a commit answers.

    Attributes:
        commit_time: Microseconds.
        results: One ``WriteResult`` for each write, or the error for each that failed (only
            in a batch that is not atomic).
    """

    commit_time: int
    results: Sequence[Message | StatusError]


@dataclass(slots=True)
class Pending:
    """One document within a commit: as it is stored, before the writes and after."""

    name: DocumentName
    stored: StoredDocument | None
    old: Message | None
    new: Message | None


Mode = Callable[[Sequence["Message"], dict[str, Pending], int], Sequence["Message | StatusError"]]
"""Applies writes to pending documents at a version; gives a result or an error for each."""

Decision = tuple[Mapping[str, Pending], Sequence["Message | StatusError"], Mapping[str, "Change"]]
"""What writes touch, answer and change."""


def guarded_by(mode: Mode, guard: Guard | None) -> Mode:
    """Return a way to apply writes that asks ``guard`` first."""
    if guard is None:
        return mode

    def guarded(
        writes: Sequence[Message], pending: dict[str, Pending], version: int
    ) -> Sequence[Message | StatusError]:
        guard(writes, version)
        return mode(writes, pending, version)

    return guarded


def written_names(database: str, writes: Sequence[Message]) -> Sequence[str]:
    """Return the names of the documents written, each once, sorted.

    Raises:
        StatusError: INVALID_ARGUMENT when one is not in the database.
    """
    names = sorted({write_name(write) for write in writes})
    for name in names:
        if parse_document_name(name).collection.database != database:
            raise invalid_argument(f'Document "{name}" is not in the database "{database}".')
    return names


def check_required_time(write: Message, version: int) -> None:
    """Refuse a required update time that is still to come.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    condition = write.current_document
    if condition.HasField("update_time") and from_timestamp(condition.update_time) > version:
        raise invalid_argument("The required update_time is in the future.")
