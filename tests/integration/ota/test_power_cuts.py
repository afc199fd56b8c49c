"""The power goes, or the disk is full, at every write of an update.

The agent runs in a process of its own and is killed at the first point, the second, and so on until
an update passes without reaching the next. After each cut the robot finds a whole bundle that has
proven itself, and its next round ends with the new one, of which the cloud knows.
"""

from __future__ import annotations

import shutil
import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from continuon_cloud.ota import faults
from continuon_cloud.ota.recovery import recover
from continuon_cloud.ota.slots import Slots
from continuon_cloud.ota.state import AgentState
from ota_robot import round_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ota_mirror import Mirror
    from ota_robot import TestRobot

pytestmark = pytest.mark.timeout(600)
KILLED = -9
MOST_POINTS = 200


def recovered(robot: TestRobot) -> str | None:
    """Do what a robot does at boot; return the version that has proven itself."""
    with closing(AgentState(robot.folder / "agent.db")) as state:
        found = recover(state, Slots(robot.folder))
    return found.version if found else None


def copies(robot: TestRobot, folder: Path) -> Iterator[tuple[int, TestRobot]]:
    """Yield fresh copies of ``robot`` with a number, without end."""
    for number in range(1, MOST_POINTS):
        home = folder / f"robot-{number}"
        shutil.copytree(robot.home, home, symlinks=True)
        yield number, replace(robot, home=home)
        shutil.rmtree(home)
    raise AssertionError("an update never ended")


def test_power_cut_at_every_write_of_an_update(
    running: TestRobot, mirror: Mirror, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cuts = 0
    for number, robot in copies(running, tmp_path_factory.mktemp("copies")):
        mirror.reports.clear()
        if (code := round_until(robot, f"ota.*:{number}")) == 0:
            break
        assert code == KILLED
        cuts += 1
        # Whatever a program finds through `current` now is one whole bundle.
        assert robot.running() in {"1.0.0", "1.1.0"}
        version = recovered(robot)
        assert version in {"1.0.0", "1.1.0"}
        assert robot.running() == version
        assert robot.round().outcome in {"installed", "up_to_date"}
        assert robot.running() == "1.1.0"
        assert (mirror.reports[-1]["phase"], mirror.reports[-1]["version"]) == ("healthy", "1.1.0")
    assert cuts > 25, "the fault hooks are gone"


def test_power_cut_at_every_write_of_the_first_installation(
    robot: TestRobot, running: TestRobot, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = (running.folder / "root.json").read_bytes()
    blank = replace(robot, home=tmp_path_factory.mktemp("blank")).pin(root)
    for number, one in copies(blank, tmp_path_factory.mktemp("copies")):
        # Every third: the way is the same as above, only with nothing to go back to.
        if round_until(one, f"ota.*:{number * 3}") == 0:
            break
        assert recovered(one) in {None, "1.1.0"}
        assert one.running() in {None, "1.1.0"}
        assert one.round().outcome in {"installed", "up_to_date"}
        assert one.running() == "1.1.0"


def test_power_cut_during_the_recovery_itself(running: TestRobot) -> None:
    assert round_until(running, "ota.health_started") == KILLED
    assert running.running() == "1.1.0"
    assert round_until(running, "ota.current_written") == KILLED
    assert round_until(running, "ota.current_replaced") == KILLED
    assert recovered(running) == "1.0.0"
    assert running.running() == "1.0.0"


def test_a_robot_whose_agent_died_follows_back(running: TestRobot, tmp_path: Path) -> None:
    log, script = tmp_path / "log", tmp_path / "activate.py"
    script.write_text(
        f"import os\nwith open({str(log)!r}, 'a') as log:\n"
        "    log.write(os.environ['CONTINUON_BUNDLE_VERSION'] + '\\n')\n"
    )
    robot = replace(running, activate=f"{sys.executable} -S {script}")
    assert round_until(robot, "ota.health_started") == KILLED
    assert robot.round().outcome == "installed"
    assert log.read_text().split() == ["1.1.0", "1.0.0", "1.1.0"]


def test_a_bundle_that_takes_the_robot_down_three_times_is_reported(
    running: TestRobot, mirror: Mirror
) -> None:
    for _ in range(3):
        assert round_until(running, "ota.health_started") == KILLED
        assert recovered(running) == "1.0.0"
    mirror.offer = None
    running.round()
    assert mirror.error_codes() == ["ota.interrupted"]
    assert mirror.phases()[-1] == "failed"


@pytest.mark.parametrize("known", ["ota.health_started", "ota.health_known"])
def test_power_cut_during_a_trial_costs_no_second_download(
    running: TestRobot, mirror: Mirror, known: str
) -> None:
    assert round_until(running, known) == KILLED
    mirror.requests.clear()
    assert running.round().outcome == "installed"
    assert mirror.fetched("/bundles") == []


def test_disk_full_at_every_write_of_an_update(
    running: TestRobot,
    mirror: Mirror,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed = 0
    for number, robot in copies(running, tmp_path_factory.mktemp("copies")):
        mirror.reports.clear()
        monkeypatch.setattr(faults, "_seen", {})
        monkeypatch.setenv("CONTINUON_FAULT", f"ota.*:{number}:full")
        done = robot.round()
        reached = faults._seen.get("ota.*", 0) >= number
        monkeypatch.delenv("CONTINUON_FAULT")
        # Never the new one without its health check, never half a bundle.
        assert robot.running() == done.version
        assert done.version in {"1.0.0", "1.1.0"}
        if not reached:
            break
        passed += 1
        assert robot.round().outcome in {"installed", "up_to_date"}
        assert robot.running() == "1.1.0"
        assert mirror.reports[-1]["phase"] == "healthy"
    assert passed > 25
