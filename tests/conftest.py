"""Fixtures for every tier. Tiers are folders; each folder's conftest enforces its own rule."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

os.environ.setdefault("GOOGLE_CLOUD_PROJECT", "demo-continuon")


@contextmanager
def local_services(*names: str, data_dir: Path | None = None) -> Iterator[dict[str, int]]:
    """Run services of the local cloud in a process of their own; yield their ports by name."""
    command = [sys.executable, "-m", "continuon_local.serve", *names]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"{names} did not start: exit status {process.wait(10)}"
        yield json.loads(line)["ports"]
    finally:
        process.terminate()
        process.wait(15)
        if process.stdout is not None:
            process.stdout.close()
