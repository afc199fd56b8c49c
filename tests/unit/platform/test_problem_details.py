"""Every error answer is problem details (RFC 9457), whatever went wrong."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Query

from continuon import limits
from continuon.auth.problems import CREDENTIALS_MISSING
from continuon.contracts.base import Contract
from continuon.errors import FieldProblem, ProblemError, UnavailableError
from continuon.platform.http import PROBLEM_MEDIA_TYPE, create_app
from continuon.platform.logging import JsonFormatter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_router = APIRouter()


class _Item(Contract):
    name: str
    size: int


class _Order(Contract):
    items: list[_Item]


@_router.post("/orders")
async def _orders(order: _Order, page: Annotated[int, Query(ge=1)] = 1) -> dict[str, int]:
    return {"items": len(order.items), "page": page}


@_router.get("/fail/{how}")
async def _fail(how: str) -> dict[str, str]:
    if how == "credentials":
        raise ProblemError(CREDENTIALS_MISSING)
    if how == "unavailable":
        raise UnavailableError("Firestore", retry_after_s=7)
    if how == "fields":
        raise ProblemError(
            CREDENTIALS_MISSING, "why", errors=[FieldProblem("a.b", "files[0].path", "is wrong")]
        )
    raise RuntimeError("the secret is Bearer abc.def")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app("Test", _router, project_id="demo-continuon")
    # An error that reached the server would be printed by it a second time, and unmasked.
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as opened:
        yield opened


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []

    class _Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonFormatter("demo-continuon").format(record))

    handler = _Lines()
    logging.getLogger("continuon").addHandler(handler)
    yield lines
    logging.getLogger("continuon").removeHandler(handler)


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM_MEDIA_TYPE
    body: dict[str, Any] = response.json()
    assert set(body) == {"type", "title", "status", "detail", "code", "errors", "trace_id"}
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"/docs/problems#{code}"
    assert len(body["trace_id"]) == 32
    return body


async def test_an_unknown_route_is_a_problem(client: httpx.AsyncClient) -> None:
    problem(await client.get("/nowhere"), 404, "request.route_unknown")


async def test_a_wrong_method_is_a_problem_that_names_the_right_one(
    client: httpx.AsyncClient,
) -> None:
    response = await client.put("/orders")
    problem(response, 405, "request.route_unknown")
    assert response.headers["allow"] == "POST"


async def test_a_large_body_is_refused_by_its_announced_length(client: httpx.AsyncClient) -> None:
    response = await client.post("/orders", content=b" " * (limits.MAX_REQUEST_BYTES + 1))
    problem(response, 413, "request.too_large")


@pytest.mark.parametrize("pieces", [1, 17])
async def test_a_large_body_without_a_length_is_refused(
    pieces: int, client: httpx.AsyncClient
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(pieces):
            yield b" " * (limits.MAX_REQUEST_BYTES // pieces + 1)

    headers = {"content-type": "application/json"}
    response = await client.post("/orders", content=endless(), headers=headers)
    problem(response, 413, "request.too_large")


async def test_an_invalid_body_names_each_field_by_its_path(client: httpx.AsyncClient) -> None:
    document = {"items": [{"name": "a", "size": 1}, {"name": 7, "size": "x"}]}
    response = await client.post("/orders?page=0", json=document)
    body = problem(response, 422, "request.invalid")
    found = {error["path"]: error["code"] for error in body["errors"]}
    assert found == {
        "page": "request.greater_than_equal",
        "items[1].name": "request.string_type",
        "items[1].size": "request.int_parsing",
    }
    assert all(error["message"] for error in body["errors"])


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"nul", b"\xff\xfe", b"[" * 100_000, b'{"items": 1', b'{"a":"\\ud800"}', b"[]"],
    ids=["empty", "cut", "word", "no text", "deep", "cut late", "surrogate", "list"],
)
async def test_a_body_that_is_no_request_is_refused_without_a_traceback(
    content: bytes, client: httpx.AsyncClient, log: list[str]
) -> None:
    headers = {"content-type": "application/json"}
    response = await client.post("/orders", content=content, headers=headers)
    problem(response, 422, "request.invalid")
    assert log == []


async def test_a_body_that_is_no_json_names_the_place_and_no_field(
    client: httpx.AsyncClient,
) -> None:
    headers = {"content-type": "application/json"}
    response = await client.post("/orders", content=b'{"a":', headers=headers)
    (error,) = problem(response, 422, "request.invalid")["errors"]
    assert (error["code"], error["path"]) == ("request.json_invalid", "")
    assert error["message"].endswith("at character 5")


async def test_an_answer_never_repeats_the_input(client: httpx.AsyncClient) -> None:
    document = {"items": [{"name": {"secret": "hunter2"}, "size": 1}]}
    response = await client.post("/orders", json=document)
    assert "hunter2" not in response.text


async def test_missing_proof_is_challenged(client: httpx.AsyncClient) -> None:
    response = await client.get("/fail/credentials")
    problem(response, 401, "auth.credentials_missing")
    assert response.headers["www-authenticate"] == 'Bearer realm="continuon", Signature'


async def test_a_problem_carries_its_fields(client: httpx.AsyncClient) -> None:
    body = problem(await client.get("/fail/fields"), 401, "auth.credentials_missing")
    assert body["detail"] == "why"
    assert body["errors"] == [{"code": "a.b", "path": "files[0].path", "message": "is wrong"}]


async def test_an_unavailable_store_says_when_to_come_back(client: httpx.AsyncClient) -> None:
    response = await client.get("/fail/unavailable")
    body = problem(response, 503, "service.unavailable")
    assert response.headers["retry-after"] == "7"
    assert "Firestore" in body["detail"]


async def test_a_bug_of_ours_is_logged_once_and_shown_to_nobody(
    client: httpx.AsyncClient, log: list[str]
) -> None:
    response = await client.get("/fail/bug")
    problem(response, 500, "service.internal")
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    assert len(log) == 1
    entry = json.loads(log[0])
    assert entry["severity"] == "ERROR"
    assert "RuntimeError" in entry["stack_trace"]
    assert entry["path"] == "/fail/bug"
    assert "abc.def" not in log[0]


async def test_an_answer_carries_the_callers_trace(client: httpx.AsyncClient) -> None:
    headers = {"traceparent": f"00-{_TRACE}-00f067aa0ba902b7-01"}
    assert (await client.get("/nowhere", headers=headers)).json()["trace_id"] == _TRACE


async def test_a_request_without_a_trace_gets_its_own(client: httpx.AsyncClient) -> None:
    first, second = [(await client.get("/nowhere")).json()["trace_id"] for _ in "ab"]
    assert first != second
