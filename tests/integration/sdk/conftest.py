from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from conftest import local_services
from continuon.auth.keys import public_jwk
from continuon_cloud.identity import RobotHome
from continuon_cloud.settings import Settings
from sdk_bench import ROBOT, StageHandle

if TYPE_CHECKING:
    from collections.abc import Iterator

STAGE = Path(__file__).with_name("stage.py")


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("cloud")
    with local_services("storage", data_dir=folder) as ports:
        yield f"http://127.0.0.1:{ports['storage']}", folder / "service-account.json"


@pytest.fixture(scope="session")
def running_stage(
    storage: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StageHandle]:
    origin, key_file = storage
    _make_bucket(origin)
    folder = tmp_path_factory.mktemp("stage")
    robot = RobotHome(folder).create(ROBOT)
    journal = folder / "journal.jsonl"
    config = {
        "storage": origin,
        "key_file": str(key_file),
        "journal": str(journal),
        "jwk": public_jwk(robot.key.public_key()),
        "robot_id": robot.robot_id,
    }
    process = subprocess.Popen(
        [sys.executable, str(STAGE), json.dumps(config)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, "the stage did not start"
        yield StageHandle(url, journal, origin, Settings(base_url=url, home=folder))
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def stage(running_stage: StageHandle, tmp_path: Path) -> StageHandle:
    """An empty store, an empty journal, and a home with the robot's key and no queue."""
    running_stage.empty()
    home = tmp_path / "home"
    shutil.copytree(running_stage.settings.home / "robots", home / "robots")
    return running_stage.in_home(home)


def _make_bucket(origin: str) -> None:
    with httpx.Client(base_url=origin, timeout=10) as http:
        created = http.post("/storage/v1/b?project=demo-continuon", json={"name": "stage"})
        created.raise_for_status()
