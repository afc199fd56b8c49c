"""What a trainer or a worker and the cloud tell each other: contract 1 of docs/trainers.md."""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator

from continuon import limits
from continuon.contracts.base import Contract, Page, Timestamp
from continuon.contracts.episodes import Sha256, SignedUpload
from continuon.contracts.jobs import Checkpoint, JobError, JobId, JobStatus, JobType, Label
from continuon.identifiers import EpisodeId

__all__ = [
    "TRAINER_CONTRACT",
    "ArtifactKind",
    "ArtifactRequest",
    "ArtifactResponse",
    "AssignedBase",
    "AssignedCheckpoint",
    "AssignedEpisode",
    "AssignedEpisodePage",
    "AssignedFile",
    "Assignment",
    "CallbackRequest",
    "CallbackResponse",
    "CallbackState",
    "HeartbeatRequest",
    "HeartbeatResponse",
    "LeaseRequest",
    "LeaseResponse",
    "LogChunk",
    "LogPage",
    "LogRequest",
    "LogResponse",
    "MetricPage",
    "MetricRow",
    "MetricsRequest",
    "MetricsResponse",
    "ReleaseRequest",
    "ReleaseResponse",
    "StopReason",
]

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
TRAINER_CONTRACT: Final = 1
"""Version of what a trainer and the cloud say to each other; docs/trainers.md."""

WorkerId = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=_NAME)]
ArtifactName = Annotated[str, StringConstraints(max_length=128, pattern=_NAME)]
ObjectRef = Annotated[str, StringConstraints(min_length=1, max_length=512)]
MetricName = Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_./-]*$")]
MetricValue = Annotated[float, Field(allow_inf_nan=False)]
Step = Annotated[int, Field(ge=0, le=2**53)]
Attempt = Annotated[int, Field(ge=1, le=limits.MAX_JOB_ATTEMPTS)]


class LeaseRequest(Contract):
    """Ask for one job that waits for a worker with this label."""

    worker_id: WorkerId
    backend_label: Label


class LeaseResponse(Contract):
    """One job, leased until ``lease_expires_at``; each heartbeat extends it."""

    job_id: JobId
    attempt: int
    token: str
    api_url: str | None = None
    heartbeat_s: int
    lease_expires_at: Timestamp


class AssignedCheckpoint(Checkpoint):
    """Where the job goes on from, with a URL that reads it."""

    url: str


class AssignedBase(Contract):
    """The version that a fine-tuning starts from, with a URL that reads its artifact."""

    ref: str = Field(examples=["models/companion-v1/versions/3"])
    url: str
    sha256: str
    size_bytes: int
    format: str = Field(examples=["npz"])


class Assignment(Contract):
    """What a trainer is to do."""

    contract: int = TRAINER_CONTRACT
    job_id: JobId
    attempt: int
    type: JobType
    robot_model: str
    hyperparams: dict[str, Any]
    model_base: AssignedBase | str | None = Field(
        default=None,
        description="What a `finetune` starts from; jobs of other types hand on their words.",
    )
    model_id: str | None = None
    episode_count: int
    episodes_digest: str
    timeout_s: int
    deadline: Timestamp
    heartbeat_s: int
    sequence: int = Field(
        default=0,
        description="Of the last callback applied in this attempt; a restarted trainer goes on.",
    )
    checkpoint: AssignedCheckpoint | None = None


class AssignedFile(Contract):
    """One file of an episode and a URL that reads it."""

    path: str
    url: str
    size_bytes: int
    crc32c: str | None = None


class AssignedEpisode(Contract):
    """One episode to train on."""

    episode_id: EpisodeId
    robot_id: str
    sha256: str | None = None
    quality: float | None = None
    files: list[AssignedFile]


class AssignedEpisodePage(Page):
    """Episodes to train on, in the order of their ids."""

    episodes: list[AssignedEpisode]
    expires_at: Timestamp


class ArtifactKind(StrEnum):
    """What a trainer stores."""

    CHECKPOINT = "checkpoint"
    MODEL = "model"
    MODEL_CARD = "model_card"
    RESULT = "result"


class ArtifactRequest(Contract):
    """Announce one object; the URL in the answer stores it once."""

    kind: ArtifactKind
    name: ArtifactName
    size_bytes: int = Field(ge=1, le=limits.MAX_ARTIFACT_BYTES)
    sha256: Sha256
    step: Step | None = None


class ArtifactResponse(Contract):
    """Where the object goes. ``ref`` is what callbacks name."""

    ref: str
    upload: SignedUpload
    expires_at: Timestamp


