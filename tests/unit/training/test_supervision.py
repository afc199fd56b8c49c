"""What the watchdog decides about a job from its record, the clock and its backend's words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from continuon.contracts.training import Backend, JobStatus
from continuon_training.executors.base import WorkState, WorkStatus
from continuon_training.service import Durations
from continuon_training.supervision import needs_poll, supervise
from job_records import NOW, later, queued, running

DURATIONS = Durations(lease_s=60, start_s=300)
QUIET = timedelta(seconds=30)


def _status(state: WorkState, **fields: Any) -> WorkStatus:
    return WorkStatus(state=state, **fields)


@pytest.mark.parametrize(
    ("work", "status", "code"),
    [
        (_status(WorkState.SUCCEEDED, exit_code=0), "failed", "job.no_result"),
        (_status(WorkState.FAILED, exit_code=1), "failed", "job.trainer_failed"),
        (_status(WorkState.FAILED, exit_code=2), "failed", "job.trainer_failed"),
        (_status(WorkState.FAILED, exit_code=1, timed_out=True), "failed", "job.timeout"),
        (_status(WorkState.FAILED, exit_code=-9), "queued", None),
        (_status(WorkState.FAILED, exit_code=137), "queued", None),
        (_status(WorkState.FAILED, exit_code=143), "queued", None),
        (_status(WorkState.FAILED, exit_code=3), "queued", None),
        (_status(WorkState.FAILED, exit_code=4), "queued", None),
        (_status(WorkState.FAILED), "queued", None),
        (_status(WorkState.FAILED, exit_code=1, preempted=True), "queued", None),
        (_status(WorkState.GONE), "queued", None),
        (_status(WorkState.RUNNING), "running", None),
        (None, "running", None),
    ],
)
def test_an_exit_without_a_word_is_judged_by_whose_fault_it_is(
    work: WorkStatus | None, status: str, code: str | None
) -> None:
    after = supervise(running(), later(40), work, DURATIONS)
    assert after.status.value == status
    assert (after.error.code if after.error else None) == code
    assert after.attempt == (2 if status == "queued" else 1)


def test_silence_beyond_the_lease_loses_the_job() -> None:
    record, runs = running(), _status(WorkState.RUNNING)
    assert supervise(record, later(59), runs, DURATIONS).status is JobStatus.RUNNING
    assert supervise(record, later(60), runs, DURATIONS).status is JobStatus.QUEUED


def test_a_backend_that_does_not_answer_loses_nothing() -> None:
    assert supervise(running(), later(500), None, DURATIONS).status is JobStatus.RUNNING
    pulled = running(config={"backend": Backend.PULL})
    assert supervise(pulled, later(500), None, DURATIONS).status is JobStatus.QUEUED


def test_waiting_for_a_machine_costs_neither_time_nor_money() -> None:
    record = running(usd_per_hour=3600.0, config={"max_cost_usd": 1.0})
    record = record.model_copy(update={"heard_from": False})
    waits = _status(WorkState.PENDING)
    after = supervise(record, later(5000), waits, DURATIONS)
    assert after.status is JobStatus.RUNNING
    assert after.started_at == after.attempt_started_at == later(5000)
    assert after.cost_usd == 0.0
    assert after.lease is not None
    assert after.lease.until == later(5300)


def test_a_limit_comes_before_everything_else() -> None:
    after = supervise(running(), later(600), _status(WorkState.RUNNING), DURATIONS)
    assert (after.status, after.error and after.error.code) == (JobStatus.FAILED, "job.timeout")


def test_an_ended_job_is_left_alone_whatever_its_backend_says() -> None:
    ended = running().model_copy(update={"status": JobStatus.COMPLETED})
    for state in WorkState:
        assert supervise(ended, later(10**6), _status(state), DURATIONS) is ended


def test_a_healthy_job_that_costs_nothing_is_not_written() -> None:
    record = running()
    assert supervise(record, later(30), _status(WorkState.RUNNING), DURATIONS) is record
    costly = running(usd_per_hour=3600.0)
    assert supervise(costly, later(30), None, DURATIONS).cost_usd == pytest.approx(30.0)


def test_the_backend_is_asked_about_quiet_jobs_only() -> None:
    record = running()
    assert not needs_poll(record, later(29), QUIET)
    assert needs_poll(record, later(30), QUIET)
    assert not needs_poll(queued(), later(10_000), QUIET)
    assert not needs_poll(running(config={"backend": Backend.PULL}), later(10_000), QUIET)


def test_a_heartbeat_from_a_clock_that_is_ahead_is_no_sign_of_life() -> None:
    record = running().model_copy(update={"heartbeat_at": later(86_400)})
    assert needs_poll(record, NOW, QUIET)


def test_a_job_that_waited_for_a_week_fails() -> None:
    record = queued()
    assert supervise(record, later(7 * 86_400), None, DURATIONS) is record
    after = supervise(record, later(7 * 86_400 + 1), None, DURATIONS)
    assert after.error is not None
    assert after.error.code == "job.queue_timeout"
