"""Files that are whole or absent, whatever dies when."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from behaviour_cloning.errors import TrainerError
from continuon_cloud.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, make it durable, then give it its name.

    Raises:
        TrainerError: The disk refuses.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}"
        raise TrainerError(message, code="trainer.output_unwritable") from error


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays as an uncompressed npz: the same arrays give the same bytes."""
    buffer = io.BytesIO()
    # mypy takes the names for numpy's own keyword.
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
