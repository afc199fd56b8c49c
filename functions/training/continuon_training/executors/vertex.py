"""Trainers as custom jobs of Vertex AI, through the generated client of google-cloud-aiplatform.

Vertex AI mints the ids of custom jobs and takes as many of one display name as it is given. So a
name is made to be taken once by a rule that all dispatchers follow: *the oldest custom job of a
display name is the work*. ``submit`` looks for one, creates, and looks again; whoever then finds
an older one cancels its own, which takes Vertex AI minutes to start. ``poll`` applies the rule
too: younger ones, of a dispatcher that died or whose answer was lost, are cancelled there.

A custom job's environment is all Vertex AI passes on, so the job's token can be read by whoever
may read custom jobs of the project (``aiplatform.customJobs.get``) until it expires. Needs the
extra ``vertex``. docs/executors.md has the permissions.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.cloud.aiplatform_v1 import CustomJob, JobState, Scheduling
from google.cloud.aiplatform_v1.services.job_service import JobServiceAsyncClient
from google.cloud.aiplatform_v1.services.job_service.transports import (
    JobServiceGrpcAsyncIOTransport,
)
from google.protobuf.duration_pb2 import Duration

from continuon_training.executors._vertex_logs import JobLogs
from continuon_training.executors._vertex_machines import machine_for
from continuon_training.executors.base import (
    ExecutorQuotaError,
    ExecutorRefusedError,
    ExecutorUnavailableError,
    LogChunk,
    Submitted,
    WorkState,
    WorkStatus,
    check_image,
    check_name,
)
from continuon_training.executors.settings import executor_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from continuon_training.executors.base import ExecutorError, Work

__all__ = ["VertexExecutor", "create"]

SERVICE: Final = "Vertex AI"

_TIMEOUT_S: Final = 20.0
"""For one call: an event function has 540 s for all of them."""

_CALL: Final = {"timeout": _TIMEOUT_S, "retry": None}

_LABEL: Final = "continuon_work"
_WAITING: Final = frozenset(
    {JobState.JOB_STATE_UNSPECIFIED, JobState.JOB_STATE_QUEUED, JobState.JOB_STATE_PENDING}
    | {JobState.JOB_STATE_PAUSED}
)
_RUNNING: Final = frozenset(
    {JobState.JOB_STATE_RUNNING, JobState.JOB_STATE_CANCELLING, JobState.JOB_STATE_UPDATING}
)
_EXIT_STATUS: Final = re.compile(r"non-zero status of (\d+)")

_DEADLINE_EXCEEDED: Final = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
_MACHINE_LOST: Final = frozenset(
    code.value[0]
    for code in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )
)
"""Codes of a job's error that are the service's: nothing to do with the trainer."""


def create() -> VertexExecutor:
    """Return the executor of this process's settings.

    Raises:
        ExecutorRefusedError: ``executor.configuration``: there are no credentials.
    """
    settings = executor_settings()
    project = settings.continuon_vertex_project or settings.google_cloud_project
    region = settings.continuon_vertex_region
    return VertexExecutor(
        _client(region, settings.continuon_vertex_emulator_host),
        f"projects/{project}/locations/{region}",
        JobLogs(project, settings.continuon_vertex_logging_emulator_host),
        image=settings.continuon_vertex_image,
        service_account=settings.continuon_vertex_service_account,
        spot=settings.continuon_vertex_spot,
    )


def _client(region: str, emulator: str | None) -> JobServiceAsyncClient:
    if emulator is not None:
        channel = grpc.aio.insecure_channel(emulator)
        return JobServiceAsyncClient(transport=JobServiceGrpcAsyncIOTransport(channel=channel))
    options = ClientOptions(api_endpoint=f"{region}-aiplatform.googleapis.com")
    try:
        return JobServiceAsyncClient(client_options=options)
    except DefaultCredentialsError as error:
        message = "This deployment has no Google credentials for Vertex AI."
        raise ExecutorRefusedError("executor.configuration", message) from error


class VertexExecutor:
    """See the module.

    Args:
        client: Of the region's endpoint.
        parent: ``projects/<project>/locations/<region>``.
        logs: Where the output of custom jobs is.
        image: The trainer's image by digest, where a work names none.
        service_account: What the trainer's machine runs as; None for Vertex AI's own, which may
            do more than a trainer should.
        spot: Whether to take machines that may be taken away, for less money.
    """

    name = "vertex"
    starts_work = True

    def __init__(
        self,
        client: JobServiceAsyncClient,
        parent: str,
        logs: JobLogs,
        *,
        image: str | None = None,
        service_account: str | None = None,
        spot: bool = False,
    ) -> None:
        self._client = client
        self._parent = parent
        self._logs = logs
        self._image = image
        self._service_account = service_account
        self._spot = spot

    async def submit(self, work: Work) -> Submitted:
        """Create the custom job unless there is one of that display name; see the module."""
        check_name(work.name)
        job = self._custom_job(work)
        if await self._jobs(work.name):
            return Submitted(work.name, created=False)
        with _errors():
            own = await self._client.create_custom_job(parent=self._parent, custom_job=job, **_CALL)
        # A list that does not show it yet proves nothing; an older one in it does.
        listed = {job.name: job for job in await self._jobs(work.name)}
        oldest, *younger = sorted((listed | {own.name: own}).values(), key=_age)
        await self._cancel(younger)
        return Submitted(work.name, created=oldest.name == own.name)

    async def poll(self, name: str) -> WorkStatus:
        """Say how the oldest custom job of that name is; cancel any other."""
        jobs = await self._jobs(check_name(name))
        if not jobs:
            return WorkStatus(state=WorkState.GONE)
        await self._cancel(jobs[1:])
        return _status(jobs[0])

    async def cancel(self, name: str) -> None:
        """Cancel every custom job of that name; Vertex AI sends SIGTERM, then SIGKILL."""
        await self._cancel(await self._jobs(check_name(name)))

    async def logs(self, name: str, offset: int = 0) -> LogChunk:
        """Return output after ``offset``, which is a time: nanoseconds since the epoch."""
        jobs = await self._jobs(check_name(name))
        if not jobs:
            return LogChunk("", offset, complete=True)
        job_id = jobs[0].name.rpartition("/")[2]
        text, last = await asyncio.to_thread(self._logs.read, job_id, offset)
        # Entries arrive late, so the end is only believed when nothing more comes.
        return LogChunk(text, last, complete=not text and _status(jobs[0]).state.is_over)

    async def _jobs(self, name: str) -> list[CustomJob]:
        """Return the custom jobs of that name, oldest first."""
        request = {"parent": self._parent, "filter": f'display_name="{name}"', "page_size": 100}
        with _errors():
            pager = await self._client.list_custom_jobs(request=request, **_CALL)
            found = [job async for job in pager]
        return sorted((job for job in found if job.labels.get(_LABEL) == name), key=_age)

    async def _cancel(self, jobs: Sequence[CustomJob]) -> None:
        for job in jobs:
            if job.state not in _WAITING | _RUNNING:
                continue
            with _errors():
                try:
                    await self._client.cancel_custom_job(name=job.name, **_CALL)
                except (exceptions.NotFound, exceptions.FailedPrecondition):
                    continue  # it ended, or was deleted, since it was listed

    def _custom_job(self, work: Work) -> CustomJob:
        machine = machine_for(work.resources)
        environment = dict(work.environment) | dict(work.secrets)
        spec: dict[str, Any] = {
            "machine_spec": {"machine_type": machine.name},
            "replica_count": 1,
            "container_spec": {
                "image_uri": check_image(work.image or self._image),
                "command": list(work.command),
                "env": [
                    # $(NAME) would be expanded; $$ is a dollar sign.
                    {"name": name, "value": value.replace("$", "$$")}
                    for name, value in environment.items()
                ],
            },
        }
        if machine.gpu_count:
            gpu = {"accelerator_type": machine.gpu_type, "accelerator_count": machine.gpu_count}
            spec["machine_spec"] |= gpu
        strategies = Scheduling.Strategy
        return CustomJob(
            display_name=work.name,
            labels={key.replace("-", "_"): value for key, value in work.labels.items()}
            | {_LABEL: work.name},
            job_spec={
                "worker_pool_specs": [spec],
                "scheduling": {
                    "timeout": Duration(seconds=work.timeout_s),
                    # An attempt runs once; the next attempt is the codebase's decision.
                    "disable_retries": True,
                    "strategy": strategies.SPOT if self._spot else strategies.STANDARD,
                },
                "service_account": self._service_account or "",
            },
        )


def _age(job: CustomJob) -> tuple[float, str]:
    return job.create_time.timestamp(), job.name


def _status(job: CustomJob) -> WorkStatus:
    if job.state in _WAITING:
        return WorkStatus(state=WorkState.PENDING)
    if job.state in _RUNNING:
        return WorkStatus(state=WorkState.RUNNING)
    if job.state == JobState.JOB_STATE_SUCCEEDED:
        return WorkStatus(state=WorkState.SUCCEEDED, exit_code=0)
    message = job.error.message or JobState(job.state).name
    exit_status = _EXIT_STATUS.search(message)
    lost = job.error.code in _MACHINE_LOST or "preempt" in message.lower()
    expired = job.state == JobState.JOB_STATE_EXPIRED
    return WorkStatus(
        state=WorkState.FAILED,
        exit_code=int(exit_status[1]) if exit_status else None,
        message=message[:1000],
        preempted=lost and not exit_status,
        timed_out=expired or job.error.code == _DEADLINE_EXCEEDED,
    )


@contextmanager
def _errors() -> Iterator[None]:
    """Translate what the client raises into the protocol's errors."""
    try:
        yield
    except exceptions.GoogleAPICallError as error:
        raise _translated(error) from error
    except (exceptions.RetryError, GoogleAuthError) as error:
        raise ExecutorUnavailableError(SERVICE, type(error).__name__) from error


def _translated(error: exceptions.GoogleAPICallError) -> ExecutorError:
    message = str(error.message)[:1000]
    if isinstance(error, exceptions.ResourceExhausted | exceptions.TooManyRequests):
        return ExecutorQuotaError(SERVICE, message)
    if isinstance(error, exceptions.Unauthenticated):
        return ExecutorUnavailableError(SERVICE, "it does not accept our credentials")
    if isinstance(error, exceptions.Forbidden):
        return ExecutorRefusedError("executor.forbidden", message)
    if isinstance(error, exceptions.ClientError) and not isinstance(
        error, exceptions.Aborted | exceptions.Cancelled
    ):
        return ExecutorRefusedError("executor.invalid", message)
    return ExecutorUnavailableError(SERVICE, message)
