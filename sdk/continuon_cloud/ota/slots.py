"""Two slots and a pointer: what runs is never written to.

``current`` is a link to ``slots/a`` or ``slots/b``. A bundle is unpacked beside the slots, made
durable file by file, and gets the idle slot's name in one rename. The pointer changes by a rename
too, so at every moment, and after every power cut, it names one whole slot.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from continuon.ota.bundle import BundleReader
from continuon.ota.errors import BundleError
from continuon.ota.manifest import MANIFEST_FILE, read_manifest
from continuon_cloud.files import private_folder, sync_folder
from continuon_cloud.ota.errors import UpdateError
from continuon_cloud.ota.faults import FaultPoint, reach
from continuon_cloud.ota.records import SLOTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from continuon.ota.manifest import BundleManifest
    from continuon_cloud.ota.records import Installed

__all__ = ["Slots"]

_READ_BYTES: Final = 1024 * 1024
_READ_ONLY: Final = 0o444
_NEW: Final = ".new"
_OLD: Final = ".old"
_LABEL: Final = ".installed.json"
"""Which archive a slot was unpacked from; a bundle's own files do not begin with a dot."""


class Slots:
    """The slots of one robot below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = private_folder(folder)
        self._slots = private_folder(folder / "slots")
        self._pointer = folder / "current"

    def path(self, slot: str) -> Path:
        """Return the folder of ``slot``."""
        return self._slots / slot

    def current(self) -> str | None:
        """Return the slot that the pointer names, or None."""
        try:
            name = self._pointer.readlink().name
        except OSError:
            return None
        return name if name in SLOTS else None

    def point_to(self, slot: str | None) -> None:
        """Let ``current`` name ``slot``; None takes it away."""
        if self.current() == slot:
            return
        if slot is None:
            self._pointer.unlink(missing_ok=True)
        else:
            temporary = self._folder / ".current.new"
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(os.path.join("slots", slot))  # noqa: PTH118 - a link's text
            reach(FaultPoint.CURRENT_WRITTEN)
            temporary.replace(self._pointer)
        sync_folder(self._folder)
        reach(FaultPoint.CURRENT_REPLACED)

    def clean(self) -> None:
        """Remove what an interrupted unpacking left."""
        for entry in self._slots.iterdir():
            if entry.name not in SLOTS:
                _remove(entry)

    def unpack(
        self, one: Installed, archive: Path, accept: Callable[[BundleManifest], None]
    ) -> None:
        """Put the bundle ``archive`` into its slot, which must not be the running one.

        Args:
            one: The slot, and what will be in it.
            archive: The whole, verified file.
            accept: Raises when the manifest is not acceptable; asked before anything is written.

        Raises:
            UpdateError: The slot runs, or the archive is not what its manifest says.
            OSError: The disk is full or fails; the slot is then empty or as it was.
        """
        self._refuse_running(one.slot)
        new = self._slots / (one.slot + _NEW)
        _remove(new)
        private_folder(new)
        try:
            _unpack(archive, new, accept)
            _write(new / _LABEL, iter([json.dumps(asdict(one)).encode()]))
            _sync_folders(new)
        except BundleError as error:
            _remove(new)
            raise UpdateError(str(error), code=error.code) from error
        except (OSError, UpdateError):
            _remove(new)
            raise
        reach(FaultPoint.SLOT_WRITTEN)
        self._clear(one.slot)
        new.rename(self.path(one.slot))
        sync_folder(self._slots)
        reach(FaultPoint.SLOT_RENAMED)

    def holds(self, slot: str, sha256: str) -> bool:
        """Tell whether ``slot`` holds, whole, the bundle of the archive with this hash."""
        try:
            label = json.loads((self.path(slot) / _LABEL).read_bytes())
            if not isinstance(label, dict) or label.get("sha256") != sha256:
                return False
            self.verify(slot)
        except (OSError, ValueError, UpdateError):
            return False
        return True

    def verify(self, slot: str) -> BundleManifest:
        """Read every file of ``slot`` and compare it with the slot's manifest.

        Raises:
            UpdateError: A file is missing or changed.
        """
        folder = self.path(slot)
        try:
            manifest = read_manifest((folder / MANIFEST_FILE).read_bytes())
            for file in manifest.files:
                with (folder / file.path).open("rb") as content:
                    if hashlib.file_digest(content, "sha256").hexdigest() != file.sha256:
                        raise UpdateError(f"{file.path} changed on disk", code="ota.slot_damaged")
        except (OSError, BundleError) as error:
            raise UpdateError(
                f"slot {slot} is damaged: {error}", code="ota.slot_damaged"
            ) from error
        return manifest

    def drop(self, slot: str) -> None:
        """Empty ``slot``, which must not be the running one, to make room.

        Raises:
            UpdateError: The slot runs.
        """
        self._refuse_running(slot)
        self._clear(slot)

    def _refuse_running(self, slot: str) -> None:
        if slot == self.current():
            raise UpdateError(f"slot {slot} runs", code="ota.slot_runs")

    def _clear(self, slot: str) -> None:
        """Take the slot's name away first: half a removed bundle must not look like one."""
        reach(FaultPoint.SLOT_CLEARING)
        old = self._slots / (slot + _OLD)
        _remove(old)
        if self.path(slot).exists():
            self.path(slot).rename(old)
            sync_folder(self._slots)
            _remove(old)
        reach(FaultPoint.SLOT_CLEARED)


def _unpack(archive: Path, folder: Path, accept: Callable[[BundleManifest], None]) -> None:
    reader = BundleReader(_chunks(archive))
    accept(reader.manifest)
    _write(folder / MANIFEST_FILE, iter([reader.manifest.to_bytes()]))
    for member in reader.members():
        # The manifest's rules let no path climb, and nothing in the new folder is a link.
        target = folder.joinpath(*member.file.path.split("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target, member.chunks)


def _sync_folders(folder: Path) -> None:
    for inner, _, _ in os.walk(folder):
        sync_folder(folder.joinpath(inner))


def _chunks(archive: Path) -> Iterator[bytes]:
    with archive.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            yield piece


def _write(path: Path, chunks: Iterator[bytes]) -> None:
    reach(FaultPoint.FILE_WRITING)
    with path.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(_READ_ONLY)
    reach(FaultPoint.FILE_SYNCED)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
