"""A repository, a mirror in front of it, and a robot behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ota_mirror import Mirror, running_mirror
from ota_robot import TestRobot
from ota_trust import TrustBench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: a process that is killed loses nothing that the kernel has."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once: how long a robot waits is judged in tests/unit/sdk."""
    monkeypatch.setattr("continuon_cloud.ota.download.backoff_s", lambda _: 0.0)


@pytest.fixture
def bench() -> TrustBench:
    return TrustBench()


@pytest.fixture
def mirror(bench: TrustBench) -> Iterator[Mirror]:
    with running_mirror(bench) as running:
        yield running


@pytest.fixture
def robot(bench: TrustBench, mirror: Mirror, tmp_path: Path) -> TestRobot:
    """A robot with the root pinned and nothing installed."""
    return TestRobot(mirror.url, tmp_path, bench.now).pin(bench.initial_root)


@pytest.fixture
def running(bench: TrustBench, mirror: Mirror, robot: TestRobot) -> TestRobot:
    """A robot that runs 1.0.0, with 1.1.0 published and on offer."""
    bench.release("1.0.0")
    mirror.offer = "1.0.0"
    assert robot.round().outcome == "installed"
    bench.release("1.1.0")
    mirror.offer = "1.1.0"
    mirror.reports.clear()
    mirror.requests.clear()
    return robot
