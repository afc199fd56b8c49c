"""metrics.jsonl: one row for each evaluation, cut back to the checkpoint when a run is resumed."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Protocol

from behaviour_cloning.errors import TrainerError

if TYPE_CHECKING:
    from pathlib import Path


class MetricsSink(Protocol):
    """Takes the rows of metrics of a run."""

    def cut(self, size: int) -> None:
        """Keep the first ``size`` bytes of what was written; called once, at the start."""

    def append(self, row: dict[str, Any]) -> None:
        """Take one row."""

    def sync(self) -> int:
        """Make the rows durable and return how many bytes they are; a checkpoint holds it."""


class MetricsFile:
    """Appends rows; every method raises TrainerError when the disk refuses."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def cut(self, size: int) -> None:
        """Keep the first ``size`` bytes; what a killed run wrote after its checkpoint goes."""
        try:
            with self._path.open("ab") as file:
                if file.tell() < size:
                    raise TrainerError(
                        f"{self._path} is shorter than the checkpoint says",
                        code="trainer.checkpoint_invalid",
                    )
                file.truncate(size)
        except OSError as error:
            raise self._refused(error) from error

    def append(self, row: dict[str, Any]) -> None:
        """Write one row."""
        try:
            with self._path.open("ab") as file:
                file.write(json.dumps(row).encode() + b"\n")
        except OSError as error:
            raise self._refused(error) from error

    def sync(self) -> int:
        """Make the rows durable and return the length in bytes."""
        try:
            with self._path.open("ab") as file:
                os.fsync(file.fileno())
                return file.tell()
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> TrainerError:
        message = f"cannot write {self._path}: {error.strerror or error}"
        return TrainerError(message, code="trainer.output_unwritable")
