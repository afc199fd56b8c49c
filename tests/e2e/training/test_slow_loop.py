"""The slow loop: exactly one job for each N new episodes, however many events arrive."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any

import pytest

from product import problem, wait_for
from training_stage import ROBOT_MODEL

if TYPE_CHECKING:
    from training_stage import Stage

LOOP = {"threshold": 3, "backend": "pull", "backend_label": "lab", "min_quality": 0.5}
PATH = f"/slow-loops/{ROBOT_MODEL}"


def _set(stage: Stage, **changes: Any) -> dict[str, Any]:
    response = stage.call("PUT", PATH, json={**LOOP, **changes})
    assert response.status_code == 200, response.text
    loop: dict[str, Any] = response.json()
    return loop


def _announce(stage: Stage, episodes: list[str], *, times: int = 1, **changes: Any) -> None:
    """Publish `episode-validated` for each, as ingest does, from many threads at once."""

    def one(name: str) -> None:
        body = {
            "episode_id": name,
            "robot_model": ROBOT_MODEL,
            "owner_id": stage.owner.uid,
            "training_eligible": True,
            **changes,
        }
        stage.publish("episode-validated", body)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(one, episodes * times))
    stage.settle()


def _jobs(stage: Stage) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = stage.call("GET", "/jobs").json()["jobs"]
    return jobs


def test_a_loop_starts_one_job_when_enough_episodes_came_together(stage: Stage) -> None:
    assert _set(stage)["started"] == 0
    early = stage.episodes(2)
    _announce(stage, early)
    assert _jobs(stage) == []
    late = stage.episodes(1)
    _announce(stage, late)
    (job,) = _jobs(stage)
    assert (job["type"], job["config"]["backend"]) == ("slow_loop", "pull")
    assert job["config"]["episode_count"] == 3
    loop = stage.call("GET", PATH).json()
    assert (loop["started"], loop["last_job_id"]) == (1, job["job_id"])
    assert stage.audit(job["job_id"]) == ["training.create"]


def test_however_many_events_arrive_at_once_one_job_starts(stage: Stage) -> None:
    _set(stage)
    episodes = stage.episodes(4)
    _announce(stage, episodes, times=6)
    assert len(_jobs(stage)) == 1
    _announce(stage, episodes, times=3)
    assert len(_jobs(stage)) == 1
    more = stage.episodes(2)
    _announce(stage, more)
    assert len(_jobs(stage)) == 1
    _announce(stage, stage.episodes(1), times=4)
    newest, _ = _jobs(stage)
    assert newest["config"]["episode_count"] == 7
    assert stage.call("GET", PATH).json()["started"] == 2


@pytest.mark.parametrize(
    ("loop", "changes"),
    [
        ({"enabled": False}, {}),
        ({}, {"quality": 0.4}),
        ({}, {"training_eligible": False}),
        ({}, {"robot_model": "rover"}),
        ({}, {"status": "rejected"}),
    ],
)
def test_what_is_not_eligible_is_not_counted(
    stage: Stage, loop: dict[str, Any], changes: dict[str, Any]
) -> None:
    _set(stage, **loop)
    _announce(stage, stage.episodes(4, **changes))
    assert _jobs(stage) == []


def test_anothers_episodes_and_a_model_without_a_loop_start_nothing(stage: Stage) -> None:
    stranger = stage.of_new_account()
    _set(stranger)
    _announce(stage, stage.episodes(4))
    assert _jobs(stage) == _jobs(stranger) == []


@pytest.mark.parametrize("body", [b"", b"[]", b'{"owner_id": 7}', b"\xff"])
def test_a_malformed_event_is_acknowledged_and_starts_nothing(stage: Stage, body: bytes) -> None:
    stage.publish_bytes("episode-validated", body)
    stage.settle()
    assert _jobs(stage) == []


@pytest.mark.parametrize("point", ["slow_loop.counted", "slow_loop.created"])
def test_an_event_whose_worker_dies_starts_one_job_all_the_same(stage: Stage, point: str) -> None:
    _set(stage, backend="subprocess", backend_label=None, hyperparams={"steps": 1})
    episodes = stage.episodes(3)
    marker = stage.arm(point)
    _announce(stage, episodes[:1])
    wait_for(lambda: marker.exists() or None)
    (job,) = wait_for(lambda: _jobs(stage) or None)
    if point == "slow_loop.created":
        # Its message was never sent.
        stage.age(job["job_id"], "next_dispatch_at")
    end = stage.ended(job["job_id"], watch=True)
    assert end["status"] == "completed"
    _announce(stage, episodes, times=2)
    assert len(_jobs(stage)) == 1
    assert stage.works_of(job["job_id"]) == 1


def test_a_loop_without_money_starts_nothing_until_there_is_some(stage: Stage) -> None:
    _set(stage)
    episodes = stage.episodes(3)
    spent = stage.start(backend="pull", backend_label="other")["job_id"]
    stage.change(spent, {"cost_usd": 60.0})
    loop = stage.call("GET", PATH).json()
    assert loop["threshold"] == 3
    # What costs nothing needs no money: the loop's backend is the owner's own.
    _announce(stage, episodes)
    assert {job["type"] for job in _jobs(stage)} == {"seed", "slow_loop"}


def test_loops_are_their_owners_and_say_what_is_wrong_with_them(stage: Stage) -> None:
    problem(stage.call("GET", PATH), 404, "slow_loop.not_found")
    _set(stage)
    problem(stage.of_new_account().call("GET", PATH), 404, "slow_loop.not_found")
    refused = stage.call("PUT", PATH, json={**LOOP, "backend": "vertex", "backend_label": None})
    problem(refused, 422, "job.backend_disabled")
    refused = stage.call("PUT", PATH, json={**LOOP, "backend_label": None})
    problem(refused, 422, "job.backend_label_required")
    problem(stage.call("PUT", PATH, json={**LOOP, "threshold": 0}), 422, "request.invalid")
    problem(stage.call("PUT", "/slow-loops/a b", json=LOOP), 422, "request.invalid")
    assert _set(stage, threshold=9)["threshold"] == 9
    assert stage.call("GET", PATH).json()["threshold"] == 9
