"""Trainers as processes of this machine, on good days and bad ones."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from continuon_training.executors import executor
from continuon_training.executors._directory import WorkDirectory
from continuon_training.executors.base import (
    ExecutorRefusedError,
    Resources,
    Submitted,
    WorkState,
)
from continuon_training.executors.subprocess import KEEP_S, SubprocessExecutor
from integration.executors.works import eventually, output, over, python_work, until

FOR_EVER = "import time; print('up', flush=True); time.sleep(3600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + FOR_EVER


@pytest.fixture
def back_end(tmp_path: Path) -> SubprocessExecutor:
    return SubprocessExecutor(tmp_path / "state", slots=8, grace_s=0.5)


def directory(back_end: SubprocessExecutor, name: str) -> Path:
    return back_end._directory(name).path


def pid_of(back_end: SubprocessExecutor, name: str, who: str) -> int:
    document = json.loads((directory(back_end, name) / who).read_text())
    return int(document["pid"])


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


# --- Good days --------------------------------------------------------------------------------


async def test_a_trainer_that_ends_well_succeeded(back_end: SubprocessExecutor) -> None:
    work = python_work("print('hello')")
    assert await back_end.submit(work) == Submitted(work.name, created=True)
    status = await over(back_end, work.name)
    assert (status.state, status.exit_code) == (WorkState.SUCCEEDED, 0)
    assert await output(back_end, work.name) == "hello\n"


@pytest.mark.parametrize(
    ("script", "exit_code", "says"),
    [
        ("raise SystemExit(3)", 3, None),
        ("import os; os.kill(os.getpid(), 9)", -9, "It was ended by SIGKILL."),
    ],
)
async def test_a_trainer_that_ends_badly_failed_and_says_how(
    back_end: SubprocessExecutor, script: str, exit_code: int, says: str | None
) -> None:
    work = python_work(script)
    await back_end.submit(work)
    status = await over(back_end, work.name)
    assert (status.state, status.exit_code) == (WorkState.FAILED, exit_code)
    assert status.message == says


async def test_a_command_that_is_not_there_is_named_in_the_log(
    back_end: SubprocessExecutor,
) -> None:
    work = python_work("", command=("no-such-trainer",))
    await back_end.submit(work)
    assert (await over(back_end, work.name)).exit_code == 127
    assert "no-such-trainer could not be started" in await output(back_end, work.name)


async def test_the_trainer_gets_its_environment_and_a_scratch_folder(
    back_end: SubprocessExecutor,
) -> None:
    script = "import os; print(os.environ['MODE'], os.getcwd() == os.environ['CONTINUON_WORK_DIR'])"
    work = python_work(script, environment={"MODE": "seed"})
    await back_end.submit(work)
    await over(back_end, work.name)
    assert await output(back_end, work.name) == "seed True\n"
    assert not (directory(back_end, work.name) / "scratch").exists()


async def test_works_beyond_the_slots_wait_for_their_turn(tmp_path: Path) -> None:
    back_end = SubprocessExecutor(tmp_path / "state", slots=1, grace_s=0.5)
    first, second = python_work(FOR_EVER), python_work("print('my turn')")
    await back_end.submit(first)
    await until(back_end, first.name, WorkState.RUNNING)
    await back_end.submit(second)
    assert (await back_end.poll(second.name)).state is WorkState.PENDING
    await back_end.cancel(first.name)
    assert (await over(back_end, second.name)).state is WorkState.SUCCEEDED


async def test_a_waiting_work_can_be_cancelled(tmp_path: Path) -> None:
    back_end = SubprocessExecutor(tmp_path / "state", slots=1, grace_s=0.5)
    first, second = python_work(FOR_EVER), python_work("print('never')")
    await back_end.submit(first)
    await until(back_end, first.name, WorkState.RUNNING)
    await back_end.submit(second)
    await back_end.cancel(second.name)
    assert (await over(back_end, second.name)).exit_code is None
    await back_end.cancel(first.name)
    await over(back_end, first.name)
    assert await output(back_end, second.name) == ""


# --- Started once -----------------------------------------------------------------------------


async def test_a_name_is_started_once_however_often_it_is_submitted(
    back_end: SubprocessExecutor, tmp_path: Path
) -> None:
    script = f"open({str(tmp_path / 'runs')!r}, 'a').write('run ')"
    work = python_work(script)
    answers = await asyncio.gather(*(back_end.submit(work) for _ in range(6)))
    assert sorted(answer.created for answer in answers) == [False] * 5 + [True]
    await over(back_end, work.name)
    assert not (await back_end.submit(work)).created
    assert (tmp_path / "runs").read_text() == "run "


SUBMITTER = """
import asyncio, os, pathlib, signal, sys
sys.path[:0] = sys.argv[1].split(os.pathsep)
from continuon_training.executors.base import Work
from continuon_training.executors.subprocess import SubprocessExecutor
back_end = SubprocessExecutor(pathlib.Path(sys.argv[2]), slots=8, grace_s=0.5)
work = Work(name=sys.argv[3], job_id="job_x", attempt=1, command=("python", "-c", sys.argv[4]),
            timeout_s=int(sys.argv[5]))
