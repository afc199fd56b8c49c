"""Vertex AI's job service over gRPC, as far as custom jobs go; messages are Google's own."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.cloud.aiplatform_v1 import (
    CancelCustomJobRequest,
    CreateCustomJobRequest,
    CustomJob,
    JobState,
    ListCustomJobsRequest,
    ListCustomJobsResponse,
)
from google.protobuf.empty_pb2 import Empty
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

SERVICE = "google.cloud.aiplatform.v1.JobService"
PARENT = "projects/demo-lab/locations/europe-west4"

_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
_FILTER = re.compile(r'display_name="([^"]*)"')
_LOG_FILTER = re.compile(
    r'resource\.type="ml_job" resource\.labels\.job_id="(?P<job>\d+)"'
    r'( timestamp>"(?P<after>[^"]+)")?'
)
_PAGE = 2
"""A page of a list: small, so that clients have to follow pages."""


class Vertex:
    """The custom jobs of one region, and what Vertex AI does with them."""

    def __init__(self) -> None:
        self.jobs: dict[str, CustomJob] = {}
        self.calls: list[str] = []
        self.failures: list[tuple[grpc.StatusCode, str]] = []
        """Answered instead of doing anything, each once."""
        self.lost_answers = 0
        """So many creations are done and answered with UNAVAILABLE."""
        self.hidden = 0
        """So many lists do not show anything yet."""
        self._clock = datetime(2026, 1, 1, tzinfo=UTC)

    # --- What Vertex AI does --------------------------------------------------------------------

    def named(self, name: str) -> list[CustomJob]:
        found = [job for job in self.jobs.values() if job.display_name == name]
        return sorted(found, key=lambda job: job.create_time.timestamp())

    def become(self, name: str, state: JobState, code: int = 0, message: str = "") -> None:
        """The oldest job of that name is in another state now."""
        job = self.named(name)[0]
        job.state = state
        if message:
            job.error = {"code": code, "message": message}

    def add(self, job: CustomJob) -> CustomJob:
        """Make a job, as another dispatcher would."""
        self._clock += timedelta(seconds=1)
        stored = CustomJob(job)
        stored.name = f"{PARENT}/customJobs/{10**18 + len(self.jobs)}"
        stored.create_time = self._clock
        stored.state = JobState.JOB_STATE_PENDING
        self.jobs[stored.name] = stored
        return stored

    # --- Requests -------------------------------------------------------------------------------

    async def create(
        self, request: CreateCustomJobRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> CustomJob:
        await self._called("create", context)
        if problems := _problems(request):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Invalid: {problems}")
        job = self.add(request.custom_job)
        if self.lost_answers:
            self.lost_answers -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        return job

    async def list(
        self, request: ListCustomJobsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ListCustomJobsResponse:
        await self._called("list", context)
        wanted = _FILTER.fullmatch(request.filter)
        assert wanted is not None
        assert request.parent == PARENT
        if self.hidden:
            self.hidden -= 1
            return ListCustomJobsResponse()
        found = self.named(wanted[1])[::-1]  # newest first, as Vertex AI lists
        start = int(request.page_token or 0)
        more = str(start + _PAGE) if len(found) > start + _PAGE else ""
        page = found[start : start + _PAGE]
        return ListCustomJobsResponse(custom_jobs=page, next_page_token=more)

    async def cancel(
        self, request: CancelCustomJobRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Empty:
        await self._called("cancel", context)
        job = self.jobs.get(request.name)
        if job is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"{request.name} does not exist")
        if job.state >= JobState.JOB_STATE_SUCCEEDED and job.state != JobState.JOB_STATE_CANCELLING:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "The job is finished")
        job.state = JobState.JOB_STATE_CANCELLING
        return Empty()

    async def _called(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.calls.append(method)
        if self.failures:
            await context.abort(*self.failures.pop(0))

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Serve in the running loop; yield host and port."""
        server = grpc.aio.server()
        methods = {
            "CreateCustomJob": _handler(self.create, CreateCustomJobRequest, CustomJob),
            "ListCustomJobs": _handler(self.list, ListCustomJobsRequest, ListCustomJobsResponse),
            "CancelCustomJob": grpc.unary_unary_rpc_method_handler(
                self.cancel,
                request_deserializer=CancelCustomJobRequest.deserialize,
                response_serializer=Empty.SerializeToString,
            ),
        }
        handlers = grpc.method_handlers_generic_handler(SERVICE, methods)
        server.add_generic_rpc_handlers((handlers,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(0)


def _handler(method: Any, request: Any, response: Any) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_unary_rpc_method_handler(
        method, request_deserializer=request.deserialize, response_serializer=response.serialize
    )


def _problems(request: CreateCustomJobRequest) -> list[str]:
    """What Vertex AI would refuse of a custom job like ours."""
    job, spec = request.custom_job, request.custom_job.job_spec
    pool = spec.worker_pool_specs[0]
    machine = pool.machine_spec
    checks = {
        "parent": request.parent == PARENT,
        "display_name": 0 < len(job.display_name) <= 128,
        "labels": all(_LABEL.fullmatch(k) and _LABEL.fullmatch(v) for k, v in job.labels.items()),
        "replica_count": pool.replica_count == 1,
        "machine_type": machine.machine_type,
        "accelerator": bool(machine.accelerator_type) == bool(machine.accelerator_count),
        "image_uri": pool.container_spec.image_uri,
        "env": len(pool.container_spec.env) <= 100,
        "timeout": spec.scheduling.timeout.total_seconds() > 0,
    }
    return [problem for problem, fine in checks.items() if not fine]


class CloudLogging:
    """The method ``entries.list`` over HTTP, as far as filters like ours go."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, str]] = []
        """Job id, time and text."""
        self.status = 200

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/v2/entries:list", self._list, methods=["POST"])])

    async def _list(self, request: Request) -> JSONResponse:
        if self.status != 200:
            return JSONResponse({"error": {"code": self.status}}, self.status)
        body = await request.json()
        assert body["resourceNames"] == ["projects/demo-lab"]
        assert body["orderBy"] == "timestamp asc"
        found = _LOG_FILTER.fullmatch(body["filter"])
        assert found is not None
        after = _padded(found["after"] or "")
        shown = [
            {"timestamp": moment, "jsonPayload": {"message": text}, "insertId": str(number)}
            for number, (job, moment, text) in enumerate(self.entries)
            if job == found["job"] and _padded(moment) > after
        ]
        return JSONResponse({"entries": shown[: body["pageSize"]]} if shown else {})


def _padded(moment: str) -> str:
    """RFC 3339 with nine digits, so that strings compare as moments do."""
    return moment.removesuffix("Z").ljust(20, ".").ljust(29, "0")