class CallbackState(StrEnum):
    """What a trainer can say about its job."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class StopReason(StrEnum):
    """Why a trainer is to end."""

    CANCELLED = "cancelled"
    BUDGET = "budget"
    TIMEOUT = "timeout"
    SUPERSEDED = "superseded"
    ENDED = "ended"


class CallbackRequest(Contract):
    """What happened since the last callback. A sequence number is applied once."""

    attempt: Attempt
    sequence: int = Field(ge=1, le=2**53)
    state: CallbackState | None = None
    step: Step | None = None
    metrics: dict[MetricName, MetricValue] | None = Field(
        default=None, max_length=limits.MAX_METRICS_PER_CALLBACK
    )
    checkpoint_ref: ObjectRef | None = None
    artifact_ref: ObjectRef | None = None
    error: JobError | None = None

    @field_validator("error")
    @classmethod
    def _error_is_bounded(cls, value: JobError | None) -> JobError | None:
        if value is None:
            return None
        code = value.code if re.fullmatch(r"[a-z][a-z0-9_.-]{0,63}", value.code) else "trainer"
        # Lone surrogates are valid JSON and no text.
        message = value.message.encode("utf-8", "replace").decode("utf-8")
        return JobError(code=code, message=message[: limits.MAX_JOB_ERROR_CHARS])


class CallbackResponse(Contract):
    """Whether it was applied, and whether the trainer is to stop."""

    applied: bool
    status: JobStatus
    stop: bool = False
    stop_reason: StopReason | None = None


class HeartbeatRequest(Contract):
    """Say that the worker lives."""

    attempt: Attempt


class HeartbeatResponse(Contract):
    """Whether to go on, and until when the job is this worker's."""

    status: JobStatus
    stop: bool = False
    stop_reason: StopReason | None = None
    lease_expires_at: Timestamp | None = None


class ReleaseRequest(Contract):
    """Give the job back: the worker shuts down, or its trainer was killed."""

    attempt: Attempt
    reason: Annotated[str, StringConstraints(max_length=200)] | None = None


class ReleaseResponse(Contract):
    """Whether the job went back; not when it ended or went to another worker before."""

    released: bool
    status: JobStatus


class MetricRow(Contract):
    """The numbers of one step; every further field is one number."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, MetricValue]

    step: Step
    split: Annotated[str, StringConstraints(max_length=32, pattern=_NAME)] | None = None

    @model_validator(mode="after")
    def _names_are_names(self) -> MetricRow:
        extra = self.__pydantic_extra__ or {}
        if len(extra) > limits.MAX_METRICS_PER_CALLBACK:
            raise ValueError(f"more than {limits.MAX_METRICS_PER_CALLBACK} numbers in a row")
        for name in extra:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]{0,63}", name):
                raise ValueError(f"{name[:64]!r} is not a metric's name")
        if any(not math.isfinite(value) for value in extra.values()):
            raise ValueError("a metric is a finite number")
        return self


class MetricsRequest(Contract):
    """Rows of metrics, stored as they are. The same rows sent again are stored once."""

    rows: list[MetricRow] = Field(min_length=1, max_length=limits.MAX_METRIC_ROWS_PER_REQUEST)


class MetricsResponse(Contract):
    """How many rows were stored; fewer than sent when the job's cap is reached."""

    stored: int
    capped: bool = False


class MetricPage(Page):
    """Rows of metrics in the order they arrived; ``next_page_token`` continues, also later."""

    rows: list[MetricRow]
    status: JobStatus


class LogRequest(Contract):
    """One chunk of a trainer's log. A sequence number is stored once."""

    sequence: int = Field(ge=0, le=99_999_999)
    text: str = Field(max_length=limits.MAX_LOG_CHUNK_BYTES)

    @field_validator("text")
    @classmethod
    def _bytes_are_bounded(cls, value: str) -> str:
        # Lone surrogates are valid JSON and no text.
        clean = value.encode("utf-8", "replace").decode("utf-8")
        if len(clean.encode()) > limits.MAX_LOG_CHUNK_BYTES:
            raise ValueError(f"longer than {limits.MAX_LOG_CHUNK_BYTES} bytes of UTF-8")
        return clean


class LogResponse(Contract):
    """Whether the chunk was stored; not when it was there already or the cap is reached."""

    stored: bool
    capped: bool = False


class LogChunk(Contract):
    """One chunk of a log."""

    attempt: int
    sequence: int
    at: Timestamp
    text: str


class LogPage(Page):
    """Chunks in their order; ``next_page_token`` continues, also later, while the job runs."""

    chunks: list[LogChunk]
    status: JobStatus
