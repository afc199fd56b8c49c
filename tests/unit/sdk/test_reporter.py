"""What a trainer reports arrives once, in order and in bounds."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from continuon import limits
from continuon.contracts.training import CallbackState, MetricRow
from continuon_cloud.training import api, reporter
from continuon_cloud.training.api import JobApi, Patience
from continuon_cloud.training.errors import StoppedError
from continuon_cloud.training.reporter import Reporter, flush_interval_s

JOB = "job_00000000000000000000"


class Cloud:
    """Keeps what arrives; ``lost`` answers are lost after it was kept."""

    def __init__(self, *, lost: int = 0, stop: str | None = None) -> None:
        self.lost = lost
        self.stop = stop
        self.arrived: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.rpartition("/")[2]
        self.arrived.append((name, json.loads(request.content)))
        if self.lost:
            self.lost -= 1
            raise httpx.ReadError("the answer was lost")
        answers: dict[str, dict[str, Any]] = {
            "callback": {"applied": True, "status": "running"},
            "heartbeat": {"status": "running"},
            "metrics": {"stored": 1},
            "logs": {"stored": True},
        }
        stop = {"stop": True, "stop_reason": self.stop} if self.stop else {}
        return httpx.Response(200, json=answers[name] | stop)

    def of(self, name: str) -> list[dict[str, Any]]:
        return [body for kind, body in self.arrived if kind == name]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_FIRST_WAIT_S", 0.001)


def reporter_to(cloud: Cloud, *, sequence: int = 0, heartbeat_s: float = 3600) -> Reporter:
    http = httpx.AsyncClient(transport=httpx.MockTransport(cloud))
    one = JobApi(http, "http://cloud", JOB, "token", Patience(30))
    return Reporter(one, attempt=2, sequence=sequence, heartbeat_s=heartbeat_s)


def row(step: int) -> MetricRow:
    return MetricRow.model_validate({"step": step, "split": "train", "loss": 0.5})


async def test_callbacks_go_on_behind_the_last_that_was_applied() -> None:
    cloud = Cloud()
    one = reporter_to(cloud, sequence=7)

    await asyncio.gather(*(one.callback(step=step) for step in range(3)))

    sent = cloud.of("callback")
    assert [(body["sequence"], body["step"]) for body in sent] == [(8, 0), (9, 1), (10, 2)]
    assert {body["attempt"] for body in sent} == {2}


async def test_a_callback_whose_answer_was_lost_is_sent_again_under_its_number() -> None:
    cloud = Cloud(lost=2)

    await reporter_to(cloud).callback(state=CallbackState.RUNNING, step=5)

    assert (
        cloud.of("callback") == [{"attempt": 2, "sequence": 1, "state": "running", "step": 5}] * 3
    )


async def test_a_stop_in_an_answer_is_obeyed_but_not_after_the_last_word() -> None:
    one = reporter_to(Cloud(stop="budget"))

    ended = await one.callback(state=CallbackState.COMPLETED)
    with pytest.raises(StoppedError) as caught:
        await one.callback(state=CallbackState.RUNNING)

    assert ended.stop
    assert caught.value.reason == "budget"


async def test_rows_are_sent_in_order_and_in_batches() -> None:
    cloud = Cloud()
    one = reporter_to(cloud)
    for step in range(limits.MAX_METRIC_ROWS_PER_REQUEST + 3):
        one.leave_row(row(step))

    await one.flush()

    sizes = [len(body["rows"]) for body in cloud.of("metrics")]
    steps = [one["step"] for body in cloud.of("metrics") for one in body["rows"]]
    assert sizes == [limits.MAX_METRIC_ROWS_PER_REQUEST, 3]
    assert steps == list(range(limits.MAX_METRIC_ROWS_PER_REQUEST + 3))


@pytest.mark.parametrize("character", ["a", "ü", "話", "🤖"])
async def test_a_log_is_cut_between_characters_and_arrives_whole(character: str) -> None:
    cloud = Cloud()
    one = reporter_to(cloud)
    text = character * (limits.MAX_LOG_CHUNK_BYTES // 2 + 11) + "\n"
    one.leave_text(text)
    one.leave_text("the end\n")

    await one.flush()

    chunks = cloud.of("logs")
    assert "".join(body["text"] for body in chunks) == text + "the end\n"
    assert all(len(body["text"].encode()) <= limits.MAX_LOG_CHUNK_BYTES for body in chunks)
    assert [body["sequence"] for body in chunks] == list(range(1, len(chunks) + 1))


async def test_a_log_that_cannot_be_sent_stays_in_bounds_and_says_what_is_missing() -> None:
    cloud = Cloud()
    one = reporter_to(cloud)
    for number in range(40):
        one.leave_text(f"{number} " + "x" * 100_000 + "\n")

    await one.flush()

    text = "".join(body["text"] for body in cloud.of("logs"))
    assert len(text) <= reporter.MAX_HELD_LOG_BYTES + 200
    assert "part of the log was left out" in text
    assert "39 x" in text
    assert "\n0 x" not in text


async def test_a_restarted_trainer_numbers_its_log_beyond_the_first_one() -> None:
    cloud = Cloud()
    one = reporter_to(cloud, sequence=3)
    one.leave_text("again\n")

    await one.flush()

    assert cloud.of("logs")[0]["sequence"] > 3000


async def test_a_heartbeat_that_says_stop_ends_what_the_foreground_waits_for() -> None:
    cloud = Cloud(stop="cancelled")
    http = httpx.AsyncClient(transport=httpx.MockTransport(cloud))
    patience = Patience(30)
    one = Reporter(
        JobApi(http, "http://cloud", JOB, "token", patience),
        attempt=1,
        sequence=0,
        heartbeat_s=0.01,
    )
    running = asyncio.create_task(one.run())
    await patience.sleep(30)
    running.cancel()

    assert patience.reason == "cancelled"
    assert cloud.of("heartbeat")[0] == {"attempt": 1}


def test_a_long_training_reports_in_larger_batches() -> None:
    assert [flush_interval_s(elapsed) for elapsed in (0, 30, 75, 150, 1e9)] == [2, 2, 5, 10, 10]
