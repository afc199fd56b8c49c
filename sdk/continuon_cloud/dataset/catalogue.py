"""Finding episodes on disk and judging each once before any is used."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from continuon.rlds import SourceError, validate_path
from continuon_cloud.dataset.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from continuon.rlds import Report

__all__ = ["EpisodeEntry", "catalogue", "find_episodes", "named_catalogue"]

MAX_SEARCH_DEPTH: Final = 8
"""Folders below a source: deeper is a wrong path, such as a whole home folder."""

_MARKS: Final = ("metadata.json", "steps.jsonl", "steps")
_ARCHIVES: Final = (".tar.gz", ".tgz", ".tar", ".zip")
_NOT_EPISODES: Final = frozenset({"report.json", "manifest.json", "metadata.json"})


@dataclass(frozen=True, slots=True)
class EpisodeEntry:
    """One episode that was judged valid.

    Attributes:
        episode_id: From its metadata; ``sha256-`` and 16 digits of the hash when it has none.
        sha256: Of its report: the object's, or the folder's list of files.
        path: Where it is.
        steps: How many it has, the last one included.
        robot_model: From its metadata, or None.
        licence: ``share.license`` of its metadata; empty when it states none.
        origin: ``provenance.origin`` of its metadata; empty when it states none.
    """

    episode_id: str
    sha256: str
    path: Path
    steps: int
    robot_model: str | None
    licence: str
    origin: str


def find_episodes(source: Path) -> Iterator[Path]:
    """Yield the episodes at or below ``source``, sorted by name.

    A file is an episode. A folder is one when it holds metadata or steps; otherwise what lies in it
    is looked at, which includes what ``continuon episode download`` wrote.

    Raises:
        DatasetError: There is nothing at ``source``, or it cannot be read.
    """
    if not source.exists():
        raise DatasetError(f"{source} does not exist", code="dataset.missing")
    try:
        yield from _below(source, MAX_SEARCH_DEPTH) if source.is_dir() else [source]
    except OSError as error:
        message = f"cannot read {source}: {error.strerror or error}"
        raise DatasetError(message, code="dataset.unreadable") from error


def _below(folder: Path, depth: int) -> Iterator[Path]:
    if any((folder / mark).exists() for mark in _MARKS):
        yield folder
        return
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name = entry.name.lower()
        if name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            if depth:
                yield from _below(Path(entry.path), depth - 1)
        elif name.endswith(_ARCHIVES) or (name.endswith(".json") and name not in _NOT_EPISODES):
            yield Path(entry.path)


def named_catalogue(folders: Mapping[str, Path]) -> tuple[EpisodeEntry, ...]:
    """Judge the one episode in each folder and return them under the given ids, sorted.

    A recording may name itself otherwise, or not at all: the cloud's id is the one that counts.

    Raises:
        DatasetError: As `catalogue`; also when a folder holds none or several.
    """
    entries = []
    for episode_id in sorted(folders):
        paths = list(find_episodes(folders[episode_id]))
        if len(paths) != 1:
            message = f"{folders[episode_id]} holds {len(paths)} episodes instead of one"
            raise DatasetError(message, code="dataset.missing")
        entries.append(replace(_judge(paths[0]), episode_id=episode_id))
    if not entries:
        raise DatasetError("there is no episode", code="dataset.empty")
    return tuple(entries)


def catalogue(sources: Iterable[Path]) -> tuple[EpisodeEntry, ...]:
    """Judge every episode at or below ``sources`` and return them sorted by id.

    The same episode found twice counts once.

    Raises:
        DatasetError: One is invalid or may not be used for training, two different ones have the
            same id, or there is none.
    """
    entries: dict[str, EpisodeEntry] = {}
    for source in sources:
        for path in find_episodes(source):
            entry = _judge(path)
            known = entries.setdefault(entry.episode_id, entry)
            if known.sha256 != entry.sha256:
                raise DatasetError(
                    f"{known.path} and {path} are different episodes with the id "
                    f"{entry.episode_id!r}",
                    code="dataset.duplicate_episode",
                )
    if not entries:
        raise DatasetError("there is no episode at the given paths", code="dataset.empty")
    return tuple(entries[episode_id] for episode_id in sorted(entries))


def _judge(path: Path) -> EpisodeEntry:
    try:
        report = validate_path(path)
    except SourceError as error:
        raise DatasetError(str(error), code="dataset.unreadable") from error
    _admit(path, report)
    metadata = report.metadata or {}
    sha256 = report.sha256 or ""
    return EpisodeEntry(
        episode_id=report.episode_id or f"sha256-{sha256[:16]}",
        sha256=sha256,
        path=path,
        steps=report.counts.steps,
        robot_model=_text(metadata, "robot_model") or None,
        licence=_text(metadata.get("share"), "license"),
        origin=_text(metadata.get("provenance"), "origin"),
    )


def _admit(path: Path, report: Report) -> None:
    if report.verdict != "valid":
        first = report.problems[0]
        raise DatasetError(
            f"{path} is not a valid episode: {first.code}: {first.message}",
            code="dataset.episode_invalid",
            hint=f"continuon episode validate {path} lists every problem.",
        )
    if not report.eligibility.training_eligible:
        reasons = ", ".join(report.eligibility.reasons)
        raise DatasetError(
            f"{path} may not be used for training: {reasons}", code="dataset.not_eligible"
        )


def _text(value: Any, name: str) -> str:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""