print(asyncio.run(back_end.submit(work)).created, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def submit_elsewhere(
    tmp_path: Path, name: str, script: str, timeout_s: int = 60
) -> subprocess.Popen[str]:
    """Submit from a process that dies, as SIGKILL would have it, when the work was started."""
    arguments = [os.pathsep.join(sys.path), str(tmp_path / "state"), name, script, str(timeout_s)]
    command = [sys.executable, "-c", SUBMITTER, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours


async def test_dispatchers_in_several_processes_start_a_name_once(
    back_end: SubprocessExecutor, tmp_path: Path
) -> None:
    script = f"open({str(tmp_path / 'runs')!r}, 'a').write('run ')"
    dispatchers = [submit_elsewhere(tmp_path, "continuon-raced-1", script) for _ in range(4)]
    answers = [dispatcher.communicate(timeout=60)[0] for dispatcher in dispatchers]
    assert sorted(answers) == ["False\n"] * 3 + ["True\n"]
    await over(back_end, "continuon-raced-1")
    assert (tmp_path / "runs").read_text() == "run "


async def test_a_work_is_found_by_name_after_its_dispatcher_died(
    back_end: SubprocessExecutor, tmp_path: Path
) -> None:
    name = "continuon-orphaned-1"
    with submit_elsewhere(tmp_path, name, FOR_EVER) as dispatcher:
        dispatcher.communicate(timeout=60)
    assert dispatcher.returncode == -signal.SIGKILL
    await until(back_end, name, WorkState.RUNNING)
    assert not (await back_end.submit(python_work(FOR_EVER, name=name))).created
    await back_end.cancel(name)
    assert (await over(back_end, name)).state is WorkState.FAILED


async def test_the_time_limit_holds_after_the_dispatcher_died(
    back_end: SubprocessExecutor, tmp_path: Path
) -> None:
    name = "continuon-orphaned-2"
    with submit_elsewhere(tmp_path, name, FOR_EVER, timeout_s=1) as dispatcher:
        dispatcher.communicate(timeout=60)
    status = await over(back_end, name)
    assert (status.state, status.timed_out) == (WorkState.FAILED, True)


async def test_a_dispatcher_that_died_before_it_started_anything_leaves_the_name_free(
    back_end: SubprocessExecutor,
) -> None:
    work = python_work("print('second attempt')")
    back_end._prepare(WorkDirectory(directory(back_end, work.name)))
    with back_end._directory(work.name).submission() as lock:
        assert lock is not None
        assert (await back_end.poll(work.name)).state is WorkState.PENDING
    assert (await back_end.poll(work.name)).state is WorkState.GONE
    assert (await back_end.submit(work)).created
    assert (await over(back_end, work.name)).state is WorkState.SUCCEEDED


async def test_a_supervisor_with_half_its_orders_starts_nothing(
    back_end: SubprocessExecutor,
) -> None:
    work = python_work("print('second attempt')")
    back_end._prepare(WorkDirectory(directory(back_end, work.name)))
    from continuon_training.executors import _supervisor  # noqa: PLC0415 - only its path

    with back_end._directory(work.name).submission() as lock:
        path = str(directory(back_end, work.name))
        command = [sys.executable, "-IS", _supervisor.__file__, str(lock), path]
        ended = subprocess.run(  # noqa: ASYNC221, S603 - it ends at once; ours
            command, input=b'{"command": ["pyt', pass_fds=[lock or 0], check=False, timeout=60
        )
    assert ended.returncode == 1
    assert (await back_end.poll(work.name)).state is WorkState.GONE
    assert (await back_end.submit(work)).created
    assert (await over(back_end, work.name)).state is WorkState.SUCCEEDED


async def test_a_name_nobody_submitted_is_gone(back_end: SubprocessExecutor) -> None:
    assert (await back_end.poll("continuon-unknown-1")).state is WorkState.GONE
    assert await output(back_end, "continuon-unknown-1") == ""


async def test_a_name_that_was_cancelled_before_it_was_submitted_never_starts(
    back_end: SubprocessExecutor, tmp_path: Path
) -> None:
    work = python_work(f"open({str(tmp_path / 'ran')!r}, 'w')")
    await back_end.cancel(work.name)
    assert (await back_end.poll(work.name)).state is WorkState.GONE
    await back_end.submit(work)
    status = await over(back_end, work.name)
    assert (status.state, status.exit_code) == (WorkState.FAILED, None)
    assert "ran" not in _files_with(tmp_path, b"")


# --- Stopped for good -------------------------------------------------------------------------


async def test_cancelling_ends_the_trainer_and_may_be_repeated(
    back_end: SubprocessExecutor,
) -> None:
    work = python_work(FOR_EVER)
    await back_end.submit(work)
    await until(back_end, work.name, WorkState.RUNNING)
    trainer = pid_of(back_end, work.name, "trainer.json")
    await back_end.cancel(work.name)
    await back_end.cancel(work.name)
    status = await over(back_end, work.name)
    assert (status.state, status.exit_code) == (WorkState.FAILED, -signal.SIGTERM)
    assert not is_alive(trainer)
    await back_end.cancel(work.name)


async def test_a_trainer_that_ignores_sigterm_is_killed(back_end: SubprocessExecutor) -> None:
    work = python_work(STUBBORN)
    await back_end.submit(work)
    await eventually(lambda: _log(back_end, work.name) == "up\n")
    await back_end.cancel(work.name)
    assert (await over(back_end, work.name)).exit_code == -signal.SIGKILL


async def test_a_trainer_may_finish_its_checkpoint_when_told_to_stop(tmp_path: Path) -> None:
    script = (
        "import signal, sys, time\n"
        "def stop(*_): print('saved', flush=True); sys.exit(3)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print('up', flush=True); time.sleep(3600)"
    )
    back_end = SubprocessExecutor(tmp_path / "state", grace_s=60)
    work = python_work(script)
    await back_end.submit(work)
    await eventually(lambda: _log(back_end, work.name) == "up\n")
    await back_end.cancel(work.name)
    assert (await over(back_end, work.name)).exit_code == 3
    assert await output(back_end, work.name) == "up\nsaved\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux adopts orphans")
async def test_no_descendant_survives_not_even_one_that_left_the_group(
    back_end: SubprocessExecutor,
) -> None:
    script = (
        "import subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '3600'], start_new_session=True)\n"
        "print(child.pid)"
    )
    work = python_work(script)
    await back_end.submit(work)
    assert (await over(back_end, work.name)).state is WorkState.SUCCEEDED
    assert not is_alive(int(await output(back_end, work.name)))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
async def test_a_killed_supervisor_takes_its_trainer_along_and_is_not_replaced(
    back_end: SubprocessExecutor,
) -> None:
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '3600'], start_new_session=True)\n"
        "print(child.pid, flush=True); time.sleep(3600)"
    )
    work = python_work(script)
    await back_end.submit(work)
    await eventually(lambda: _log(back_end, work.name).endswith("\n"))
    trainer = pid_of(back_end, work.name, "trainer.json")
    os.kill(pid_of(back_end, work.name, "started"), signal.SIGKILL)
    status = await over(back_end, work.name)
    assert (status.state, status.preempted) == (WorkState.FAILED, True)
    await eventually(lambda: not is_alive(trainer))
    await eventually(lambda: not is_alive(int(_log(back_end, work.name))))
    assert not (await back_end.submit(work)).created


