"""Packing a folder into one archive: the same content gives the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from typing import IO, TYPE_CHECKING, Final

from continuon_cloud.errors import EpisodeSourceError
from continuon_cloud.files import private_folder, sync_folder
from continuon_cloud.queue.faults import FaultPoint, reach
from continuon_cloud.queue.sources import OBJECT_TYPES, Source, hash_file

if TYPE_CHECKING:
    from pathlib import Path

    from continuon_cloud.queue.records import FilePlan

__all__ = ["Spool"]

_LEVEL: Final = 6
_ENDING: Final = ".tar.gz"
_PARTIAL: Final = ".partial"
_OVERHEAD_BYTES: Final = 64 * 1024
"""Headers of an archive with few members; each member adds a kilobyte."""


class Spool:
    """The folder of archives that wait for their upload.

    Attributes:
        limit_bytes: What all of them together may occupy.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self.folder = private_folder(folder)
        self.limit_bytes = limit_bytes

    def used_bytes(self) -> int:
        """Return what the spool occupies now."""
        return sum(entry.stat().st_size for entry in self.folder.iterdir())

    def collect(self, needed: set[str]) -> None:
        """Delete what no item needs: the remains of a crash."""
        for entry in self.folder.iterdir():
            if entry.name not in needed:
                entry.unlink(missing_ok=True)

    def pack(self, source: Source) -> FilePlan:
        """Pack ``source`` and return the archive, which exists only when it is whole.

        Raises:
            EpisodeSourceError: ``spool.full``, ``spool.no_space`` or ``source.changed``.
        """
        target = self.folder / f"{source.digest}{_ENDING}"
        if not target.exists():
            self._refuse_beyond_limit(source)
            self._write(source, target)
        name, content_type = OBJECT_TYPES[_ENDING]
        return hash_file(target, name=name, content_type=content_type)

    def _refuse_beyond_limit(self, source: Source) -> None:
        # The unpacked size bounds the packed one well enough to be known before writing.
        estimate = source.size_bytes + _OVERHEAD_BYTES + 1024 * len(source.files)
        used = self.used_bytes()
        if used + estimate > self.limit_bytes:
            raise EpisodeSourceError(
                f"the upload queue holds {used} bytes and may hold {self.limit_bytes}; this "
                f"episode may need {estimate}",
                code="spool.full",
                hint="Let the queue empty (continuon queue run), raise CONTINUON_SPOOL_BYTES, or "
                "use --as files, which needs no copy.",
            )

    def _write(self, source: Source, target: Path) -> None:
        partial = target.with_name(target.name + _PARTIAL)
        try:
            with partial.open("wb") as file:
                partial.chmod(0o600)
                _write_archive(source, file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise EpisodeSourceError(
                f"the archive cannot be written: {error.strerror or error}", code="spool.no_space"
            ) from error
        except EpisodeSourceError:
            partial.unlink(missing_ok=True)
            raise
        partial.replace(target)
        sync_folder(self.folder)
        reach(FaultPoint.SPOOL_RENAMED)


class _HashingReader:
    """Reads a file for tarfile while hashing what really goes into the archive."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._digest.update(piece)
        return piece

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _write_archive(source: Source, file: IO[bytes]) -> None:
    # No name and no time in the gzip header: they would make equal content differ.
    with (
        gzip.GzipFile(
            filename="", mode="wb", fileobj=file, mtime=0, compresslevel=_LEVEL
        ) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for plan in source.files:
            _add_member(archive, plan)
            reach(FaultPoint.SPOOL_WRITING)


def _add_member(archive: tarfile.TarFile, plan: FilePlan) -> None:
    member = tarfile.TarInfo(plan.path)
    member.size = plan.size_bytes
    member.mode = 0o644
    with plan.source.open("rb") as file:
        reader = _HashingReader(file)
        archive.addfile(member, reader)
    if reader.hexdigest() != plan.sha256:
        raise EpisodeSourceError(
            f"{plan.source} changed while it was packed",
            code="source.changed",
            hint="Add an episode after its recording has ended.",
        )
