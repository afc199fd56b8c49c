"""The documents of this codebase, and what it reads of training's."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from continuon.contracts.base import Contract, Timestamp
from continuon.contracts.models import (
    AliasChange,
    Lineage,
    Model,
    ModelAlias,
    ModelVersion,
    VersionStage,
    VersionStatus,
    VersionSummary,
)
from continuon_models.layout import model_ref

__all__ = ["AliasRecord", "JobRecord", "ModelRecord", "RegistrationRecord", "VersionRecord"]


class ModelRecord(Contract):
    """``models/{model_id}``."""

    model_id: str
    owner_id: str
    robot_model: str
    name: str
    created_at: Timestamp
    updated_at: Timestamp
    latest_version: int = 0

    def public(self) -> Model:
        """Return what its owner sees."""
        return Model.model_validate(self.model_dump())


class VersionRecord(Contract):
    """``models/{model_id}/versions/{version}``.

    Everything but `status` with its moments, `crc32c`, `generation` and `release_notes` is written
    once.

    Attributes:
        owner_id: The model's, here too because searches go over all models' versions.
        generation: Of the artifact, once it was checked; downloads read exactly that.
    """

    model_id: str
    version: int
    owner_id: str
    status: VersionStatus
    stage: VersionStage
    created_at: Timestamp
    created_by: str
    ready_at: Timestamp | None = None
    deleted_at: Timestamp | None = None
    file_name: str
    format: str
    size_bytes: int
    checksum: str
    crc32c: str | None = None
    generation: int | None = None
    storage_ref: str
    metrics: dict[str, float] = Field(default_factory=dict)
    requirements: dict[str, str] = Field(default_factory=dict)
    training_job_id: str | None = None
    lineage: Lineage = Field(default_factory=Lineage)
    release_notes: str = ""

    @property
    def ref(self) -> str:
        """How other documents name this version."""
        return model_ref(self.model_id, self.version)

    @property
    def sha256(self) -> str:
        """The hex digest of the artifact."""
        return self.checksum.partition(":")[2]

    def public(self, download_count: int | None = None) -> ModelVersion:
        """Return what its owner sees."""
        fields = {**self.model_dump(), "model_ref": self.ref, "download_count": download_count}
        return ModelVersion.model_validate(fields)

    def summary(self, download_count: int | None = None) -> VersionSummary:
        """Return what its owner sees of it in a list."""
        fields = {
            **self.model_dump(exclude={"lineage"}),
            "model_ref": self.ref,
            "episode_count": len(self.lineage.episode_ids),
            "download_count": download_count,
        }
        return VersionSummary.model_validate(fields)


class RegistrationRecord(Contract):
    """``models/{model_id}/registrations/{key}``: which version a request or a job has made.

    Attributes:
        fingerprint: Digest of what was asked; the same key with another one is refused.
    """

    version: int
    fingerprint: str


class AliasRecord(Contract):
    """``models/{model_id}/aliases/{alias}``, and each ``.../history/{revision}``."""

    model_id: str
    alias: str
    owner_id: str
    revision: int
    version: int | None
    previous_version: int | None = None
    at: Timestamp
    by: str
    reason: str

    def public(self) -> ModelAlias:
        """Return what the model's owner sees."""
        return ModelAlias.model_validate(self.model_dump())

    def change(self) -> AliasChange:
        """Return what the model's owner sees of it in the history."""
        return AliasChange.model_validate(self.model_dump())


class JobArtifactRecord(Contract):
    """Of a job's output: the object that holds the trained model."""

    ref: str
    sha256: str
    size_bytes: int


class JobOutputRecord(Contract):
    """What a finished job's document says of its result."""

    artifact: JobArtifactRecord | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    model_ref: str | None = None
    registration: dict[str, Any] | None = None


class JobConfigRecord(Contract):
    """What a finished job's document says of what it was made of."""

    robot_model: str
    model_id: str | None = None
    model_base: str | None = None
    episode_ids: list[str] = Field(default_factory=list)
    episodes_digest: str | None = None


class JobRecord(Contract):
    """``training_jobs/{job_id}``, as far as this codebase reads it."""

    job_id: str
    owner_id: str
    type: str
    status: str
    config: JobConfigRecord
    output: JobOutputRecord = Field(default_factory=JobOutputRecord)

    @field_validator("output", mode="before")
    @classmethod
    def _no_output_is_an_empty_one(cls, value: Any) -> Any:
        return {} if value is None else value
