"""Where artifacts live, and how models and versions are named. Pure.

An object never moves: its name is part of what is fixed about a version, and a signed URL or a
robot may hold it. So the folder says how the version came to be, and the alias `production`, not
the folder, says what robots should run.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import Final

from continuon.contracts.models import VersionStage

__all__ = ["default_model_id", "file_name_of", "format_of", "model_ref", "object_name"]

_FOLDERS: Final = {
    VersionStage.SEED: "seed",
    VersionStage.CHECKPOINT: "checkpoints",
    VersionStage.PRODUCTION: "production",
}
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")
_DEFAULT_FILE: Final = "model.bin"
_DEFAULT_FORMAT: Final = "bin"
_MAX_FORMAT: Final = 32
_MAX_FILE_NAME: Final = 128
_OWNER_CHARS: Final = 8
_MAX_ID: Final = 63


def object_name(stage: VersionStage, model_id: str, version: int, file_name: str) -> str:
    """Return the name of a version's artifact: ``models/{folder}/{model_id}/{version}/{file}``."""
    return f"models/{_FOLDERS[stage]}/{model_id}/{version}/{file_name}"


def model_ref(model_id: str, version: int) -> str:
    """Return how other documents name a version, which is also its document's path."""
    return f"models/{model_id}/versions/{version}"


def default_model_id(robot_model: str, owner_id: str) -> str:
    """Return the id of the model that an owner's jobs for a robot model make, when none is named.

    Ids are unique in the cloud, so the owner is part of it, as a digest.
    """
    owner = hashlib.sha256(owner_id.encode()).hexdigest()[:_OWNER_CHARS]
    slug = re.sub(r"[^a-z0-9._-]", "-", robot_model.lower()).lstrip("._-") or "model"
    return f"{slug[: _MAX_ID - _OWNER_CHARS - 1]}-{owner}"


def file_name_of(ref: str) -> str:
    """Return the last part of an object's name, as it may be used for a version's file."""
    name = _UNSAFE.sub("_", PurePosixPath(ref).name).lstrip(".-")
    return name[-_MAX_FILE_NAME:].lstrip(".-") or _DEFAULT_FILE


def format_of(file_name: str) -> str:
    """Return the format that a file's extensions say, such as ``npz`` or ``tar.gz``."""
    name = file_name.lower()
    extension = "tar.gz" if name.endswith(".tar.gz") else PurePosixPath(name).suffix[1:]
    is_format = re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", extension) and len(extension) <= _MAX_FORMAT
    return extension if is_format else _DEFAULT_FORMAT
