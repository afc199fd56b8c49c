"""How a trainer's calls are repeated, and what ends them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from continuon.contracts.training import HeartbeatRequest
from continuon_cloud.errors import ApiProblem
from continuon_cloud.training import api
from continuon_cloud.training.api import LOST, JobApi, Patience
from continuon_cloud.training.errors import CloudLostError, StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable

JOB = "job_00000000000000000000"
ALIVE = {"status": "running"}
HTML = httpx.Response(200, text="<h1>Welcome to the hotel</h1>")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(api, "_LONGEST_WAIT_S", 0.01)


def problem(status: int, code: str) -> httpx.Response:
    body = {"type": "about:blank", "title": "No.", "status": status, "detail": "", "code": code}
    return httpx.Response(status, json=body)


class Cloud:
    """Answers what it was given, one after the other, and then that all is well."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else httpx.Response(200, json=ALIVE)
        if isinstance(answer, Exception):
            raise answer
        return answer


def job_api(handler: Callable[[httpx.Request], httpx.Response], give_up_s: float = 30.0) -> JobApi:
    http = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    return JobApi(http, "http://cloud", JOB, "the-token", Patience(give_up_s))


async def beat(one: JobApi) -> Any:
    return await one.heartbeat(HeartbeatRequest(attempt=1))


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("silence"),
        problem(503, "service.unavailable"),
        problem(500, "service.error"),
        problem(429, "limit.rate"),
        problem(409, "job.changed"),
        httpx.Response(404, text="no backend"),
        httpx.Response(403, text="blocked by the proxy"),
        HTML,
    ],
)
async def test_what_the_network_or_the_service_broke_is_asked_again(
    trouble: httpx.Response | Exception,
) -> None:
    cloud = Cloud(trouble, trouble)

    answer = await beat(job_api(cloud))

    assert answer.status == "running"
    assert len(cloud.requests) == 3
    assert {request.content for request in cloud.requests} == {b'{"attempt":1}'}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (problem(401, "job.token_invalid"), "unauthorised"),
        (problem(404, "job.not_found"), "unauthorised"),
        (problem(409, "job.superseded"), "superseded"),
    ],
)
async def test_a_token_that_is_no_longer_good_means_stop(
    answer: httpx.Response, reason: str
) -> None:
    cloud = Cloud(answer)

    with pytest.raises(StoppedError) as caught:
        await beat(job_api(cloud))

    assert caught.value.reason == reason
    assert len(cloud.requests) == 1


async def test_a_refusal_is_not_repeated() -> None:
    cloud = Cloud(problem(422, "artifact.incomplete"))

    with pytest.raises(ApiProblem) as caught:
        await beat(job_api(cloud))

    assert caught.value.code == "artifact.incomplete"
    assert len(cloud.requests) == 1


async def test_a_cloud_that_stays_silent_is_given_up() -> None:
    def silent(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(CloudLostError) as caught:
        await beat(job_api(silent, give_up_s=0.05))

    assert caught.value.code == "trainer.cloud_lost"


@pytest.mark.parametrize(("reason", "kind"), [("cancelled", StoppedError), (LOST, CloudLostError)])
async def test_a_stop_ends_what_waits(
    reason: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_FIRST_WAIT_S", 3600.0)
    monkeypatch.setattr(api, "_LONGEST_WAIT_S", 3600.0)
    one = job_api(Cloud(httpx.ConnectError("refused")), give_up_s=1e9)
    waiting = asyncio.create_task(beat(one))
    await asyncio.sleep(0)
    one.patience.stop(reason)
    one.patience.stop("a later reason does not count")

    with pytest.raises(kind):
        await waiting


async def test_the_token_goes_into_the_header_and_nowhere_else() -> None:
    cloud = Cloud()

    await beat(job_api(cloud))

    (request,) = cloud.requests
    assert request.headers["authorization"] == "Bearer the-token"
    assert request.url.path == f"/api/v1/training/jobs/{JOB}/heartbeat"
    assert json.loads(request.content) == {"attempt": 1}
