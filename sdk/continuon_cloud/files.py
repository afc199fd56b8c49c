"""Small files that must survive a power cut and stay private."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from typing import TYPE_CHECKING

from continuon_cloud.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["private_folder", "read_private", "replace_private", "sync_folder", "write_new_private"]

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable: a rename is not, until its folder is synced."""
    if os.name == "nt":  # pragma: no cover - Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_folder(folder: Path) -> Path:
    """Make ``folder`` (and its parents) for its owner only, and return it.

    Raises:
        SettingsError: It cannot be made, or is no folder.
    """
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) & _OTHERS:
            folder.chmod(_FOLDER_MODE)
    except OSError as error:
        raise SettingsError(
            f"{folder} cannot be used: {error.strerror}",
            hint="Set CONTINUON_HOME to a folder that you own.",
        ) from error
    return folder


def write_new_private(path: Path, content: bytes) -> None:
    """Create ``path`` with owner-only permissions and make it durable.

    The content is complete or the name does not exist: a crash leaves at most a temporary file.

    Raises:
        FileExistsError: The name is taken; nothing was changed.
    """
    temporary = _write_temporary(path, content)
    try:
        # link() refuses an existing name, rename() would replace it.
        os.link(temporary, path)
    finally:
        temporary.unlink()
    sync_folder(path.parent)


def replace_private(path: Path, content: bytes) -> None:
    """Write or replace ``path`` in one step, with owner-only permissions, and make it durable."""
    temporary = _write_temporary(path, content)
    temporary.replace(path)
    sync_folder(path.parent)


def read_private(path: Path) -> bytes:
    """Read a file that holds a secret.

    Raises:
        FileNotFoundError: It does not exist.
        SettingsError: Other accounts of this machine can read or change it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise SettingsError(
            f"{path} is a link; a secret has to be a file", code="identity.permissions"
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        # The open file is asked, not its name: the name may change in between.
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if os.name != "nt" and mode & _OTHERS:
            raise SettingsError(
                f"{path} can be read or changed by other accounts (mode {mode:04o})",
                code="identity.permissions",
                hint=f"If nobody else read it: chmod 600 {path}. Otherwise make a new key.",
            )
        return file.read()


def _write_temporary(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary
