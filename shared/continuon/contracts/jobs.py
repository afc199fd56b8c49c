"""Training jobs: what their owner asks for and sees."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from continuon import limits
from continuon.contracts.base import Contract, Page, Timestamp
from continuon.contracts.models import MODEL_ID
from continuon.identifiers import EpisodeId

__all__ = [
    "JOB_ID",
    "Backend",
    "Budget",
    "BudgetUpdate",
    "Checkpoint",
    "Job",
    "JobArtifact",
    "JobConfig",
    "JobError",
    "JobId",
    "JobOutput",
    "JobPage",
    "JobRequest",
    "JobStatus",
    "JobType",
    "Label",
    "Resources",
    "SlowLoop",
    "SlowLoopUpdate",
]

JOB_ID: Final = re.compile(r"^job_[a-z0-9]{20}$")
"""A job id: 100 random bits, or those of an ``Idempotency-Key``; safe in paths and object names."""

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_LABEL = r"^[a-z0-9][a-z0-9._-]{0,62}$"

JobId = Annotated[
    str, StringConstraints(pattern=JOB_ID.pattern), Field(examples=["job_7k2m9x4q1w8e5r6t3y0u"])
]
RobotModel = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=_NAME)]
Label = Annotated[str, StringConstraints(pattern=_LABEL)]
ModelId = Annotated[str, StringConstraints(pattern=MODEL_ID)]
ModelRef = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[\w.:/@-]+$")]
ErrorCode = Annotated[str, StringConstraints(max_length=64, pattern=r"^[a-z][a-z0-9_.-]*$")]
CallbackUrl = Annotated[str, StringConstraints(max_length=2048, pattern=r"^https?://\S+$")]


class JobType(StrEnum):
    """Why a model is trained."""

    SEED = "seed"
    SLOW_LOOP = "slow_loop"
    FINETUNE = "finetune"


class JobStatus(StrEnum):
    """Where a job is; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing can change it any more."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


class Backend(StrEnum):
    """Where a job runs. ``pull`` waits until one of its owner's workers leases it."""

    SUBPROCESS = "subprocess"
    KUBERNETES = "kubernetes"
    VERTEX = "vertex"
    MODAL = "modal"
    PULL = "pull"


class Resources(Contract):
    """What a job is given to run on; also what it is billed for."""

    cpu: float = Field(default=1.0, gt=0, le=96, description="vCPUs.")
    memory_mib: int = Field(default=2048, ge=128, le=1024 * 1024)
    gpu_type: Annotated[str, StringConstraints(max_length=64, pattern=_NAME)] | None = None
    gpu_count: int = Field(default=0, ge=0, le=16)

    @model_validator(mode="after")
    def _gpus_have_a_type(self) -> Resources:
        if (self.gpu_count > 0) != (self.gpu_type is not None):
            raise ValueError("gpu_type and gpu_count go together")
        return self


def _depth(value: Any) -> int:
    """Return how deep arrays and objects are nested; counted level by level, not by recursion."""
    depth, level = 0, [value]
    while level := [item for one in level for item in _items(one)]:
        depth += 1
        if depth > limits.MAX_HYPERPARAMS_DEPTH:
            break
    return depth


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _bounded_json(value: dict[str, Any]) -> dict[str, Any]:
    """Check that ``value`` is JSON that every program reads the same way, and not too much of it.

    Raises:
        ValueError: It is not.
    """
    if _depth(value) > limits.MAX_HYPERPARAMS_DEPTH:
        raise ValueError(f"is nested deeper than {limits.MAX_HYPERPARAMS_DEPTH} levels")
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except UnicodeEncodeError as error:
        raise ValueError("holds a lone surrogate, which is no text") from error
    except ValueError as error:
        raise ValueError("holds a number that JSON does not have, such as NaN") from error
    if size > limits.MAX_HYPERPARAMS_BYTES:
        raise ValueError(f"is {size} bytes of JSON; {limits.MAX_HYPERPARAMS_BYTES} are allowed")
    return value


