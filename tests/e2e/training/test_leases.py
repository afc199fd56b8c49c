"""Leases: one worker at a time, of the right owner and label, until it is silent for too long."""

from __future__ import annotations

import concurrent.futures
import hashlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from continuon import limits
from product import problem, store

if TYPE_CHECKING:
    from training_stage import Stage

PULL = {"backend": "pull", "backend_label": "lab"}


def _ask(stage: Stage, label: str = "lab", worker_id: str = "w1") -> httpx.Response:
    body = {"worker_id": worker_id, "backend_label": label}
    return stage.call("POST", "/lease", json=body)


def test_an_idle_worker_hears_that_there_is_nothing(stage: Stage) -> None:
    answer = _ask(stage)
    assert (answer.status_code, answer.content) == (204, b"")


def test_an_idle_question_is_one_query(stage: Stage) -> None:
    _ask(stage)
    hub = stage.product.cloud.urls["hub"]
    httpx.post(f"{hub}/meter/reset", timeout=60).raise_for_status()
    _ask(stage)
    meter = httpx.get(f"{hub}/meter", timeout=60).json()
    counted = meter["by_caller"].get("training_api", {})
    # Google charges a query that finds nothing as one read.
    assert {name: n for name, n in counted.items() if name.startswith("firestore")} == {
        "firestore.read": 1
    }


def test_only_the_owners_jobs_with_the_label_are_given_out_oldest_first(stage: Stage) -> None:
    stage.episodes(1)
    stranger = stage.of_new_account()
    stranger.episodes(1)
    stranger.start(**PULL)
    other = stage.start(backend="pull", backend_label="colab")["job_id"]
    first, second = (stage.start(**PULL)["job_id"] for _ in range(2))
    assert stage.lease()["job_id"] == first
    assert stage.lease(worker_id="w2")["job_id"] == second
    assert _ask(stage).status_code == 204
    assert stage.lease("colab")["job_id"] == other
    assert stage.job(first)["lease"]["worker_id"] == "w1"
    assert stage.call("GET", f"/jobs/{second}").json()["worker_id"] == "w2"


def test_workers_that_ask_at_once_get_one_job_each(stage: Stage) -> None:
    stage.episodes(1)
    jobs = {stage.start(**PULL)["job_id"] for _ in range(3)}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: _ask(stage, worker_id=f"w{n}"), range(8)))
    leased = [answer.json() for answer in answers if answer.status_code == 200]
    # A worker that lost every race is told to ask again, and finds what is left.
    while len(leased) < len(jobs):
        leased.append(stage.lease(worker_id=f"again-{len(leased)}"))
    assert {one["job_id"] for one in leased} == jobs
    assert len({one["token"] for one in leased}) == len(jobs) == len(leased)
    assert _ask(stage).status_code == 204


def test_heartbeats_keep_a_job_and_silence_gives_it_to_the_next_from_its_checkpoint(
    stage: Stage,
) -> None:
    stage.episodes(1)
    job = stage.start(**PULL)["job_id"]
    first = stage.lease()["token"]
    data = b"half way"
    body = {
        "kind": "checkpoint",
        "name": "c.bin",
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "step": 5,
    }
    granted = stage.trainer(first, "POST", f"/jobs/{job}/artifacts", body).json()
    store(granted["upload"], data).raise_for_status()
    report = {"attempt": 1, "sequence": 1, "step": 5, "checkpoint_ref": granted["ref"]}
    stage.trainer(first, "POST", f"/jobs/{job}/callback", report).raise_for_status()
    stage.age(job, "lease.until")
    beat = stage.trainer(first, "POST", f"/jobs/{job}/heartbeat", {"attempt": 1}).json()
    assert (beat["status"], beat["stop"]) == ("running", False)
    stage.watch()
    assert stage.job(job)["attempt"] == 1
    stage.age(job, "lease.until")
    stage.watch()
    waiting = stage.job(job)
    assert (waiting["status"], waiting["attempt"], waiting["sequence"]) == ("queued", 2, 0)
    second = stage.lease(worker_id="w2")
    assert second["attempt"] == 2
    assignment = stage.trainer(second["token"], "GET", f"/jobs/{job}/assignment").json()
    assert assignment["checkpoint"]["step"] == 5
    assert httpx.get(assignment["checkpoint"]["url"]).content == data


