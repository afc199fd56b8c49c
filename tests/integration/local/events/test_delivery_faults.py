"""At least once, whatever happens on the way: retries, repeats, kills and restarts."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import httpx
from google.cloud.storage import Client

from cloud_project import CloudProject, anonymous, wait_until
from conftest import LocalCloudProcess, run_local_cloud

if TYPE_CHECKING:
    from pathlib import Path

FAST = ("--retry-base", "0.05")


def upload(cloud: LocalCloudProcess, *names: str) -> None:
    client = Client(
        project="demo-continuon",
        credentials=anonymous(),
        client_options={"api_endpoint": cloud.env["STORAGE_EMULATOR_HOST"]},
    )
    for name in names:
        client.bucket("continuon-rlds").blob(name).upload_from_string("x")


def deliveries(cloud: LocalCloudProcess) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = httpx.get(cloud.urls["hub"] + "/deliveries").json()["deliveries"]
    # A moved clock may cross a time of the scheduled function.
    return [row for row in rows if row["function"] == "on_object"]


def all_acknowledged(cloud: LocalCloudProcess, count: int) -> bool:
    states = [row["state"] for row in deliveries(cloud)]
    return states == ["acknowledged"] * count


def set_faults(cloud: LocalCloudProcess, *rules: dict[str, Any]) -> None:
    plan = {"seed": 1, "rules": list(rules)}
    httpx.post(cloud.urls["hub"] + "/faults", json=plan).raise_for_status()


def test_a_failing_function_is_called_again_until_it_succeeds(tmp_path: Path) -> None:
    project = CloudProject(tmp_path, FAILURES="2")
    with run_local_cloud(project.root, *FAST) as cloud:
        upload(cloud, "one")
        wait_until(lambda: all_acknowledged(cloud, 1))
        row = deliveries(cloud)[0]
    calls = project.calls("on_object")
    assert row["attempts"] == 3
    assert len({call["attributes"]["id"] for call in calls}) == 1
    assert len(calls) == 3


def test_faults_duplicate_drop_and_kill_lose_no_event(tmp_path: Path) -> None:
    project = CloudProject(tmp_path)
    with run_local_cloud(project.root, *FAST) as cloud:
        set_faults(cloud, {"kind": "duplicate", "copies": 5, "times": 1})
        upload(cloud, "copied")
        wait_until(lambda: all_acknowledged(cloud, 1))
        assert len(project.wait_for_calls("on_object", 5)) == 5

        set_faults(cloud, {"kind": "drop", "times": 1})
        upload(cloud, "dropped")
        wait_until(lambda: all_acknowledged(cloud, 2))
        assert deliveries(cloud)[0]["attempts"] == 2

        set_faults(
            cloud,
            {"kind": "kill", "times": 1},
            {"kind": "reorder", "spread_ms": 200},
        )
        upload(cloud, *[f"n{index}" for index in range(6)])
        wait_until(lambda: all_acknowledged(cloud, 8))
    pids = {call["pid"] for call in project.calls("on_object")}
    assert len(pids) == 2


def test_undelivered_events_survive_a_kill_of_the_whole_local_cloud(tmp_path: Path) -> None:
    project = CloudProject(tmp_path / "project", FAILURES="1")
    data_dir = tmp_path / "data"
    options = ("--data-dir", str(data_dir))
    with run_local_cloud(project.root, *options, "--retry-base", "60") as cloud:
        upload(cloud, "patient")
        project.wait_for_calls("on_object", 1)
        wait_until(lambda: deliveries(cloud)[0]["last_status"] == 500)
        function_pid = project.calls("on_object")[0]["pid"]
        os.kill(cloud.pid, signal.SIGKILL)
        # The function's process must not outlive the host, however the host died.
        wait_until(lambda: not alive(function_pid))
    assert json.loads((data_dir / "running.json").read_text())["pid"] == cloud.pid
    with run_local_cloud(project.root, *options, *FAST) as cloud:
        assert deliveries(cloud)[0]["state"] == "pending"
        httpx.post(cloud.urls["hub"] + "/clock/advance", json={"seconds": 120}).raise_for_status()
        wait_until(lambda: all_acknowledged(cloud, 1))
    assert len(project.calls("on_object")) == 2


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123 - procfs
        return file.read().rpartition(")")[2].split()[0] != "Z"
