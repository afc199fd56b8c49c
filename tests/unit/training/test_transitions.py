"""Where a job may go, what it costs, and what its limits do."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from continuon import limits
from continuon.contracts.training import Backend, JobError, JobStatus, StopReason
from continuon.errors import ProblemError
from continuon_training import service
from continuon_training.errors import JOB_STATE
from job_records import NOW, later, queued, running

if TYPE_CHECKING:
    from collections.abc import Callable

    from continuon_training.records import JobRecord

ERROR = JobError(code="x", message="A reason.")
ALLOWED = {
    ("queued", "running"),
    ("queued", "failed"),
    ("queued", "cancelled"),
    ("running", "queued"),
    ("running", "completed"),
    ("running", "failed"),
    ("running", "cancelled"),
}


@pytest.mark.parametrize("target", list(JobStatus))
@pytest.mark.parametrize("present", list(JobStatus))
def test_exactly_the_allowed_transitions_are_made(present: JobStatus, target: JobStatus) -> None:
    record = queued().model_copy(update={"status": present})
    if (present.value, target.value) in ALLOWED:
        assert service.transition(record, target, NOW).status is target
        return
    with pytest.raises(ProblemError) as caught:
        service.transition(record, target, NOW)
    assert caught.value.type is JOB_STATE
    assert present.value in caught.value.detail


@pytest.mark.parametrize(
    "end",
    [
        lambda record: service.cancel(record, later(9)),
        lambda record: service.fail(record, ERROR, later(9)),
        lambda record: service.transition(record, JobStatus.COMPLETED, later(9)),
    ],
)
def test_an_end_is_dated_billed_and_waits_to_be_announced(
    end: Callable[[JobRecord], JobRecord],
) -> None:
    ended = end(running(usd_per_hour=3600.0))
    assert ended.completed_at == later(9)
    assert ended.cost_usd == pytest.approx(9.0)
    assert (ended.announced, ended.lease, ended.next_dispatch_at) == (False, None, None)


def test_a_cancelled_job_may_be_cancelled_again_and_stays_as_it_is() -> None:
    cancelled = service.cancel(queued(), NOW)
    assert service.cancel(cancelled, later(5)) is cancelled


def test_what_was_never_recorded_is_cleaned_up_too() -> None:
    # A dispatcher may have submitted and died: the cancelled job has no name of its work.
    cancelled = service.cancel(queued(), NOW)
    assert cancelled.backend.name is None
    assert cancelled.backend.cleanup_at == NOW
    pulled = service.cancel(queued(config={"backend": Backend.PULL}), NOW)
    assert pulled.backend.cleanup_at is None


def test_a_requeued_job_forgets_its_worker_and_keeps_its_checkpoint_and_its_bill() -> None:
    record = running(usd_per_hour=3600.0, sequence=7)
    again = service.requeue(record, ERROR, later(10))
    assert (again.status, again.attempt, again.sequence) == (JobStatus.QUEUED, 2, 0)
    assert (again.token_hashes, again.spent_token_hashes) == ([], ["hash"])
    assert (again.lease, again.dispatch, again.heard_from) == (None, {}, False)
    assert again.next_dispatch_at == later(10)
    assert again.backend.name is None
    assert again.backend.stale == [record.backend.name]
    assert again.settled_usd == again.cost_usd == pytest.approx(10.0)
    second = service.start(again, later(100), until=later(160))
    assert service.accrued_usd(second, later(105)) == pytest.approx(15.0)
    assert second.started_at == NOW


def test_the_last_attempt_is_not_followed_by_another() -> None:
    record = running(attempt=limits.MAX_JOB_ATTEMPTS)
    ended = service.requeue(record, ERROR, later(1))
    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    assert ended.error.code == "x"
    assert "attempt 5, the last" in ended.error.message


def test_time_is_counted_from_the_first_start_over_all_attempts() -> None:
    again = service.requeue(running(), ERROR, later(500))
    second = service.start(again, later(550), until=later(610))
    assert service.deadline(second, later(550)) == later(600)
    assert service.overdue(second, later(599)) is None
    assert service.overdue(second, later(600)) is StopReason.TIMEOUT


def test_a_bill_never_runs_backwards() -> None:
    record = running(usd_per_hour=3600.0)
    assert service.accrued_usd(record, NOW - timedelta(hours=1)) == 0.0
    billed = record.model_copy(update={"cost_usd": 5.0})
    assert service.accrued_usd(billed, later(1)) == 5.0


def test_a_job_at_its_money_is_stopped_and_one_below_it_is_not() -> None:
    record = running(usd_per_hour=3600.0, config={"max_cost_usd": 10.0})
    assert service.overdue(record, later(9.9)) is None
    assert service.overdue(record, later(10)) is StopReason.BUDGET
    stopped = service.stop(record, StopReason.BUDGET, later(10))
    assert stopped.error is not None
    assert stopped.error.code == "budget.job"
    assert service.overdue(queued(config={"max_cost_usd": 1.0}), later(10_000)) is None