def test_a_job_that_loses_worker_after_worker_fails_in_the_end(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(**PULL)["job_id"]
    for attempt in range(1, limits.MAX_JOB_ATTEMPTS + 1):
        assert stage.lease()["attempt"] == attempt
        stage.age(job, "lease.until")
        stage.watch()
    end = stage.ended(job)
    assert (end["status"], end["error"]["code"]) == ("failed", "job.worker_lost")
    assert "attempt 5, the last" in end["error"]["message"]
    assert _ask(stage).status_code == 204


def test_a_job_that_is_given_back_goes_to_the_next_worker_at_once(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(**PULL)["job_id"]
    token = stage.lease()["token"]
    body = {"attempt": 1, "reason": "the lid was closed"}
    path = f"/jobs/{job}/release"
    assert stage.trainer(token, "POST", path, body).json() == {
        "released": True,
        "status": "queued",
    }
    assert stage.trainer(token, "POST", path, body).json()["released"] is False
    assert stage.lease(worker_id="w2")["attempt"] == 2


def test_a_lease_whose_answer_was_lost_runs_out(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(**PULL)["job_id"]
    marker = stage.arm("lease.leased")
    assert _ask(stage).status_code == 502
    assert marker.exists()
    assert stage.job(job)["status"] == "running"
    stage.age(job, "lease.until")
    stage.watch()
    assert stage.lease()["attempt"] == 2


def test_episodes_deleted_while_queued_are_left_out_of_a_lease_too(stage: Stage) -> None:
    kept, deleted = stage.episodes(2)
    job = stage.start(**PULL)["job_id"]
    stage.product.firestore.document(f"rlds_episodes/{deleted}").delete()
    token = stage.lease()["token"]
    assert stage.job(job)["config"]["episode_ids"] == [kept]
    page = stage.trainer(token, "GET", f"/jobs/{job}/episodes").json()
    assert [one["episode_id"] for one in page["episodes"]] == [kept]
    lost = stage.episodes(1)
    second = stage.start(**PULL, episode_ids=lost)["job_id"]
    stage.product.firestore.document(f"rlds_episodes/{lost[0]}").delete()
    assert _ask(stage).status_code == 204
    end = stage.ended(second)
    assert (end["status"], end["error"]["code"]) == ("failed", "job.no_episodes")


def test_a_cancelled_job_is_leased_to_nobody_and_stops_its_worker(stage: Stage) -> None:
    stage.episodes(1)
    waiting, running = (stage.start(**PULL)["job_id"] for _ in range(2))
    stage.call("POST", f"/jobs/{waiting}/cancel").raise_for_status()
    leased = stage.lease()
    assert leased["job_id"] == running
    stage.call("POST", f"/jobs/{running}/cancel").raise_for_status()
    path = f"/jobs/{running}/heartbeat"
    beat = stage.trainer(leased["token"], "POST", path, {"attempt": 1}).json()
    assert (beat["stop"], beat["stop_reason"]) == (True, "cancelled")
    assert _ask(stage).status_code == 204


@pytest.mark.parametrize(
    "body",
    [
        {"worker_id": "w1"},
        {"worker_id": "", "backend_label": "lab"},
        {"worker_id": "w1", "backend_label": "No Such Label"},
        {"worker_id": "../w", "backend_label": "lab"},
    ],
)
def test_a_malformed_question_is_refused(stage: Stage, body: Any) -> None:
    problem(stage.call("POST", "/lease", json=body), 422, "request.invalid")
