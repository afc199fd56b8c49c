"""The documents of training, as this codebase reads and writes them."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field

from continuon.contracts.base import Contract, Timestamp
from continuon.contracts.training import (
    ArtifactKind,
    Checkpoint,
    Job,
    JobConfig,
    JobError,
    JobOutput,
    JobStatus,
    JobType,
    SlowLoop,
    StopReason,
)
from continuon.platform.documents import restored, storable

__all__ = [
    "ArtifactRecord",
    "BackendWork",
    "EpisodeChoice",
    "JobRecord",
    "SlowLoopRecord",
    "WorkerLease",
]


class WorkerLease(Contract):
    """Who has the job's present attempt, until when.

    Attributes:
        worker_id: What a pull worker calls itself; None at a backend of ours.
        until: Each sign of life moves it; afterwards the job counts as lost.
    """

    worker_id: str | None = None
    until: Timestamp


class BackendWork(Contract):
    """What was started for the job at its backend.

    Attributes:
        name: The present attempt's work; None before it is submitted.
        stale: Works of earlier attempts that were not stopped yet.
        cleanup_at: From when on whatever is left is stopped; None when nothing is left.
    """

    name: str | None = None
    stale: list[str] = Field(default_factory=list)
    cleanup_at: Timestamp | None = None


class JobRecord(Contract):
    """``training_jobs/{job_id}``.

    Attributes:
        request_digest: SHA-256 of the request, to tell a repetition from another request.
        month: `2026-11`: the budget that pays for it.
        token_hashes: SHA-256 of every token of the present attempt. More than one where a
            dispatcher died between its steps.
        spent_token_hashes: Those of earlier attempts: good for the answer "stop" only.
        sequence: The last callback of this attempt that was applied; 0 for none.
        heard_from: Whether the present attempt's trainer has called at all.
        next_dispatch_at: When a queued job's message counts as lost; None for pull jobs.
        dispatch: The work record of :mod:`continuon.platform.leases` for one start.
        attempt_started_at: When the present attempt began to cost.
        usd_per_hour: What running costs, fixed when the job was made.
        settled_usd: What earlier attempts cost.
        stop_reason: Why the cloud ended it, where it did.
        announced: False from a job's end until its end was published; None before.
    """

    job_id: str
    owner_id: str
    type: JobType
    status: JobStatus
    created_at: Timestamp
    updated_at: Timestamp
    queued_at: Timestamp
    started_at: Timestamp | None = None
    completed_at: Timestamp | None = None
    config: JobConfig
    request_digest: str | None = None
    month: str
    attempt: int = 1
    lease: WorkerLease | None = None
    dispatch: dict[str, Any] = Field(default_factory=dict)
    next_dispatch_at: Timestamp | None = None
    token_hashes: list[str] = Field(default_factory=list)
    spent_token_hashes: list[str] = Field(default_factory=list)
    heartbeat_at: Timestamp | None = None
    heard_from: bool = False
    sequence: int = 0
    step: int | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    metric_rows: int = 0
    log_bytes: int = 0
    checkpoint: Checkpoint | None = None
    attempt_started_at: Timestamp | None = None
    usd_per_hour: float = 0.0
    settled_usd: float = 0.0
    cost_usd: float = 0.0
    backend: BackendWork = Field(default_factory=BackendWork)
    stop_reason: StopReason | None = None
    error: JobError | None = None
    output: JobOutput | None = None
    retry_of: str | None = None
    announced: bool | None = None

    @classmethod
    def from_document(cls, data: dict[str, Any]) -> Self:
        """Read a document's fields."""
        config = dict(data["config"])
        config["hyperparams"] = restored(config.get("hyperparams", {}))
        return cls.model_validate({**data, "config": config})

    def to_document(self) -> dict[str, Any]:
        """Return the fields of a new document."""
        fields = self.model_dump()
        fields["config"]["hyperparams"] = storable(fields["config"]["hyperparams"])
        return fields

    def public(self) -> Job:
        """Return what its owner sees."""
        fields = self.model_dump()
        fields["worker_id"] = self.lease.worker_id if self.lease else None
        return Job.model_validate(fields)


class ArtifactRecord(Contract):
    """``training_jobs/{job_id}/artifacts/{id}``: one object that a trainer may store."""

    ref: str
    kind: ArtifactKind
    name: str
    size_bytes: int
    sha256: str
    step: int | None = None
    attempt: int


class EpisodeChoice(Contract):
    """What training needs to know of ``rlds_episodes/{episode_id}``."""

    episode_id: str
    owner_id: str
    robot_id: str
    robot_model: str | None = None
    status: str
    training_eligible: bool = False
    quality: float | None = None
    validated_at: Timestamp | None = None
    storage_ref: str = ""
    sha256: str | None = None


class SlowLoopRecord(SlowLoop):
    """``slow_loops/{id}``.

    Attributes:
        owner_id: Whose episodes it watches.
        seen_until: The newest validation among the episodes of its last job.
    """

    owner_id: str
    seen_until: Timestamp | None = None

    @classmethod
    def from_document(cls, data: dict[str, Any]) -> Self:
        """Read a document's fields."""
        return cls.model_validate({**data, "hyperparams": restored(data.get("hyperparams", {}))})

    def to_document(self) -> dict[str, Any]:
        """Return the fields of the document."""
        fields = self.model_dump()
        fields["hyperparams"] = storable(fields["hyperparams"])
        return fields

    def public(self) -> SlowLoop:
        """Return what its owner sees."""
        return SlowLoop.model_validate(self.model_dump())
