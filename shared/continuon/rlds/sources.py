"""Local folders and files as byte streams: the only module here that touches the disk."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from continuon.limits import DEFAULT_LIMITS, Limits
from continuon.rlds.api import validate_members, validate_stream
from continuon.rlds.episode import EpisodeMember
from continuon.rlds.errors import SourceError
from continuon.rlds.packaging import SNIFF_BYTES, detect_packaging

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from continuon.rlds.report import Report

READ_BYTES: Final = 256 * 1024


def validate_path(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> Report:
    """Validate a folder, an archive or a document on this machine.

    Args:
        path: The folder or file.
        limits: What is accepted.

    Returns:
        The report, the same that the cloud would give.

    Raises:
        SourceError: There is no readable file or folder at `path`.
    """
    try:
        if path.is_dir():
            return validate_members(folder_members(path), limits=limits)
        with path.open("rb") as file:
            first = file.read(SNIFF_BYTES)
        packaging = detect_packaging(first, path.name)
        return validate_stream(read_file(path), packaging=packaging, limits=limits)
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error


def folder_members(folder: Path) -> Iterator[EpisodeMember]:
    """Yield the files of a folder in the order of their names, metadata and steps first.

    A link or device is yielded as an empty member, which then fails as such: its target is never
    opened.
    """
    names = sorted(_walk(folder, ""), key=lambda name: (name.startswith("blobs/"), name))
    for name in names:
        path = folder / name
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            yield EpisodeMember(name, status.st_size, read_file(path))
        else:
            yield EpisodeMember(f"{name}/", 0, ())


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    with os.scandir(folder / prefix) as entries:
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder, f"{name}/")
            else:
                yield name


def read_file(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, without following a link in its last part."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
    with os.fdopen(handle, "rb", buffering=0) as file:
        while chunk := file.read(READ_BYTES):
            yield chunk
