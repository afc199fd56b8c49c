"""Calls of a function on Modal, through the unmodified client, over gRPC on loopback."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

pytest.importorskip("modal", reason="the extra `modal` is not installed: make test-executors")

from grpclib.const import Status
from modal_proto import api_pb2

from conftest import REPOSITORY
from continuon_training.executors import modal
from continuon_training.executors.base import (
    ExecutorQuotaError,
    ExecutorRefusedError,
    ExecutorUnavailableError,
    Resources,
    WorkState,
)
from continuon_training.executors.settings import executor_settings
from integration.executors.modal_server import TOKEN, Modal, seconds_ago
from integration.executors.works import python_work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from continuon_training.executors.modal import ModalExecutor

GENERIC = api_pb2.GenericResult
IMAGE = "registry.example/trainer@sha256:" + "c" * 64


@pytest.fixture
def service() -> Modal:
    return Modal()


@pytest_asyncio.fixture
async def back_end(service: Modal, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ModalExecutor]:
    async with service.served() as url:
        executor = _executor(monkeypatch, url, *TOKEN)
        yield executor
        await (await executor._client()).close.aio()
    executor_settings.cache_clear()


def _executor(
    monkeypatch: pytest.MonkeyPatch, url: str, token_id: str, token_secret: str
) -> ModalExecutor:
    monkeypatch.setenv("MODAL_SERVER_URL", url)
    monkeypatch.setenv("MODAL_TOKEN_ID", token_id)
    monkeypatch.setenv("MODAL_TOKEN_SECRET", token_secret)
    executor_settings.cache_clear()
    return modal.create()


# --- Started once -----------------------------------------------------------------------------


async def test_a_work_becomes_one_call_with_its_resources(
    back_end: ModalExecutor, service: Modal
) -> None:
    work = python_work(
        "",
        environment={"CONTINUON_JOB_ID": "job_1"},
        secrets={"CONTINUON_JOB_TOKEN": "t0ken"},
        resources=Resources(cpu=2.5, memory_mib=4096, gpu_type="nvidia-l4", gpu_count=2),
        timeout_s=900,
    )
    assert (await back_end.submit(work)).created
    (call,) = service.calls.values()
    assert call.order["name"] == work.name
    assert call.order["command"] == list(work.command)
    environment = {"CONTINUON_JOB_ID": "job_1", "CONTINUON_JOB_TOKEN": "t0ken"}
    assert call.order["environment"] == environment
    resources = call.options.resources
    assert (resources.milli_cpu, resources.memory_mb) == (2500, 4096)
    assert (resources.gpu_config.gpu_type, resources.gpu_config.count) == ("L4", 2)
    assert call.options.timeout_secs == 900
    assert call.options.retry_policy.retries == 0


async def test_a_name_that_exists_is_not_called_again(
    back_end: ModalExecutor, service: Modal
) -> None:
    work = python_work("")
    await back_end.submit(work)
    assert not (await back_end.submit(work)).created
    service.finish("fc-1", {"exit_code": 0})
    assert not (await back_end.submit(work)).created
    assert len(service.calls) == 1


async def test_of_two_dispatchers_at_once_one_call_is_left(
    back_end: ModalExecutor, service: Modal
) -> None:
    work = python_work("")
    answers = await asyncio.gather(*(back_end.submit(work) for _ in range(3)))
    assert sorted(answer.created for answer in answers) == [False, False, True]
    assert sum(call.result is None for call in service.calls.values()) == 1


async def test_the_client_repeats_a_lost_answer_and_modal_calls_once(
    back_end: ModalExecutor, service: Modal
) -> None:
    work = python_work("")
    service.lost_answers = {"FunctionMap": 2, "DictUpdate": 1}
    assert (await back_end.submit(work)).created
    assert len(service.calls) == 1


async def test_after_a_dispatcher_that_died_before_its_record_the_first_to_register_counts(
    back_end: ModalExecutor, service: Modal
) -> None:
    work = python_work("")
    service.failures = {"DictUpdate": [(Status.UNAVAILABLE, "down")] * 4}
    with pytest.raises(ExecutorUnavailableError):
        await back_end.submit(work)
    assert (await back_end.submit(work)).created
    registry = Registry({work.name: {"call": "fc-2", "at": 0.0}})
    orphan = _run(service.calls["fc-1"].order, registry, "fc-1")
    assert (orphan["exit_code"], orphan["message"]) == (None, "Another call has this name.")
    assert registry.entries[work.name]["call"] == "fc-2"


# --- Refused, full, unavailable ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (Status.RESOURCE_EXHAUSTED, ExecutorQuotaError),
        (Status.PERMISSION_DENIED, ExecutorRefusedError),
        (Status.INVALID_ARGUMENT, ExecutorRefusedError),
        (Status.UNAVAILABLE, ExecutorUnavailableError),
        (Status.INTERNAL, ExecutorUnavailableError),
    ],
)
async def test_errors_are_split_by_what_helps(
    back_end: ModalExecutor, service: Modal, status: Status, error: type[Exception]
) -> None:
    work = python_work("")
    service.failures = {"FunctionMap": [(status, "said Modal")] * 4}
    with pytest.raises(error, match="said Modal") as raised:
        await back_end.submit(work)
    assert type(raised.value) is error
    assert not service.calls
    service.failures.clear()
    assert (await back_end.submit(work)).created


async def test_a_transient_failure_is_repeated_by_the_client(
    back_end: ModalExecutor, service: Modal
) -> None:
    service.failures = {"FunctionMap": [(Status.UNAVAILABLE, "again"), (Status.INTERNAL, "again")]}
    assert (await back_end.submit(python_work(""))).created


async def test_an_app_that_was_not_deployed_is_named(
    back_end: ModalExecutor, service: Modal
) -> None:
    service.deployed = False
    with pytest.raises(ExecutorRefusedError, match=r"modal_app\.py") as refused:
        await back_end.submit(python_work(""))
    assert refused.value.code == "executor.configuration"


async def test_a_token_that_is_not_accepted_may_be_again(
    service: Modal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with service.served() as url:
        executor = _executor(monkeypatch, url, "ak-wrong", "as-wrong")
        with pytest.raises(ExecutorUnavailableError, match="token"):
            await executor.poll("continuon-job-1-1")
        await (await executor._client()).close.aio()
    executor_settings.cache_clear()


def test_a_deployment_without_a_token_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODAL_TOKEN_ID", raising=False)
    executor_settings.cache_clear()
    with pytest.raises(ExecutorRefusedError) as refused:
        modal.create()
    executor_settings.cache_clear()
    assert refused.value.code == "executor.configuration"


async def test_more_time_than_modal_gives_is_refused(
    back_end: ModalExecutor, service: Modal
) -> None:
    with pytest.raises(ExecutorRefusedError) as refused:
        await back_end.submit(python_work("", timeout_s=24 * 3600 + 1))
    assert refused.value.code == "executor.resources"
    assert not service.requests


# --- How it is --------------------------------------------------------------------------------


async def test_a_call_is_followed_from_waiting_to_its_end(
    back_end: ModalExecutor, service: Modal
) -> None:
    work = python_work("")
    assert (await back_end.poll(work.name)).state is WorkState.GONE
    await back_end.submit(work)
    assert (await back_end.poll(work.name)).state is WorkState.PENDING
    registry = back_end._registry(await back_end._client())
    await registry.put.aio(f"{work.name}/started", "fc-1")
    assert (await back_end.poll(work.name)).state is WorkState.RUNNING
    service.finish("fc-1", {"exit_code": 0})
    assert (await back_end.poll(work.name)).state is WorkState.SUCCEEDED


@pytest.mark.parametrize(
    ("value", "exit_code", "preempted", "timed_out"),
    [
        ({"exit_code": 3, "message": "said"}, 3, False, False),
        ({"exit_code": None, "message": "moved", "preempted": True}, None, True, False),
        ({"exit_code": -15, "message": "slow", "timed_out": True}, -15, False, True),
    ],
)
async def test_what_the_function_reports_is_how_it_ended(
    back_end: ModalExecutor,
    service: Modal,
    value: dict[str, Any],
    exit_code: int | None,
    *,
    preempted: bool,
    timed_out: bool,
) -> None:
    work = python_work("")
    await back_end.submit(work)
    service.finish("fc-1", value)
    status = await back_end.poll(work.name)
    assert (status.state, status.exit_code) == (WorkState.FAILED, exit_code)
    assert (status.preempted, status.timed_out) == (preempted, timed_out)
    assert status.message == value["message"]


async def test_each_way_modal_ends_a_call_means_one_thing(
    back_end: ModalExecutor, service: Modal
) -> None:
    work = python_work("")
    await back_end.submit(work)
    service.end("fc-1", GENERIC.GENERIC_STATUS_TIMEOUT, "timeout")
    assert (await back_end.poll(work.name)).timed_out
    service.end("fc-1", GENERIC.GENERIC_STATUS_INTERNAL_FAILURE, "worker lost")
    assert (await back_end.poll(work.name)).preempted
    service.end("fc-1", GENERIC.GENERIC_STATUS_FAILURE, "boom", OSError("no space"))
    status = await back_end.poll(work.name)
    assert (status.state, status.message) == (WorkState.FAILED, "OSError: no space")
    service.calls["fc-1"].expired = True
    assert (await back_end.poll(work.name)).state is WorkState.GONE


async def test_a_call_that_modal_no_longer_knows_is_gone(
    back_end: ModalExecutor, service: Modal
) -> None:
    work = python_work("")
    await back_end.submit(work)
    service.calls.clear()
    assert (await back_end.poll(work.name)).state is WorkState.GONE
    await back_end.cancel(work.name)


async def test_a_failing_service_says_nothing_about_the_work(
    back_end: ModalExecutor, service: Modal
) -> None:
    work = python_work("")
    await back_end.submit(work)
    service.failures = {"FunctionGetOutputs": [(Status.UNAVAILABLE, "down")] * 4}
    with pytest.raises(ExecutorUnavailableError):
        await back_end.poll(work.name)


async def test_a_service_that_does_not_answer_is_not_waited_for(
    back_end: ModalExecutor, service: Modal, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = python_work("")
    await back_end.submit(work)
    monkeypatch.setattr(modal, "CALL_S", 0.3)
    service.answering.clear()
    with pytest.raises(ExecutorUnavailableError):
        await back_end.poll(work.name)
    service.answering.set()


async def test_cancelling_may_be_repeated_and_uses_up_the_name(
    back_end: ModalExecutor, service: Modal
) -> None:
    work = python_work("")
    await back_end.submit(work)
    await back_end.cancel(work.name)
    await back_end.cancel(work.name)
    status = await back_end.poll(work.name)
    assert status.state is WorkState.FAILED
    assert "cancelled" in (status.message or "")
    assert not (await back_end.submit(work)).created
    assert len(service.calls) == 1


async def test_a_name_cancelled_before_its_call_is_never_called(
    back_end: ModalExecutor, service: Modal
) -> None:
    work = python_work("")
    await back_end.cancel(work.name)
    assert not (await back_end.submit(work)).created
    assert (await back_end.poll(work.name)).state is WorkState.FAILED
    assert not service.calls


async def test_output_is_read_by_its_times(back_end: ModalExecutor, service: Modal) -> None:
    work = python_work("")
    assert (await back_end.logs(work.name)).complete
    await back_end.submit(work)
    registry = back_end._registry(await back_end._client())
    await registry.put.aio(work.name, {"call": "fc-1", "at": seconds_ago(60)})
    lines = service.calls["fc-1"].lines
    lines += [(seconds_ago(40), "step 1\n"), (seconds_ago(30), "step 2\n")]
    first = await back_end.logs(work.name)
    assert (first.text, first.complete) == ("step 1\nstep 2\n", False)
    lines.append((seconds_ago(1), "step 3\n"))
    service.finish("fc-1", {"exit_code": 0})
    second = await back_end.logs(work.name, first.next_offset)
    assert (second.text, second.complete) == ("step 3\n", True)


# --- What runs there --------------------------------------------------------------------------


class Registry:
    """A ``modal.Dict`` as the function sees it: the same methods, in this process."""

    def __init__(self, entries: dict[str, Any] | None = None) -> None:
        self.entries = entries or {}

    def put(self, key: str, value: Any, *, skip_if_exists: bool) -> bool:
        assert skip_if_exists
        if key in self.entries:
            return False
        self.entries[key] = value
        return True

    def __getitem__(self, key: str) -> Any:
        return self.entries[key]


def _run(order: dict[str, Any], registry: Registry, call_id: str) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTINUON_MODAL_IMAGE", IMAGE)
        file = REPOSITORY / "functions" / "training" / "modal_app.py"
        spec = importlib.util.spec_from_file_location("modal_app", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        result: dict[str, Any] = module.run(order, registry, call_id)
    return result


def _order(script: str, timeout_s: float = 60) -> dict[str, Any]:
    command = [sys.executable, "-c", script]
    environment = {"CONTINUON_JOB_TOKEN": "t0ken"}
    times = {"timeout_s": timeout_s, "grace_s": 1.0}
    return {"name": "n", "command": command, "environment": environment} | times


def test_the_function_runs_the_trainer_and_registers_itself(tmp_path: Path) -> None:
    file = tmp_path / "token"
    script = f"import os; open({str(file)!r}, 'w').write(os.environ['CONTINUON_JOB_TOKEN'])"
    registry = Registry()
    assert _run(_order(script), registry, "fc-1")["exit_code"] == 0
    assert file.read_text() == "t0ken"
    assert registry.entries["n"]["call"] == "fc-1"
    assert registry.entries["n/started"] == "fc-1"


def test_a_call_that_was_started_before_says_that_it_was_moved(tmp_path: Path) -> None:
    registry = Registry({"n": {"call": "fc-1"}, "n/started": "fc-1"})
    result = _run(_order(f"open({str(tmp_path / 'ran')!r}, 'w')"), registry, "fc-1")
    assert result["preempted"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("call", ["fc-2", ""])
def test_a_call_under_anothers_or_a_cancelled_name_does_nothing(tmp_path: Path, call: str) -> None:
    registry = Registry({"n": {"call": call}})
    result = _run(_order(f"open({str(tmp_path / 'ran')!r}, 'w')"), registry, "fc-1")
    assert result["exit_code"] is None
    assert not (tmp_path / "ran").exists()


def test_the_function_ends_a_trainer_that_takes_too_long() -> None:
    script = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(3600)"
    result = _run(_order(script, timeout_s=0.5), Registry(), "fc-1")
    assert result["timed_out"]
    assert result["exit_code"] in {-signal.SIGTERM, -signal.SIGKILL}


def test_a_trainer_that_is_not_there_is_named() -> None:
    order = _order("") | {"command": ["no-such-trainer"]}
    result = _run(order, Registry(), "fc-1")
    assert result["exit_code"] == 127
    assert "no-such-trainer" in result["message"]
