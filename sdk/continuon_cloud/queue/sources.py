"""What a path holds: an episode folder, an archive or a document, read once and hashed."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from continuon import limits
from continuon.identifiers import EPISODE_ID, ROBOT_ID
from continuon.rlds import SourceError, validate_path
from continuon_cloud.errors import EpisodeSourceError
from continuon_cloud.queue.records import FilePlan

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Source", "hash_file", "read_source", "unchanged"]

READ_BYTES: Final = 1024 * 1024
"""Bytes read at once while hashing."""

OBJECT_TYPES: Final = {
    ".tar.gz": ("episode.tar.gz", "application/gzip"),
    ".tgz": ("episode.tar.gz", "application/gzip"),
    ".tar": ("episode.tar", "application/x-tar"),
    ".zip": ("episode.zip", "application/zip"),
    ".json": ("episode.json", "application/json"),
}
"""Object name and content type by the end of a file's name."""

_FILE_TYPES: Final = {
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".mp4": "video/mp4",
    ".wav": "audio/wav",
}
_ANY_TYPE: Final = "application/octet-stream"
_FIRST: Final = ("metadata.json", "manifest.json")
_ID_CHARS: Final = 24


@dataclass(frozen=True, slots=True)
class Source:
    """An episode on the disk.

    Attributes:
        is_folder: Whether ``files`` are a folder's members; otherwise there is exactly one file.
        digest: SHA-256 (hex) of the content: of the file, or of the members' names and hashes.
        episode_id: From its metadata when that holds one, else made from the digest.
        metadata: What is announced before the upload.
        robot_id: The robot that its metadata names, or None.
    """

    path: Path
    is_folder: bool
    files: tuple[FilePlan, ...]
    digest: str
    episode_id: str
    metadata: dict[str, Any] = field(default_factory=dict)
    robot_id: str | None = None

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(file.size_bytes for file in self.files)


def read_source(path: Path) -> Source:
    """Read and hash ``path``.

    Raises:
        EpisodeSourceError: Missing, no episode's form, not a regular file, too large, or changing
            while it was read.
    """
    # Absolute, because the queue outlives this process's working folder.
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link
    _refuse_undecodable(str(path))
    try:
        source = _read_folder(path) if path.is_dir() else _read_file(path)
    except (SourceError, OSError) as error:
        raise EpisodeSourceError(f"{path}: {error.strerror or error}") from error
    return source


def hash_file(path: Path, *, name: str, content_type: str) -> FilePlan:
    """Hash one regular file and note what it looked like.

    Raises:
        EpisodeSourceError: A link, a device, too large, or changing.
    """
    before = path.lstat()
    if not stat.S_ISREG(before.st_mode):
        raise EpisodeSourceError(
            f"{path} is not a regular file",
            code="source.not_regular",
            hint="Links are not followed: they could carry files from outside the episode.",
        )
    if before.st_size > limits.MAX_OBJECT_BYTES:
        raise EpisodeSourceError(f"{path} is larger than 10 GiB", code="source.too_large")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    plan = FilePlan(name, path, before.st_size, before.st_mtime_ns, digest, content_type)
    if not unchanged(plan):
        raise EpisodeSourceError(
            f"{path} changed while it was read",
            code="source.changed",
            hint="Add an episode after its recording has ended.",
        )
    return plan


def unchanged(plan: FilePlan) -> bool:
    """Tell whether the file still looks as it did when it was hashed."""
    try:
        now = plan.source.stat()
    except OSError:
        return False
    return (now.st_size, now.st_mtime_ns) == (plan.size_bytes, plan.mtime_ns)


def _read_file(path: Path) -> Source:
    ending = next((end for end in OBJECT_TYPES if path.name.lower().endswith(end)), None)
    if ending is None:
        if not path.exists():
            raise EpisodeSourceError(f"{path} does not exist", code="source.missing")
        raise EpisodeSourceError(
            f"{path.name} is no episode",
            code="source.unknown_form",
            hint="An episode is a folder, a .tar.gz, .tar or .zip archive, or a .json document.",
        )
    name, content_type = OBJECT_TYPES[ending]
    plan = hash_file(path, name=name, content_type=content_type)
    if plan.size_bytes == 0:
        raise EpisodeSourceError(f"{path} is empty", code="source.empty")
    return _described(path, (plan,), plan.sha256, is_folder=False)


def _read_folder(path: Path) -> Source:
    members = sorted(_members(path), key=lambda member: _order(member[0]))
    if not members:
        raise EpisodeSourceError(f"{path} is empty", code="source.empty")
    files = tuple(
        hash_file(file, name=name, content_type=_FILE_TYPES.get(file.suffix, _ANY_TYPE))
        for name, file in members
    )
    digest = hashlib.sha256()
    # The same sum as in the validator's report, so that the two can be compared.
    for plan in sorted(files, key=lambda plan: plan.path):
        digest.update(f"{plan.sha256}  {plan.size_bytes}  {plan.path}\n".encode())
    return _described(path, files, digest.hexdigest(), is_folder=True)


def _described(path: Path, files: tuple[FilePlan, ...], digest: str, *, is_folder: bool) -> Source:
    """Name the episode by its own metadata.

    The validator reads it, damaged or hostile as it may be. Its verdict is not used: the cloud
    judges, where the owner sees it. Only a recording that forbids its upload stays here.
    """
    report = validate_path(path)
    if report.no_upload:
        raise EpisodeSourceError(
            f"{path} is marked no_upload by its recording",
            code="privacy.no_upload",
            hint="It stays on this machine. Nothing was sent.",
        )
    named = report.episode_id or ""
    robot_id = report.robot_id or ""
    return Source(
        path=path,
        is_folder=is_folder,
        files=files,
        digest=digest,
        episode_id=named if EPISODE_ID.fullmatch(named) else f"ep_{digest[:_ID_CHARS]}",
        metadata=_announced(report.metadata or {}),
        robot_id=robot_id if ROBOT_ID.fullmatch(robot_id) else None,
    )


def _order(name: str) -> tuple[int, str]:
    # The metadata first, so that a reader of the stream knows what it reads; then by name.
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)


def _members(root: Path) -> Iterator[tuple[str, Path]]:
    for folder, folders, names in os.walk(root):
        folders.sort()
        here = Path(folder)
        for name in [*folders, *names]:
            file = here / name
            if name in folders and not file.is_symlink():
                continue
            relative = file.relative_to(root).as_posix()
            _refuse_undecodable(relative)
            yield relative, file


def _refuse_undecodable(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise EpisodeSourceError(
            f"the name {name!a} is not UTF-8",
            code="source.name",
            hint="Rename it; names of an episode are letters, digits and ._-/",
        ) from error


def _announced(metadata: dict[str, Any]) -> dict[str, Any]:
    bounds = {"duration_ms": limits.MAX_DURATION_MS, "step_count": limits.MAX_STEPS}
    return {
        name: metadata[name]
        for name, most in bounds.items()
        if type(metadata.get(name)) is int and 0 <= metadata[name] <= most
    }