async def test_a_reused_process_id_is_never_mistaken_for_the_work(
    back_end: SubprocessExecutor,
) -> None:
    back_end._prepare(WorkDirectory(directory(back_end, "continuon-reused-1")))
    path = directory(back_end, "continuon-reused-1")
    path.mkdir()
    with subprocess.Popen(["sleep", "3600"]) as innocent:  # noqa: ASYNC220, S607 - ends below
        for file in ("started", "trainer.json"):
            (path / file).write_text(json.dumps({"pid": innocent.pid}))
        await back_end.cancel(path.name)
        assert (await back_end.poll(path.name)).state is WorkState.FAILED
        assert innocent.poll() is None
        innocent.kill()


# --- Secrets ----------------------------------------------------------------------------------


async def test_a_secret_reaches_the_trainer_and_neither_disk_nor_arguments_nor_log(
    back_end: SubprocessExecutor, tmp_path: Path
) -> None:
    token = "t0ken-that-nobody-else-may-see"
    script = (
        "import os, sys, time\n"
        "token = os.environ['CONTINUON_JOB_TOKEN']\n"
        "sys.stdout.write('head ' + token[:9]); sys.stdout.flush(); time.sleep(0.05)\n"
        "print(token[9:], len(token), flush=True); time.sleep(3600)"
    )
    work = python_work(script, secrets={"CONTINUON_JOB_TOKEN": token})
    assert token not in repr(work)
    await back_end.submit(work)
    await eventually(lambda: _log(back_end, work.name).endswith("\n"))
    assert _log(back_end, work.name) == f"head *** {len(token)}\n"
    for who in ("started", "trainer.json"):
        assert token.encode() not in _arguments(pid_of(back_end, work.name, who))
    assert _files_with(tmp_path, b"head") == ["log"]
    assert _files_with(tmp_path, token.encode()) == []
    await back_end.cancel(work.name)
    await over(back_end, work.name)


