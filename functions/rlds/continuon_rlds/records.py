"""The episode's document, as this codebase reads and writes it."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field

from continuon.contracts.base import Contract, Timestamp
from continuon.contracts.episodes import Episode, EpisodeStatus
from continuon.platform.documents import restored, storable

__all__ = ["AnnouncedFile", "EpisodeRecord", "UploadRecord"]


class AnnouncedFile(Contract):
    """One file the robot said it would upload."""

    path: str
    size_bytes: int | None = None
    sha256: str | None = None
    content_type: str


class UploadRecord(Contract):
    """What was announced: one archive, or the files of a folder.

    Attributes:
        episode_id_is_minted: The caller chose no id, so the one inside the data may differ.
    """

    files: list[AnnouncedFile]
    is_archive: bool
    episode_id_is_minted: bool = False


class EpisodeRecord(Contract):
    """``rlds_episodes/{episode_id}``.

    Attributes:
        owner_id: Who owned the robot when it asked to upload; the episode stays theirs.
        ingest: The work record of :mod:`continuon.platform.leases`.
        announced: Whether `episode-validated` was published for the present verdict.
    """

    episode_id: str
    robot_id: str
    owner_id: str
    robot_model: str | None = None
    status: EpisodeStatus
    uploaded_at: Timestamp
    validated_at: Timestamp | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    storage_ref: str
    upload: UploadRecord
    steps: int | None = None
    duration_ms: float | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    quality: float | None = None
    training_eligible: bool = False
    problems: dict[str, int] = Field(default_factory=dict)
    warnings: dict[str, int] = Field(default_factory=dict)
    report_ref: str | None = None
    training_job_id: str | None = None
    contributed_to_models: list[str] = Field(default_factory=list)
    ingest: dict[str, Any] = Field(default_factory=dict)
    announced: bool = False
    expires_at: Timestamp | None = None

    @classmethod
    def from_document(cls, data: dict[str, Any]) -> Self:
        """Read a document's fields."""
        return cls.model_validate({**data, "metadata": restored(data.get("metadata", {}))})

    def to_document(self) -> dict[str, Any]:
        """Return the fields of a new document.

        Defaults stay absent: encoding one costs as much as encoding a value.
        """
        fields = self.model_dump(exclude_defaults=True)
        if self.metadata:
            fields["metadata"] = storable(self.metadata)
        return fields

    @property
    def is_settled(self) -> bool:
        """Whether there is a verdict."""
        return self.status is not EpisodeStatus.RAW

    def public(self) -> Episode:
        """Return what its owner sees."""
        return Episode.model_validate(self.model_dump())