class JobRequest(Contract):
    """Start a job over validated episodes: those listed, or all that fit the filter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: JobType
    robot_model: RobotModel
    min_quality: float | None = Field(default=None, ge=0, le=1)
    episode_ids: list[EpisodeId] | None = Field(
        default=None,
        min_length=1,
        max_length=limits.MAX_JOB_EPISODES,
        description="Left out: your newest eligible episodes of that robot model.",
    )
    model_id: ModelId | None = Field(
        default=None, description="Of which model the result is a version; left out: derived."
    )
    model_base: ModelRef | None = Field(
        default=None,
        description="The version that a `finetune` starts from, which needs one: "
        "`models/ID/versions/N`, `ID@VERSION` or `ID@ALIAS`; stored as the first.",
        examples=["companion-v1@production"],
    )
    hyperparams: dict[str, Any] = Field(default_factory=dict)
    backend: Backend
    backend_label: Label | None = Field(
        default=None, description="Which workers may lease it; for the backend `pull` only."
    )
    resources: Resources = Field(default_factory=Resources)
    timeout_s: int = Field(default=limits.DEFAULT_JOB_TIMEOUT_S, ge=1, le=limits.MAX_JOB_TIMEOUT_S)
    max_cost_usd: float | None = Field(default=None, gt=0, le=limits.MAX_MONTHLY_BUDGET_USD)
    callback_url: CallbackUrl | None = None

    @field_validator("hyperparams")
    @classmethod
    def _hyperparams_fit_a_document(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _bounded_json(value)

    @field_validator("episode_ids")
    @classmethod
    def _episodes_are_distinct(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and len(set(value)) != len(value):
            raise ValueError("an episode may be listed once")
        return value

    @model_validator(mode="after")
    def _labels_are_for_workers(self) -> JobRequest:
        if self.backend_label is not None and self.backend is not Backend.PULL:
            raise ValueError("backend_label is for the backend pull only")
        return self


class JobConfig(Contract):
    """What a job was started with; the episodes are those it is to be trained on."""

    robot_model: str
    min_quality: float | None = None
    episode_ids: list[EpisodeId] = Field(
        default_factory=list, description="Left out of lists; `GET /jobs/{id}` has them."
    )
    episode_count: int = 0
    episodes_digest: str | None = Field(
        default=None, description="SHA-256 over the sorted ids, each followed by a line feed."
    )
    dropped_episodes: int = Field(
        default=0, description="Deleted or rejected between the request and the start."
    )
    model_id: str | None = None
    model_base: str | None = None
    hyperparams: dict[str, Any] = Field(default_factory=dict)
    backend: Backend
    backend_label: str | None = None
    resources: Resources = Field(default_factory=Resources)
    timeout_s: int
    max_cost_usd: float | None = None
    callback_url: str | None = None


class JobError(Contract):
    """Why a job failed."""

    code: str
    message: str


class Checkpoint(Contract):
    """The newest state that a job can go on from."""

    ref: str
    step: int | None = None
    size_bytes: int
    sha256: str


class JobArtifact(Contract):
    """The result of a job."""

    ref: str
    sha256: str
    size_bytes: int


class JobOutput(Contract):
    """What came out of a job.

    Attributes:
        model_ref: `models/{model_id}/versions/{version}`, once the result is registered.
        registration: What became of the registration, when it is not simply done.
    """

    artifact: JobArtifact | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    model_ref: str | None = None
    registration: dict[str, Any] | None = None


class Job(Contract):
    """A job as its owner sees it."""

    job_id: JobId
    type: JobType
    status: JobStatus
    created_at: Timestamp
    updated_at: Timestamp
    started_at: Timestamp | None = None
    completed_at: Timestamp | None = None
    config: JobConfig
    attempt: int
    heartbeat_at: Timestamp | None = None
    worker_id: str | None = None
    step: int | None = None
    metrics: dict[str, float] = Field(default_factory=dict, description="The latest of each name.")
    checkpoint: Checkpoint | None = None
    cost_usd: float = 0.0
    error: JobError | None = None
    output: JobOutput | None = None
    retry_of: JobId | None = None


class JobPage(Page):
    """Jobs, newest first, without their lists of episodes."""

    jobs: list[Job]


class BudgetUpdate(Contract):
    """How much an account may spend on training in one calendar month (UTC)."""

    monthly_limit_usd: float = Field(ge=0, le=limits.MAX_MONTHLY_BUDGET_USD)


class Budget(Contract):
    """An account's training money of this month."""

    month: str = Field(examples=["2026-11"])
    monthly_limit_usd: float
    used_usd: float
    prices_from: str = Field(description="Date of the price table.")


class SlowLoopUpdate(Contract):
    """When a robot model is trained again by itself."""

    enabled: bool = True
    threshold: int = Field(default=50, ge=1, le=limits.MAX_JOB_EPISODES)
    backend: Backend
    backend_label: Label | None = None
    min_quality: float | None = Field(default=None, ge=0, le=1)
    model_id: ModelId | None = None
    model_base: ModelRef | None = None
    hyperparams: dict[str, Any] = Field(default_factory=dict)
    resources: Resources = Field(default_factory=Resources)
    timeout_s: int = Field(default=limits.DEFAULT_JOB_TIMEOUT_S, ge=1, le=limits.MAX_JOB_TIMEOUT_S)
    max_cost_usd: float | None = Field(default=None, gt=0, le=limits.MAX_MONTHLY_BUDGET_USD)
    callback_url: CallbackUrl | None = None

    @field_validator("hyperparams")
    @classmethod
    def _hyperparams_fit_a_document(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _bounded_json(value)


class SlowLoop(SlowLoopUpdate):
    """The loop of one robot model, and what it did last."""

    robot_model: str
    started: int = Field(default=0, description="How many jobs it has started.")
    last_job_id: JobId | None = None
    last_started_at: Timestamp | None = None