async def test_the_dispatchers_own_environment_stays_with_it(
    back_end: SubprocessExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/key.json")
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1")
    work = python_work("import os; print(sorted(os.environ))")
    await back_end.submit(work)
    await over(back_end, work.name)
    names = await output(back_end, work.name)
    assert "CONTINUON_WORK_DIR" in names
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in names
    assert "EMULATOR" not in names


# --- Limits -----------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what allocators use")
async def test_memory_beyond_the_limit_is_refused_to_the_trainer(
    back_end: SubprocessExecutor,
) -> None:
    resources = Resources(memory_mib=64)
    work = python_work("x = bytearray(128 * 1024 * 1024)", resources=resources)
    await back_end.submit(work)
    assert (await over(back_end, work.name)).exit_code == 1
    assert "MemoryError" in await output(back_end, work.name)


async def test_output_is_limited_and_keeps_its_end(tmp_path: Path) -> None:
    back_end = SubprocessExecutor(tmp_path / "state", log_bytes=2000)
    script = "for i in range(60000): print(i, flush=False)\nraise ValueError('the reason')"
    work = python_work(script)
    await back_end.submit(work)
    await over(back_end, work.name)
    text = await output(back_end, work.name)
    assert text.startswith("0\n1\n2\n")
    assert "bytes left out" in text
    assert text.endswith("ValueError: the reason\n")
    assert len(text) < 300_000


async def test_output_is_read_piece_by_piece_and_never_in_half_a_character(
    back_end: SubprocessExecutor,
) -> None:
    script = "print('ä' * 200_001, end='')"
    work = python_work(script)
    await back_end.submit(work)
    await over(back_end, work.name)
    first = await back_end.logs(work.name, 0)
    assert not first.complete
    second = await back_end.logs(work.name, first.next_offset)
    assert (first.text + second.text, second.complete) == ("ä" * 200_001, True)


@pytest.mark.parametrize(
    "resources", [Resources(cpu=4096), Resources(memory_mib=2**40), Resources(gpu_count=64)]
)
async def test_more_than_the_machine_has_is_refused(
    back_end: SubprocessExecutor, resources: Resources
) -> None:
    work = python_work("", resources=resources)
    with pytest.raises(ExecutorRefusedError) as refused:
        await back_end.submit(work)
    assert refused.value.code == "executor.resources"
    assert (await back_end.poll(work.name)).state is WorkState.GONE


@pytest.mark.parametrize("name", ["../escape", "Upper", "", "a" * 64, "dot.ted", "-x"])
async def test_a_name_that_could_leave_its_folder_is_refused(
    back_end: SubprocessExecutor, name: str
) -> None:
    work = python_work("", name=name)
    with pytest.raises(ExecutorRefusedError) as refused:
        await back_end.submit(work)
    assert refused.value.code == "executor.name"


async def test_a_state_directory_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    with pytest.raises(ExecutorRefusedError) as refused:
        await SubprocessExecutor(tmp_path / "state").submit(python_work(""))
    assert refused.value.code == "executor.state_directory"


async def test_works_that_ended_long_ago_are_forgotten(back_end: SubprocessExecutor) -> None:
    old, running, new = python_work("print(1)"), python_work(FOR_EVER), python_work("print(2)")
    await back_end.submit(old)
    await over(back_end, old.name)
    await back_end.submit(running)
    await until(back_end, running.name, WorkState.RUNNING)
    for work in (old, running):
        for file in (*directory(back_end, work.name).iterdir(), directory(back_end, work.name)):
            long_ago = file.stat().st_mtime - KEEP_S - 1
            os.utime(file, (long_ago, long_ago))
    await back_end.submit(new)
    await over(back_end, new.name)
    assert not directory(back_end, old.name).exists()
    assert (await back_end.poll(running.name)).state is WorkState.RUNNING
    await back_end.cancel(running.name)
    await over(back_end, running.name)


def test_an_unknown_back_end_is_refused() -> None:
    with pytest.raises(ExecutorRefusedError) as refused:
        executor("slurm")
    assert refused.value.code == "executor.unknown"


def _log(back_end: SubprocessExecutor, name: str) -> str:
    file = directory(back_end, name) / "log"
    return file.read_text() if file.exists() else ""


def _arguments(pid: int) -> bytes:
    file = Path(f"/proc/{pid}/cmdline")
    return file.read_bytes() if file.exists() else b""  # Linux


def _files_with(folder: Path, text: bytes) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if text in path.read_bytes()]
