"""The watchdog: whatever no message and no trainer takes care of."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from function_processes import function_process
from product import problem, wait_for

if TYPE_CHECKING:
    from training_stage import Stage

PULL = {"backend": "pull", "backend_label": "lab"}


def test_a_killed_trainer_is_replaced_by_one_that_goes_on_from_its_checkpoint(
    stage: Stage,
) -> None:
    stage.episodes(1)
    job = stage.start(hyperparams={"steps": 4, "die_at": 3})["job_id"]
    end = stage.ended(job, watch=True)
    assert (end["status"], end["attempt"], end["step"]) == ("completed", 2, 4)
    assert stage.works_of(job) == 2
    rows = [row["step"] for one in stage.below(job, "metrics") for row in one["rows"]]
    assert sorted(rows) == [1, 2, 3, 4]
    assert end["checkpoint"]["ref"] == f"training/{job}/2/step-4.bin"


@pytest.mark.parametrize("point", ["watchdog.decided", "watchdog.dispatched"])
def test_a_watchdog_that_dies_between_two_steps_is_followed_by_one_that_finishes(
    stage: Stage, point: str
) -> None:
    stage.episodes(1)
    job = stage.start(hyperparams={"steps": 2, "die_at": 2})["job_id"]
    wait_for(lambda: True if stage.job(job)["step"] == 1 else None)
    wait_for(lambda: True if not stage.processes(job) else None)
    stage.age(job, "heartbeat_at", by_s=40)
    environment = {**stage.environment, "CONTINUON_FAULT": point}
    with function_process("training", "training_watchdog", "http", environment) as url:
        # The backend may need a moment until it says that the trainer is dead.
        wait_for(lambda: _dies(url) or None, timeout_s=90)
    end = stage.ended(job, watch=True)
    assert (end["status"], end["attempt"]) == ("completed", 2)
    assert stage.works_of(job) == 2


def _dies(url: str) -> bool:
    try:
        httpx.post(url, timeout=60)
    except httpx.TransportError:
        return True
    return False


def test_a_trainer_that_always_dies_is_given_up_with_the_reason(stage: Stage) -> None:
    stage.episodes(1)
    plan = {"steps": 1, "die_at": 1, "die_attempts": 9}
    job = stage.start(hyperparams=plan)["job_id"]
    end = stage.ended(job, watch=True)
    assert (end["status"], end["attempt"]) == ("failed", 5)
    assert end["error"]["code"] == "job.worker_killed"
    assert "attempt 5, the last" in end["error"]["message"]
    assert stage.works_of(job) == 5


def test_a_trainer_that_ends_without_a_word_did_not_complete_its_job(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(hyperparams={"steps": 1, "silent_end": True})["job_id"]
    end = stage.ended(job, watch=True)
    assert (end["status"], end["error"]["code"]) == ("failed", "job.no_result")


def test_a_trainer_that_hangs_loses_its_job_and_is_stopped(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(hyperparams={"steps": 2, "hang_at": 2})["job_id"]
    stage.until(job, "running")
    wait_for(lambda: True if stage.job(job)["step"] == 1 else None)
    first = wait_for(lambda: stage.processes(job) or None)
    stage.age(job, "lease.until", "heartbeat_at")
    stage.change(job, {"config.hyperparams.hang_at": 99})
    end = stage.ended(job, watch=True)
    assert (end["status"], end["attempt"]) == ("completed", 2)
    wait_for(lambda: True if not set(first) & set(stage.processes(job)) else None)


def test_work_removed_behind_our_back_is_started_again(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(hyperparams={"steps": 2, "hang_at": 2})["job_id"]
    wait_for(lambda: True if stage.job(job)["step"] == 1 else None)
    # Whoever shuts a machine down ends the trainer and its supervisor alike.
    for pid in wait_for(lambda: stage.processes(job) or None):
        os.kill(pid, signal.SIGKILL)
    stage.change(job, {"config.hyperparams.hang_at": 99})
    end = stage.ended(job, watch=True)
    assert (end["status"], end["attempt"]) == ("completed", 2)


def test_a_job_ends_at_its_time_limit_and_is_stopped(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(hyperparams={"steps": 1, "hang_at": 1}, timeout_s=600)["job_id"]
    stage.until(job, "running")
    wait_for(lambda: stage.processes(job) or None)
    stage.age(job, "started_at", by_s=601)
    end = stage.ended(job, watch=True)
    assert (end["status"], end["error"]["code"]) == ("failed", "job.timeout")
    assert "600 s" in end["error"]["message"]
    wait_for(lambda: (stage.watch(), None if stage.processes(job) else True)[1])


def _costly(stage: Stage, **request: Any) -> tuple[str, str]:
    """Return a leased job that costs 36 dollars an hour, a cent a second, and its token."""
    stage.episodes(1)
    job = stage.start(**PULL, **request)["job_id"]
    stage.change(job, {"usd_per_hour": 36.0})
    return job, stage.lease()["token"]


def test_a_job_that_reaches_its_money_is_stopped_and_says_so(stage: Stage) -> None:
    job, token = _costly(stage, max_cost_usd=1.0)
    stage.age(job, "attempt_started_at", by_s=50)
    beat = stage.trainer(token, "POST", f"/jobs/{job}/heartbeat", {"attempt": 1}).json()
    assert beat["stop"] is False
    stage.age(job, "attempt_started_at", by_s=60)
    beat = stage.trainer(token, "POST", f"/jobs/{job}/heartbeat", {"attempt": 1}).json()
    assert (beat["status"], beat["stop"], beat["stop_reason"]) == ("failed", True, "budget")
    end = stage.ended(job)
    assert end["error"]["code"] == "budget.job"
    assert "1.00 USD" in end["error"]["message"]
    assert 1.0 <= end["cost_usd"] < 10.0
    assert stage.call("GET", f"/jobs/{job}").json()["cost_usd"] == end["cost_usd"]


def test_a_silent_job_that_reaches_its_money_is_stopped_by_the_watchdog(stage: Stage) -> None:
    job, _ = _costly(stage, max_cost_usd=1.0)
    stage.age(job, "attempt_started_at", by_s=3600)
    stage.watch()
    end = stage.ended(job)
    assert (end["status"], end["error"]["code"]) == ("failed", "budget.job")


def test_the_month_of_an_account_ends_its_running_jobs_and_refuses_new_ones(stage: Stage) -> None:
    spent, token = _costly(stage)
    stage.age(spent, "attempt_started_at", by_s=1000)
    body = {"attempt": 1, "sequence": 1, "state": "completed"}
    stage.trainer(token, "POST", f"/jobs/{spent}/callback", body).raise_for_status()
    used = stage.call("GET", "/budget").json()
    assert used["monthly_limit_usd"] == 50.0
    assert used["used_usd"] == pytest.approx(10.0, abs=2.0)
    running, _ = _costly(stage)
    stage.watch()
    assert stage.job(running)["status"] == "running"
    answer = stage.call("PUT", "/budget", json={"monthly_limit_usd": 5.0}).json()
    assert answer["monthly_limit_usd"] == 5.0
    stage.watch()
    end = stage.ended(running)
    assert (end["status"], end["error"]["code"]) == ("failed", "budget.month")
    assert "5.00 USD" in end["error"]["message"]
    # A waiting job is not started either; one that costs nothing is.
    waiting = stage.start(**PULL)["job_id"]
    stage.change(waiting, {"usd_per_hour": 36.0})
    lease = {"worker_id": "w1", "backend_label": "lab"}
    assert stage.call("POST", "/lease", json=lease).status_code == 204
    assert stage.ended(waiting)["error"]["code"] == "budget.exhausted"
    free = stage.start(**PULL)["job_id"]
    assert stage.lease()["job_id"] == free


@pytest.mark.parametrize("limit", [-1, 1e9, "many", None])
def test_a_budget_is_an_amount_of_money(stage: Stage, limit: Any) -> None:
    problem(stage.call("PUT", "/budget", json={"monthly_limit_usd": limit}), 422, "request.invalid")
    assert stage.call("GET", "/budget").json()["monthly_limit_usd"] == 50.0


def test_a_job_nobody_takes_fails_in_the_end(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(**PULL)["job_id"]
    stage.watch()
    assert stage.job(job)["status"] == "queued"
    stage.age(job, "queued_at", by_s=8 * 24 * 3600)
    stage.watch()
    end = stage.ended(job)
    assert (end["status"], end["error"]["code"]) == ("failed", "job.queue_timeout")


def test_an_end_that_was_not_announced_is_announced_once(stage: Stage) -> None:
    finished = stage.subscription("training-finished", attributes=("event_id",))
    job, token = _costly(stage)
    body = {"attempt": 1, "sequence": 1, "state": "completed"}
    stage.trainer(token, "POST", f"/jobs/{job}/callback", body).raise_for_status()
    stage.ended(job)
    wait_for(lambda: [one for one in finished() if one[1] == f"{job}:finished"] or None)
    # As if the process had died before it published.
    stage.change(job, {"announced": False})
    stage.age(job, "completed_at", by_s=60)
    stage.watch()
    assert stage.job(job)["announced"] is True
    again = wait_for(lambda: [one for one in finished() if one[1] == f"{job}:finished"] or None)
    assert len(again) == 1
    stage.watch()
    assert [one for one in finished() if one[1] == f"{job}:finished"] == []


def test_watching_twice_at_a_time_and_over_healthy_jobs_changes_nothing(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(**PULL)["job_id"]
    stage.lease()
    before = stage.job(job)
    stage.watch()
    stage.watch()
    assert stage.job(job) == before
