"""Custom jobs of Vertex AI, through the unmodified generated client, over gRPC on loopback."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio

pytest.importorskip(
    "google.cloud.aiplatform_v1", reason="the extra `vertex` is not installed: make test-executors"
)

from google.cloud.aiplatform_v1 import CustomJob, JobState, Scheduling

from continuon_training.executors import vertex
from continuon_training.executors._vertex_machines import machine_for
from continuon_training.executors.base import (
    ExecutorQuotaError,
    ExecutorRefusedError,
    ExecutorUnavailableError,
    Resources,
    WorkState,
)
from continuon_training.executors.settings import executor_settings
from integration.executors.loopback import served
from integration.executors.vertex_server import CloudLogging, Vertex
from integration.executors.works import output, python_work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from continuon_training.executors.vertex import VertexExecutor

IMAGE = "europe-docker.pkg.dev/demo-lab/trainers/bc@sha256:" + "b" * 64


@pytest.fixture
def service() -> Vertex:
    return Vertex()


@pytest_asyncio.fixture
async def back_end(
    service: Vertex, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[VertexExecutor]:
    async with service.served() as address:
        monkeypatch.setenv("CONTINUON_VERTEX_EMULATOR_HOST", address)
        monkeypatch.setenv("CONTINUON_VERTEX_PROJECT", "demo-lab")
        monkeypatch.setenv("CONTINUON_VERTEX_REGION", "europe-west4")
        monkeypatch.setenv("CONTINUON_VERTEX_IMAGE", IMAGE)
        monkeypatch.setenv("CONTINUON_VERTEX_SERVICE_ACCOUNT", "nobody@demo-lab.example")
        executor_settings.cache_clear()
        executor = vertex.create()
        yield executor
        await executor._client.transport.close()
    executor_settings.cache_clear()


def twin(name: str) -> CustomJob:
    """What another dispatcher would have submitted under the same name."""
    return CustomJob(display_name=name, labels={"continuon_work": name})


# --- Started once -----------------------------------------------------------------------------


async def test_a_work_becomes_one_custom_job(back_end: VertexExecutor, service: Vertex) -> None:
    work = python_work(
        "",
        environment={"PRICE": "5$ $(HOME)"},
        secrets={"CONTINUON_JOB_TOKEN": "t0ken"},
        labels={"continuon-job": "job-1"},
        resources=Resources(cpu=6, memory_mib=20_000, gpu_type="nvidia-l4", gpu_count=1),
        timeout_s=900,
    )
    assert (await back_end.submit(work)).created
    (job,) = service.named(work.name)
    pool, scheduling = job.job_spec.worker_pool_specs[0], job.job_spec.scheduling
    assert pool.machine_spec.machine_type == "g2-standard-8"
    assert pool.container_spec.image_uri == IMAGE
    environment = {entry.name: entry.value for entry in pool.container_spec.env}
    assert environment == {"PRICE": "5$$ $$(HOME)", "CONTINUON_JOB_TOKEN": "t0ken"}
    assert scheduling.timeout.total_seconds() == 900
    assert scheduling.disable_retries
    assert scheduling.strategy == Scheduling.Strategy.STANDARD
    assert job.job_spec.service_account == "nobody@demo-lab.example"
    assert dict(job.labels) == {"continuon_job": "job-1", "continuon_work": work.name}


async def test_a_name_that_exists_is_not_started_again(
    back_end: VertexExecutor, service: Vertex
) -> None:
    work = python_work("")
    await back_end.submit(work)
    assert not (await back_end.submit(work)).created
    service.become(work.name, JobState.JOB_STATE_SUCCEEDED)
    assert not (await back_end.submit(work)).created
    assert len(service.jobs) == 1


async def test_of_two_dispatchers_at_once_the_younger_gives_way(
    back_end: VertexExecutor, service: Vertex
) -> None:
    work = python_work("")
    service.hidden = 2
    answers = await asyncio.gather(back_end.submit(work), back_end.submit(work))
    states = [job.state for job in service.named(work.name)]
    assert states == [JobState.JOB_STATE_PENDING, JobState.JOB_STATE_CANCELLING]
    assert sorted(answer.created for answer in answers) == [False, True]


async def test_a_lost_answer_is_found_out_by_name(
    back_end: VertexExecutor, service: Vertex
) -> None:
    work = python_work("")
    service.lost_answers = 1
    with pytest.raises(ExecutorUnavailableError):
        await back_end.submit(work)
    assert not (await back_end.submit(work)).created
    assert len(service.jobs) == 1


async def test_a_twin_that_shows_up_late_is_cancelled_by_whoever_polls(
    back_end: VertexExecutor, service: Vertex
) -> None:
    work = python_work("")
    await back_end.submit(work)
    service.become(work.name, JobState.JOB_STATE_RUNNING)
    for _ in range(4):  # more than a page
        service.add(twin(work.name))
    assert (await back_end.poll(work.name)).state is WorkState.RUNNING
    first, *others = service.named(work.name)
    assert first.state == JobState.JOB_STATE_RUNNING
    assert {job.state for job in others} == {JobState.JOB_STATE_CANCELLING}


async def test_somebody_elses_job_of_that_name_is_left_alone(
    back_end: VertexExecutor, service: Vertex
) -> None:
    work = python_work("")
    service.add(CustomJob(display_name=work.name))
    assert (await back_end.submit(work)).created
    await back_end.cancel(work.name)
    states = [job.state for job in service.named(work.name)]
    assert states == [JobState.JOB_STATE_PENDING, JobState.JOB_STATE_CANCELLING]


# --- Refused, full, unavailable ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ExecutorQuotaError),
        (grpc.StatusCode.PERMISSION_DENIED, ExecutorRefusedError),
        (grpc.StatusCode.NOT_FOUND, ExecutorRefusedError),
        (grpc.StatusCode.UNAVAILABLE, ExecutorUnavailableError),
        (grpc.StatusCode.INTERNAL, ExecutorUnavailableError),
        (grpc.StatusCode.ABORTED, ExecutorUnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, ExecutorUnavailableError),
        (grpc.StatusCode.UNAUTHENTICATED, ExecutorUnavailableError),
    ],
)
async def test_errors_are_split_by_what_helps(
    back_end: VertexExecutor, service: Vertex, code: grpc.StatusCode, error: type[Exception]
) -> None:
    work = python_work("")
    service.failures = [(code, "said Vertex AI")]
    with pytest.raises(error) as raised:
        await back_end.submit(work)
    assert type(raised.value) is error
    assert not service.jobs
    assert (await back_end.submit(work)).created


async def test_what_vertex_calls_invalid_fails_the_job(
    back_end: VertexExecutor, service: Vertex
) -> None:
    with pytest.raises(ExecutorRefusedError, match="timeout") as refused:
        await back_end.submit(python_work("", timeout_s=0))
    assert refused.value.code == "executor.invalid"
    assert not service.jobs


async def test_an_image_by_tag_is_refused_before_anything_is_called(
    back_end: VertexExecutor, service: Vertex
) -> None:
    with pytest.raises(ExecutorRefusedError) as refused:
        await back_end.submit(python_work("", image="trainer:latest"))
    assert refused.value.code == "executor.image"
    assert not service.calls


# --- How it is --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "is_"),
    [
        (JobState.JOB_STATE_QUEUED, WorkState.PENDING),
        (JobState.JOB_STATE_PENDING, WorkState.PENDING),
        (JobState.JOB_STATE_RUNNING, WorkState.RUNNING),
        (JobState.JOB_STATE_CANCELLING, WorkState.RUNNING),
        (JobState.JOB_STATE_SUCCEEDED, WorkState.SUCCEEDED),
        (JobState.JOB_STATE_CANCELLED, WorkState.FAILED),
        (JobState.JOB_STATE_PARTIALLY_SUCCEEDED, WorkState.FAILED),
    ],
)
async def test_each_state_means_one_thing(
    back_end: VertexExecutor, service: Vertex, state: JobState, is_: WorkState
) -> None:
    work = python_work("")
    await back_end.submit(work)
    service.become(work.name, state)
    assert (await back_end.poll(work.name)).state is is_


async def test_a_trainer_that_ends_badly_says_how(
    back_end: VertexExecutor, service: Vertex
) -> None:
    work = python_work("")
    await back_end.submit(work)
    message = "The replica workerpool0-0 exited with a non-zero status of 3."
    service.become(work.name, JobState.JOB_STATE_FAILED, 3, message)
    status = await back_end.poll(work.name)
    assert (status.exit_code, status.preempted, status.message) == (3, False, message)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (14, "The worker was restarted."),
        (8, "Resources are insufficient in region: europe-west4."),
        (13, "Job was preempted."),
    ],
)
async def test_a_machine_that_was_taken_away_is_not_the_trainers_fault(
    back_end: VertexExecutor, service: Vertex, code: int, message: str
) -> None:
    work = python_work("")
    await back_end.submit(work)
    service.become(work.name, JobState.JOB_STATE_FAILED, code, message)
    assert (await back_end.poll(work.name)).preempted


async def test_the_time_limit_is_a_timeout(back_end: VertexExecutor, service: Vertex) -> None:
    work = python_work("")
    await back_end.submit(work)
    service.become(work.name, JobState.JOB_STATE_FAILED, 4, "Job timed out.")
    assert (await back_end.poll(work.name)).timed_out


async def test_a_job_that_was_deleted_behind_our_back_is_gone(
    back_end: VertexExecutor, service: Vertex
) -> None:
    work = python_work("")
    await back_end.submit(work)
    service.jobs.clear()
    assert (await back_end.poll(work.name)).state is WorkState.GONE
    await back_end.cancel(work.name)


async def test_a_failing_service_says_nothing_about_the_work(
    back_end: VertexExecutor, service: Vertex
) -> None:
    work = python_work("")
    await back_end.submit(work)
    service.failures = [(grpc.StatusCode.UNAVAILABLE, "backend error")]
    with pytest.raises(ExecutorUnavailableError, match="backend error"):
        await back_end.poll(work.name)


async def test_cancelling_may_be_repeated_and_uses_up_the_name(
    back_end: VertexExecutor, service: Vertex
) -> None:
    work = python_work("")
    await back_end.submit(work)
    await back_end.cancel(work.name)
    await back_end.cancel(work.name)
    assert (await back_end.poll(work.name)).state is WorkState.RUNNING
    service.become(work.name, JobState.JOB_STATE_CANCELLED)
    await back_end.cancel(work.name)
    assert (await back_end.poll(work.name)).state is WorkState.FAILED
    assert not (await back_end.submit(work)).created


# --- What it wrote ----------------------------------------------------------------------------


@pytest.fixture
def logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudLogging]:
    """To be named before ``back_end``, which reads where it is."""
    cloud_logging = CloudLogging()
    with served(cloud_logging.app()) as url:
        address = url.removeprefix("http://")
        monkeypatch.setenv("CONTINUON_VERTEX_LOGGING_EMULATOR_HOST", address)
        yield cloud_logging


async def test_output_is_read_from_cloud_logging_by_its_times(
    logging: CloudLogging, back_end: VertexExecutor, service: Vertex
) -> None:
    work = python_work("")
    assert (await back_end.logs(work.name)).complete
    await back_end.submit(work)
    job_id = service.named(work.name)[0].name.rpartition("/")[2]
    logging.entries = [
        (job_id, "2026-11-20T10:00:00.000000001Z", "step 1"),
        ("99", "2026-11-20T10:00:00.000000002Z", "another job"),
        (job_id, "2026-11-20T10:00:00.000000003Z", "step 2\n"),
    ]
    first = await back_end.logs(work.name)
    assert (first.text, first.complete) == ("step 1\nstep 2\n", False)
    logging.entries.append((job_id, "2026-11-20T10:00:01Z", "step 3"))
    service.become(work.name, JobState.JOB_STATE_SUCCEEDED)
    second = await back_end.logs(work.name, first.next_offset)
    assert (second.text, second.complete) == ("step 3\n", False)
    last = await back_end.logs(work.name, second.next_offset)
    assert (last.text, last.complete) == ("", True)


async def test_no_line_is_lost_where_a_page_ends_within_a_moment(
    logging: CloudLogging, back_end: VertexExecutor, service: Vertex
) -> None:
    work = python_work("")
    await back_end.submit(work)
    job_id = service.named(work.name)[0].name.rpartition("/")[2]
    moments = [f"2026-11-20T10:00:00.{number // 3:09}Z" for number in range(2500)]
    logging.entries = [(job_id, moment, str(number)) for number, moment in enumerate(moments)]
    service.become(work.name, JobState.JOB_STATE_SUCCEEDED)
    assert (await output(back_end, work.name)).split() == [str(number) for number in range(2500)]


async def test_without_the_permission_to_read_the_output_its_place_is_said(
    logging: CloudLogging, back_end: VertexExecutor
) -> None:
    work = python_work("")
    await back_end.submit(work)
    logging.status = 403
    chunk = await back_end.logs(work.name)
    assert 'Cloud Logging, project demo-lab: resource.type="ml_job"' in chunk.text
    assert (await back_end.logs(work.name, chunk.next_offset)).text == ""
    logging.status = 503
    with pytest.raises(ExecutorUnavailableError):
        await back_end.logs(work.name)


def test_an_emulator_is_for_demo_projects_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTINUON_VERTEX_EMULATOR_HOST", "127.0.0.1:1")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "production")
    executor_settings.cache_clear()
    with pytest.raises(ValueError, match="demo-"):
        executor_settings()


# --- Machines ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resources", "machine"),
    [
        (Resources(cpu=1, memory_mib=2048), "e2-highmem-2"),
        (Resources(cpu=4, memory_mib=16 * 1024), "e2-standard-4"),
        (Resources(cpu=4, memory_mib=30 * 1024), "e2-highmem-4"),
        (Resources(cpu=60, memory_mib=1024), "n2-standard-64"),
        (Resources(cpu=1, memory_mib=2048, gpu_type="nvidia-l4", gpu_count=2), "g2-standard-24"),
        (Resources(cpu=1, memory_mib=2048, gpu_type="T4", gpu_count=1), "n1-standard-4"),
        (Resources(cpu=1, gpu_type="nvidia-tesla-a100", gpu_count=8), "a2-highgpu-8g"),
        (Resources(cpu=1, gpu_type="NVIDIA_H100_80GB", gpu_count=8), "a3-highgpu-8g"),
    ],
)
def test_the_smallest_machine_that_fits_is_taken(resources: Resources, machine: str) -> None:
    assert machine_for(resources).name == machine


@pytest.mark.parametrize(
    "resources",
    [
        Resources(cpu=500),
        Resources(gpu_type="nvidia-l4", gpu_count=3),
        Resources(gpu_type="abacus", gpu_count=1),
    ],
)
def test_what_no_machine_has_is_refused(resources: Resources) -> None:
    with pytest.raises(ExecutorRefusedError) as refused:
        machine_for(resources)
    assert refused.value.code == "executor.resources"
