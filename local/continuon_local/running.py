"""How other programs find a running local cloud: ``running.json`` in its data folder."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from continuon_local.errors import LocalCloudError

if TYPE_CHECKING:
    from pathlib import Path

    from continuon_local.environment import Endpoints

__all__ = ["NotRunningError", "description", "read_running", "write_atomically"]


class NotRunningError(LocalCloudError):
    """No local cloud runs on the data folder."""


def description(endpoints: Endpoints, environment: dict[str, str]) -> dict[str, Any]:
    """Return what ``--ready-file`` and ``running.json`` say."""
    return {
        "pid": os.getpid(),
        "project": endpoints.project_id,
        "ports": dict(endpoints.ports),
        "urls": {name: endpoints.url(name) for name in endpoints.ports},
        "env": environment,
    }


def write_atomically(path: Path, document: dict[str, Any]) -> None:
    """Write JSON so that a reader sees all of it or none, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)
    temporary.replace(path)


def read_running(data_dir: Path) -> dict[str, Any]:
    """Return the description of the local cloud that runs on ``data_dir``.

    Raises:
        NotRunningError: There is none, or it ended without removing its file.
    """
    path = data_dir / "running.json"
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        os.kill(int(document["pid"]), 0)
    except (OSError, ValueError, KeyError) as error:
        raise NotRunningError(
            f"no local cloud runs on {data_dir}; start one with: continuon-local up"
        ) from error
    return document
