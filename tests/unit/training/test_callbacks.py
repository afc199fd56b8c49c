"""A trainer's signs of life, applied once, in order, and to its own job."""

from __future__ import annotations

from typing import Any

import pytest

from continuon.contracts.training import (
    Backend,
    CallbackRequest,
    Checkpoint,
    JobArtifact,
    JobStatus,
    StopReason,
)
from continuon_training.callbacks import Stored, apply_callback, apply_heartbeat
from continuon_training.service import Durations
from job_records import later, queued, running

DURATIONS = Durations(lease_s=60, start_s=300)


def _apply(record: Any, at: float = 1, *, live: bool = True, **fields: Any) -> Any:
    stored = fields.pop("stored", Stored())
    request = CallbackRequest(**{"attempt": 1, "sequence": 1, **fields})
    return apply_callback(record, request, stored, later(at), live=live, durations=DURATIONS)


def test_a_report_moves_the_lease_and_merges_the_metrics() -> None:
    record = running().model_copy(update={"metrics": {"loss": 2.0, "old": 1.0}})
    after, answer = _apply(record, 50, step=7, metrics={"loss": 1.0})
    assert (after.step, after.metrics) == (7, {"loss": 1.0, "old": 1.0})
    assert (after.sequence, after.heartbeat_at, after.lease.until) == (1, later(50), later(110))
    assert (answer.applied, answer.stop) == (True, False)


@pytest.mark.parametrize("sequence", [1, 4, 5])
def test_late_and_repeated_reports_change_nothing(sequence: int) -> None:
    record = running(sequence=5)
    after, answer = _apply(record, sequence=sequence, state="completed", step=9)
    assert after is record
    assert (answer.applied, answer.stop, answer.status) == (False, False, JobStatus.RUNNING)


@pytest.mark.parametrize(("attempt", "live"), [(1, False), (2, True), (2, False)])
def test_anothers_attempt_changes_nothing_and_is_told_to_stop(attempt: int, *, live: bool) -> None:
    record = running()
    after, answer = _apply(record, attempt=attempt, live=live, state="failed")
    assert after is record
    assert (answer.applied, answer.stop_reason) == (False, StopReason.SUPERSEDED)


def test_a_trainer_that_is_faster_than_its_dispatcher_starts_the_job_itself() -> None:
    after, answer = _apply(queued(), state="completed")
    assert (after.status, answer.status) == (JobStatus.COMPLETED, JobStatus.COMPLETED)
    assert after.started_at == later(1)
    assert after.backend.name == f"continuon-job-{'a' * 20}-1"


def test_a_completed_job_has_what_its_trainer_made() -> None:
    checkpoint = Checkpoint(ref="c", step=3, size_bytes=1, sha256="0" * 64)
    artifact = JobArtifact(ref="m", size_bytes=2, sha256="1" * 64)
    after, _ = _apply(
        running(), state="completed", metrics={"loss": 0.1}, stored=Stored(checkpoint, artifact)
    )
    assert after.output.artifact == artifact
    assert after.output.metrics == {"loss": 0.1}
    assert after.checkpoint == checkpoint
    # Its process may end by itself before it is stopped.
    assert after.backend.cleanup_at == later(121)


def test_a_completion_counts_even_at_the_limit() -> None:
    record = running(usd_per_hour=3600.0, config={"max_cost_usd": 1.0})
    assert _apply(record, 5, state="completed")[0].status is JobStatus.COMPLETED
    after, answer = _apply(record, 5, step=1)
    assert (after.status, answer.stop_reason) == (JobStatus.FAILED, StopReason.BUDGET)


def test_a_failure_without_a_reason_says_that() -> None:
    after, _ = _apply(running(), state="failed")
    assert (after.error.code, after.error.message) == ("trainer", "The trainer gave no reason.")
    after, _ = _apply(running(), state="failed", error={"code": "Bad Code!", "message": "m" * 9999})
    assert after.error.code == "trainer"
    assert len(after.error.message) == 4000


def test_a_pull_job_has_nothing_to_clean_up() -> None:
    after, _ = _apply(running(config={"backend": Backend.PULL}), state="completed")
    assert after.backend.cleanup_at is None


def test_a_heartbeat_extends_the_lease_and_nothing_else() -> None:
    record = running()
    after, answer = apply_heartbeat(record, 1, later(40), live=True, durations=DURATIONS)
    assert answer.lease_expires_at == later(100)
    same = {"lease", "heartbeat_at", "updated_at"}
    assert after.model_dump(exclude=same) == record.model_dump(exclude=same)


def test_a_heartbeat_at_the_time_limit_ends_the_job() -> None:
    after, answer = apply_heartbeat(running(), 1, later(600), live=True, durations=DURATIONS)
    assert (answer.stop, answer.stop_reason) == (True, StopReason.TIMEOUT)
    assert after.status is JobStatus.FAILED
