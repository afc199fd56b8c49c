"""Records of jobs for tests of decisions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from continuon.contracts.training import Backend, JobConfig, JobStatus, JobType
from continuon_training import service
from continuon_training.records import JobRecord

__all__ = ["NOW", "later", "queued", "running"]

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def later(seconds: float) -> datetime:
    """Return the moment ``seconds`` after ``NOW``."""
    return NOW + timedelta(seconds=seconds)


def queued(*, config: dict[str, Any] | None = None, **fields: Any) -> JobRecord:
    """Return a queued job."""
    chosen: dict[str, Any] = {
        "robot_model": "arm",
        "backend": Backend.SUBPROCESS,
        "timeout_s": 600,
        "episode_ids": ["ep_1", "ep_2"],
        "episode_count": 2,
        **(config or {}),
    }
    return JobRecord(
        **{
            "job_id": f"job_{'a' * 20}",
            "owner_id": "olivia",
            "type": JobType.SEED,
            "status": JobStatus.QUEUED,
            "created_at": NOW,
            "updated_at": NOW,
            "queued_at": NOW,
            "month": "2026-11",
            "token_hashes": ["hash"],
            "config": JobConfig(**chosen),
            **fields,
        }
    )


def running(**fields: Any) -> JobRecord:
    """Return a job that runs since ``NOW`` and was heard of then."""
    record = service.start(queued(**fields), NOW, until=later(60))
    return record.model_copy(update={"heard_from": True})
