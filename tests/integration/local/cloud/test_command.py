"""The ``continuon-local`` command: one cloud per folder and port, statuses that mean something."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cloud_project import CloudProject, wait_until
from conftest import LocalCloudProcess, run_local_cloud
from continuon_local.settings import DEFAULT_PORTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT_S = 60


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - the command under test
        [sys.executable, "-m", "continuon_local.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> CloudProject:
    return CloudProject(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def data_dir(project: CloudProject) -> Path:
    return project.root / ".continuon"


@pytest.fixture(scope="module")
def cloud(project: CloudProject, data_dir: Path) -> Iterator[LocalCloudProcess]:
    with run_local_cloud(project.root, "--data-dir", str(data_dir)) as running:
        yield running


def test_a_second_cloud_on_one_data_folder_is_refused(
    cloud: LocalCloudProcess, project: CloudProject, data_dir: Path
) -> None:
    refused = command("up", "--root", str(project.root), "--ports", "auto")
    assert refused.returncode == 1
    assert refused.stderr == (
        f"another local cloud uses {data_dir}; stop it, or choose another folder with --data-dir\n"
    )
    assert httpx.get(cloud.urls["hub"] + "/health").json()["status"] == "ok"


@pytest.mark.parametrize("service", ["firestore", "hosting"])
def test_a_taken_port_is_refused_by_service_and_number(project: CloudProject, service: str) -> None:
    base = free_port_range(len(DEFAULT_PORTS))
    port = base + list(DEFAULT_PORTS).index(service)
    with socket.create_server(("127.0.0.1", port)):
        refused = command(
            "exec", "--root", str(project.root), "--port-base", str(base), "--", "true"
        )
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"{service}: port {port} is taken; free it, or choose others")
    assert "Traceback" not in refused.stderr


def free_port_range(count: int) -> int:
    for base in range(23000, 60000, 101):
        try:
            for port in range(base, base + count):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")


def test_exec_gives_the_command_the_environment_and_ends_with_its_status(
    project: CloudProject,
) -> None:
    script = "import json, os, sys; print(json.dumps(dict(os.environ))); sys.exit(7)"
    done = command("exec", "--root", str(project.root), "--", sys.executable, "-c", script)
    assert (done.returncode, done.stderr) == (7, "")
    environment = json.loads(done.stdout)
    assert environment["GOOGLE_CLOUD_PROJECT"] == "demo-continuon"
    assert environment["STORAGE_EMULATOR_HOST"].startswith("http://127.0.0.1:")
    assert environment["CONTINUON_URL"].startswith("http://127.0.0.1:")
    assert environment["GOOGLE_APPLICATION_CREDENTIALS"].endswith(".json")


def test_exec_reports_a_signal_as_a_shell_does(project: CloudProject) -> None:
    killed = command("exec", "--root", str(project.root), "--", "sh", "-c", "kill -9 $$")
    assert killed.returncode == 128 + signal.SIGKILL


@pytest.mark.usefixtures("cloud")
def test_env_prints_what_a_shell_can_evaluate(project: CloudProject) -> None:
    printed = command("env", "--root", str(project.root))
    assert printed.returncode == 0
    shell = subprocess.run(  # noqa: S603 - what the command printed is the test
        ["/bin/sh", "-c", f"{printed.stdout}\necho $FIRESTORE_EMULATOR_HOST"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shell.stdout.startswith("127.0.0.1:")


def test_the_meter_counts_invocations_by_function(
    cloud: LocalCloudProcess, project: CloudProject
) -> None:
    command("meter", "--root", str(project.root), "--reset")
    for _ in range(3):
        httpx.get(cloud.url + "/api/x", timeout=30)
    printed = command("meter", "--root", str(project.root), "--json")
    meter: dict[str, Any] = json.loads(printed.stdout)
    assert meter["totals"]["functions.invocation"] == 3
    web = meter["by_caller"]["web"]
    assert web["functions.invocation"] == 3
    # Three requests of at least 100 ms each, 256 MiB and one vCPU.
    assert web["functions.mib_ms"] >= 3 * 100 * 256
    assert web["functions.vcpu_us"] >= 3 * 100 * 1000
    assert "functions.invocation" in command("meter", "--root", str(project.root)).stdout


def test_the_meter_prices_projects_and_groups(
    cloud: LocalCloudProcess, project: CloudProject
) -> None:
    root = ("--root", str(project.root))
    command("meter", *root, "--reset")
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    httpx.get(cloud.url + "/api/x", headers=headers, timeout=30)
    projected = json.loads(command("meter", *root, "--json", "--project-monthly", "3000000").stdout)
    invocations = projected["cost"]["operations"]["functions.invocation"]
    assert (invocations["units"], invocations["free_units"]) == (3_000_000, 2_000_000)
    assert invocations["dollars"] == pytest.approx(0.4)
    assert trace in command("meter", *root, "--by", "request").stdout
    assert "USD" in command("meter", *root, "--by", "operation").stdout
    assert "3,000,000 times" in command("meter", *root, "--project-monthly", "3000000").stdout
    assert command("meter", *root, "--by", "moon").returncode == 2
    assert command("meter", *root, "--project-monthly", "0").returncode == 2


@pytest.mark.usefixtures("cloud")
def test_deliveries_and_clock_are_reached_from_the_command_line(project: CloudProject) -> None:
    root = ("--root", str(project.root))
    moved = command("clock", "advance", "600", *root)
    assert "moved by 0:10:00" in moved.stdout
    project.wait_for_calls("tick", 1)
    printed = json.loads(command("deliveries", *root, "--json").stdout)
    assert printed["deliveries"][0]["function"] == "tick"
    assert "tick" in command("deliveries", *root).stdout
    wrong = command("deliveries", *root, "--state", "lost")
    assert (wrong.returncode, wrong.stderr.startswith("state: one of pending")) == (1, True)


@pytest.mark.usefixtures("cloud")
def test_a_wrong_fault_plan_is_refused_and_the_old_one_stays(
    project: CloudProject, tmp_path: Path
) -> None:
    root = ("--root", str(project.root))
    before = command("faults", "show", *root).stdout
    plan = tmp_path / "plan.json"
    plan.write_text('{"rules": [{"kind": "explode"}]}')
    refused = command("faults", "set", str(plan), *root)
    assert (refused.returncode, "$.rules[0].kind" in refused.stderr) == (1, True)
    assert command("faults", "show", *root).stdout == before


def test_options_that_contradict_each_other_are_wrong_usage(tmp_path: Path) -> None:
    refused = command("up", "--ephemeral", "--data-dir", str(tmp_path))
    assert refused.returncode == 2
    assert command("up", "--ports", "some").returncode == 2


def test_asking_without_a_running_cloud_says_how_to_start_one(tmp_path: Path) -> None:
    answer = command("meter", "--root", str(tmp_path))
    assert answer.returncode == 1
    assert answer.stderr.endswith("start one with: continuon-local up\n")


def test_a_wrong_manifest_is_refused_by_file_and_key(tmp_path: Path) -> None:
    project = CloudProject(tmp_path)
    manifest = tmp_path / "functions" / "demo" / "functions.yaml"
    manifest.write_text(manifest.read_text().replace("timeoutSeconds", "timeout"))
    refused = command("up", "--root", str(project.root), "--ephemeral", "--ports", "auto")
    assert refused.returncode == 1
    assert refused.stderr == (
        f"{manifest}: endpoints.web: Object contains unknown field `timeout`\n"
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Host": "evil.example:4400"},
    ],
)
def test_a_web_page_cannot_reach_the_hub(cloud: LocalCloudProcess, headers: dict[str, str]) -> None:
    url = cloud.urls["hub"]
    before = httpx.get(url + "/clock").json()["now"]
    answer = httpx.post(url + "/clock/advance", json={"seconds": 86400}, headers=headers)
    assert answer.status_code == 403
    after = httpx.get(url + "/clock").json()["now"]
    assert after[:10] == before[:10]


def test_the_hub_refuses_what_is_not_json_or_out_of_range(cloud: LocalCloudProcess) -> None:
    url = cloud.urls["hub"] + "/clock/advance"
    assert httpx.post(url, content=b'{"seconds": 1}').status_code == 400
    wrong: list[Any] = [{"seconds": -1}, {"seconds": "1"}, {"seconds": 1e300}, {}, []]
    for document in wrong:
        assert httpx.post(url, json=document).status_code == 400


def test_an_interrupt_stops_everything_within_seconds(project: CloudProject) -> None:
    with run_local_cloud(project.root) as cloud:
        os.kill(cloud.pid, signal.SIGINT)
        process_ended(cloud.pid)
        with pytest.raises(httpx.ConnectError):
            httpx.get(cloud.url)


def process_ended(pid: int) -> None:
    def ended() -> bool:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123 - procfs
            return file.read().rpartition(")")[2].split()[0] == "Z"

    wait_until(ended, timeout_s=10)
