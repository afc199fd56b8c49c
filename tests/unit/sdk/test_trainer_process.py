"""A trainer as the worker's child: what it is given, and that it never outlives its worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from continuon.contracts.training import LeaseResponse
from continuon_cloud.training import guard
from continuon_cloud.training.process import TrainerProcess, trainer_environment

if TYPE_CHECKING:
    from collections.abc import Callable

LEASE = LeaseResponse(
    job_id="job_00000000000000000000",
    attempt=3,
    token="job-token-0123456789",
    heartbeat_s=15,
    lease_expires_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def environment(folder: Path, **given: str) -> dict[str, str]:
    return trainer_environment(
        LEASE,
        api_url="https://cloud.example.com",
        folder=folder,
        cache=folder / "episodes",
        passed=("HF_HOME",),
        environment=given,
    )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_a_trainer_gets_the_contract_and_nothing_of_the_person(tmp_path: Path) -> None:
    given = environment(
        tmp_path,
        PATH="/bin",
        CUDA_VISIBLE_DEVICES="0",
        HF_HOME="/models",
        HOME="/home/me",
        CONTINUON_HOME="/home/me/.config/continuon",
        CONTINUON_URL="https://cloud.example.com",
        GOOGLE_APPLICATION_CREDENTIALS="/key.json",
        AWS_SECRET_ACCESS_KEY="x",
        SSH_AUTH_SOCK="/agent",
        GITHUB_TOKEN="y",
    )

    ours = {name: value for name, value in given.items() if name.startswith("CONTINUON_")}
    assert ours == {
        "CONTINUON_TRAINER_CONTRACT": "1",
        "CONTINUON_API_URL": "https://cloud.example.com",
        "CONTINUON_JOB_ID": LEASE.job_id,
        "CONTINUON_JOB_ATTEMPT": "3",
        "CONTINUON_JOB_TOKEN": LEASE.token,
        "CONTINUON_WORK_DIR": str(tmp_path),
        "CONTINUON_CACHE_DIR": str(tmp_path / "episodes"),
    }
    rest = {name for name in given if not name.startswith("CONTINUON_")}
    assert rest == {"PATH", "CUDA_VISIBLE_DEVICES", "HF_HOME", "HOME", "PYTHONUSERBASE"}
    assert given["HOME"] == str(tmp_path)


async def start(folder: Path, *command: str, lines: list[str] | None = None) -> TrainerProcess:
    said = [] if lines is None else lines
    return await TrainerProcess.start(
        command,
        environment=environment(folder, PATH=os.environ["PATH"]),
        folder=folder,
        on_line=said.append,
    )


async def test_its_output_is_passed_on_by_lines_without_its_token(tmp_path: Path) -> None:
    lines: list[str] = []
    code = "import os; print('token', os.environ['CONTINUON_JOB_TOKEN']); print('no end', end='')"
    trainer = await start(tmp_path, sys.executable, "-c", code, lines=lines)

    assert await trainer.wait() == 0
    assert lines == ["token [secret]", "no end"]
    assert trainer.tail == "token [secret]\nno end"


async def test_exit_status_and_signals_are_told_apart(tmp_path: Path) -> None:
    seven = await start(tmp_path, sys.executable, "-c", "raise SystemExit(7)")
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    killed = await start(tmp_path, sys.executable, "-c", code)
    missing = await start(tmp_path, "/no/such/trainer")

    assert [await one.wait() for one in (seven, killed, missing)] == [7, 128 + 9, 127]
    assert "cannot start /no/such/trainer" in missing.tail


async def test_one_that_ignores_sigterm_is_killed_with_all_it_started(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open('pid', 'w').write(str(child.pid) + '\\n')\n"
        "time.sleep(600)\n"
    )
    trainer = await start(tmp_path, sys.executable, "-c", code)
    path = tmp_path / "pid"
    wait_for(lambda: path.exists() and path.read_text().endswith("\n"))

    status = await trainer.end(grace_s=0.2)

    assert status == 128 + 9
    wait_for(lambda: not is_alive(int(path.read_text())))


async def test_one_that_listens_ends_by_itself(tmp_path: Path) -> None:
    code = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "pathlib.Path('ready').touch()\n"
        "time.sleep(600)\n"
    )
    trainer = await start(tmp_path, sys.executable, "-c", code)
    wait_for((tmp_path / "ready").exists)

    assert await trainer.end(grace_s=60) == 143


def test_a_trainer_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    trainer = "import os, time\nopen('pid', 'w').write(str(os.getpid()) + '\\n')\ntime.sleep(600)\n"
    parent = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, {guard.__file__!r}, sys.executable, '-c',\n"
        f"    {trainer!r}], stdin=subprocess.PIPE, start_new_session=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path) as process:  # noqa: S603
        path = tmp_path / "pid"
        wait_for(lambda: path.exists() and path.read_text().endswith("\n"))
        pid = int(path.read_text())
        assert is_alive(pid)
        process.send_signal(signal.SIGKILL)

    wait_for(lambda: not is_alive(pid))
