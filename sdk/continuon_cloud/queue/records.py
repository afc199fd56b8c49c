"""What the upload queue remembers, and in which states."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Added", "FilePlan", "FileTask", "ItemPlan", "Packaging", "QueueItem", "State"]


class State(StrEnum):
    """Where an item is on its way. Every change is one transaction.

    ``queued -> requested -> uploading -> uploaded -> validated | rejected``; from each of the first
    four also ``set_aside``. ``requested`` goes back to itself when its URLs are renewed.
    """

    QUEUED = "queued"
    REQUESTED = "requested"
    UPLOADING = "uploading"
    UPLOADED = "uploaded"
    VALIDATED = "validated"
    REJECTED = "rejected"
    SET_ASIDE = "set_aside"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens unless a person asks."""
        return self in {State.VALIDATED, State.REJECTED, State.SET_ASIDE}


class Packaging(StrEnum):
    """How an episode travels."""

    OBJECT = "object"
    """One object: an archive or a document."""
    FILES = "files"
    """A folder's files, one by one."""


@dataclass(frozen=True, slots=True)
class FilePlan:
    """One file that will be uploaded.

    Attributes:
        path: Its name within the episode, or the object's name.
        source: Where its bytes are.
        mtime_ns: Of ``source`` when it was hashed; other bytes would be another episode.
        sha256: Lower-case hex.
    """

    path: str
    source: Path
    size_bytes: int
    mtime_ns: int
    sha256: str
    content_type: str


@dataclass(frozen=True, slots=True)
class ItemPlan:
    """One episode to be queued.

    Attributes:
        cloud: Base URL it goes to.
        digest: SHA-256 (hex) over the content, whatever the packaging.
        episode_id: From its metadata, or made from the digest: the same content always asks for the
            same episode, even when the queue's file was lost.
        source: What the person named.
        spool: The archive made for it, deleted after the upload; None when ``source`` is sent.
    """

    cloud: str
    robot_id: str
    episode_id: str
    digest: str
    packaging: Packaging
    source: Path
    spool: Path | None
    files: tuple[FilePlan, ...]
    resumable: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileTask:
    """One file of an item and how far it is.

    Attributes:
        url, method, headers: The signed upload, empty until it was granted.
        session_uri: A resumable session that was started, or None.
        sent_bytes: The offset the store confirmed last.
        done: The store has all of it.
    """

    position: int
    path: str
    source: Path
    size_bytes: int
    mtime_ns: int
    sha256: str
    content_type: str
    url: str | None = field(repr=False)
    method: str
    headers: dict[str, str] = field(repr=False)
    resumable: bool
    session_uri: str | None = field(repr=False)
    sent_bytes: int
    done: bool


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One episode in the queue.

    Attributes:
        attempts: Failures since the last progress.
        next_attempt_at: Unix seconds before which nothing is tried.
        problem: Why it failed last: ``code``, ``title``, ``detail``, ``errors``, ``status``.
        urls_expire_at: Unix seconds until which the signed URLs work; 0 before there are any.
        quality: 0..1 once validated, if the service said so.
        findings: Of a judged episode: how often each problem's code occurred.
    """

    item_id: str
    cloud: str
    robot_id: str
    episode_id: str
    digest: str
    packaging: Packaging
    source: Path
    spool: Path | None
    resumable: bool
    size_bytes: int
    metadata: dict[str, Any]
    state: State
    attempts: int
    next_attempt_at: float
    problem: dict[str, Any] | None
    episode_ref: str | None
    urls_expire_at: float
    training_eligible: bool | None
    quality: float | None
    findings: dict[str, int]
    added_at: float


@dataclass(frozen=True, slots=True)
class Added:
    """What adding a path did.

    Attributes:
        duplicate: The queue had this content already; nothing was added.
    """

    item: QueueItem
    duplicate: bool
