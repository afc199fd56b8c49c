"""Settings of the training codebase."""

from __future__ import annotations

from functools import cache
from pathlib import Path  # noqa: TC003 - pydantic reads the annotation

from pydantic import Field

from continuon import limits
from continuon.contracts.training import Backend
from continuon.platform.settings import PlatformSettings

__all__ = ["TrainingSettings", "settings"]


class TrainingSettings(PlatformSettings):
    """Where jobs run, what they cost, and how long things may take.

    The durations exist so that tests need not wait; production keeps the defaults.

    Attributes:
        continuon_rlds_bucket: The bucket of episodes, checkpoints and models.
        continuon_public_url: Where trainers reach this product from outside, without a slash at
            the end. A local cloud sets it; a deployment has to.
        continuon_training_backends: Which backends jobs may ask for.
        continuon_training_prices: A price table to use instead of the one that is shipped.
        continuon_trainer_command: The trainer and its arguments, as JSON; empty for the backend's
            own.
        continuon_trainer_image: The container image by digest, for backends that need one.
        continuon_jobs_topic: Where jobs are announced to the dispatcher.
        continuon_dead_jobs_topic: Where messages go that nobody could apply.
        continuon_finished_topic: Where ended jobs are announced.
    """

    continuon_rlds_bucket: str = "continuon-rlds"
    continuon_public_url: str | None = None
    continuon_training_backends: tuple[Backend, ...] = (Backend.PULL,)
    continuon_training_prices: Path | None = None
    continuon_trainer_command: tuple[str, ...] = ()
    continuon_trainer_image: str | None = None
    continuon_jobs_topic: str = "training-jobs"
    continuon_dead_jobs_topic: str = "training-jobs-dead"
    continuon_finished_topic: str = "training-finished"
    continuon_heartbeat_s: int = Field(default=limits.HEARTBEAT_S, ge=1)
    continuon_job_lease_s: int = Field(default=limits.JOB_LEASE_S, ge=1)
    continuon_job_start_s: int = Field(default=limits.JOB_START_S, ge=1)
    continuon_job_poll_s: int = Field(default=limits.JOB_POLL_S, ge=0)
    continuon_dispatch_lease_s: int = Field(default=limits.DISPATCH_LEASE_S, ge=1)
    continuon_redispatch_s: int = Field(default=limits.REDISPATCH_S, ge=1)
    continuon_job_cleanup_grace_s: int = Field(default=limits.JOB_CLEANUP_GRACE_S, ge=0)


@cache
def settings() -> TrainingSettings:
    """Return this process's settings, read at first use and not at import."""
    return TrainingSettings()
