"""The calls of a job's owner, typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from continuon.contracts.models import ModelVersion
from continuon.contracts.training import (
    Budget,
    BudgetUpdate,
    Job,
    JobPage,
    JobRequest,
    JobStatus,
    LeaseRequest,
    LeaseResponse,
    LogPage,
    MetricPage,
    SlowLoop,
    SlowLoopUpdate,
)
from continuon_cloud.answers import read, segment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from continuon_cloud.transport import Transport

__all__ = ["TrainingClient"]

_ROOT = "/api/v1/training"
_Model = TypeVar("_Model", bound=BaseModel)


class TrainingClient:
    """Starts and follows the signed-in person's jobs; `ContinuonClient.training` is one.

    Every method raises :class:`~continuon_cloud.errors.ApiProblem` when the service refuses and
    :class:`~continuon_cloud.errors.UnreachableError` when there is no answer.

    Args:
        transport: Of the client.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def start(self, request: JobRequest, *, idempotency_key: str | None = None) -> Job:
        """Start a job.

        Args:
            request: What to train.
            idempotency_key: The same key again answers with the same job, after a lost answer.
        """
        headers = {"idempotency-key": idempotency_key} if idempotency_key else {}
        return await self._send("POST", "/jobs", Job, request, headers)

    async def job(self, job_id: str) -> Job:
        """Return one job, with its episodes."""
        return await self._get(_job(job_id), Job)

    async def jobs_page(
        self,
        *,
        status: JobStatus | None = None,
        episode_id: str | None = None,
        page_size: int | None = None,
        page_token: str | None = None,
    ) -> JobPage:
        """Return a page of the caller's jobs, newest first."""
        return await self._get(
            "/jobs",
            JobPage,
            status=status.value if status else None,
            episode_id=episode_id,
            page_size=page_size,
            page_token=page_token,
        )

    async def jobs(
        self, *, status: JobStatus | None = None, episode_id: str | None = None
    ) -> AsyncIterator[Job]:
        """Yield the caller's jobs, newest first, a page at a time."""
        token: str | None = None
        while True:
            page = await self.jobs_page(
                status=status, episode_id=episode_id, page_size=100, page_token=token
            )
            for job in page.jobs:
                yield job
            token = page.next_page_token
            if token is None:
                return

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job: it stops where it runs, and keeps its checkpoints."""
        return await self._send("POST", f"{_job(job_id)}/cancel", Job)

    async def retry(self, job_id: str) -> Job:
        """Start a new job like an ended one, from its last checkpoint."""
        return await self._send("POST", f"{_job(job_id)}/retry", Job)

    async def logs(self, job_id: str, *, after: str | None = None) -> LogPage:
        """Return the log from ``after`` on, which is an earlier page's ``next_page_token``."""
        return await self._get(f"{_job(job_id)}/logs", LogPage, after=after)

    async def metrics(self, job_id: str, *, after: str | None = None) -> MetricPage:
        """Return rows of metrics from ``after`` on, an earlier page's ``next_page_token``."""
        return await self._get(f"{_job(job_id)}/metrics", MetricPage, after=after)

    async def budget(self) -> Budget:
        """Return what may be spent this month, and what was."""
        return await self._get("/budget", Budget)

    async def set_budget(self, monthly_limit_usd: float) -> Budget:
        """Set what may be spent in a month."""
        body = BudgetUpdate(monthly_limit_usd=monthly_limit_usd)
        return await self._send("PUT", "/budget", Budget, body)

    async def slow_loop(self, robot_model: str) -> SlowLoop:
        """Return when a robot model is trained again by itself."""
        return await self._get(_loop(robot_model), SlowLoop)

    async def set_slow_loop(self, robot_model: str, update: SlowLoopUpdate) -> SlowLoop:
        """Set when a robot model is trained again by itself."""
        return await self._send("PUT", _loop(robot_model), SlowLoop, update)

    async def registered(self, model_ref: str) -> ModelVersion:
        """Return the model version that a job's ``output.model_ref`` names, with its lineage."""
        path = "/".join(segment(part) for part in model_ref.split("/"))
        return read(ModelVersion, await self._transport.call("GET", f"/api/v1/{path}"))

    async def lease(self, request: LeaseRequest) -> LeaseResponse | None:
        """Take one job that waits for a worker with this label; None when there is none."""
        sent = request.model_dump(mode="json")
        answer = await self._transport.call("POST", f"{_ROOT}/lease", body=sent)
        return None if answer is None else read(LeaseResponse, answer)

    async def _get(self, path: str, model: type[_Model], **query: str | int | None) -> _Model:
        return read(model, await self._transport.call("GET", _ROOT + path, query=query))

    async def _send(
        self,
        method: str,
        path: str,
        model: type[_Model],
        body: BaseModel | None = None,
        headers: dict[str, str] | None = None,
    ) -> _Model:
        sent = None if body is None else body.model_dump(mode="json", exclude_none=True)
        answer = await self._transport.call(method, _ROOT + path, body=sent, headers=headers)
        return read(model, answer)


def _job(job_id: str) -> str:
    return f"/jobs/{segment(job_id)}"


def _loop(robot_model: str) -> str:
    return f"/slow-loops/{segment(robot_model)}"
