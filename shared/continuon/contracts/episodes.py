"""Episodes: how a robot uploads one and how its owner finds it again."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, field_validator

from continuon import limits
from continuon.contracts.base import Contract, Page, Timestamp
from continuon.identifiers import EpisodeId, RobotId

__all__ = [
    "DownloadFile",
    "DownloadResponse",
    "Episode",
    "EpisodePage",
    "EpisodeStatus",
    "FileSpec",
    "IngestRequest",
    "IngestResponse",
    "SignedUpload",
    "SignedUrlRequest",
    "SignedUrlResponse",
    "UploadMetadata",
]

_SHA256 = r"^[0-9a-f]{64}$"
_MEMBER_PATH = (
    r"^(metadata\.json|manifest\.json|steps\.jsonl|steps/[0-9]{6}\.jsonl"
    r"|blobs(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+)$"
)
"""The episode layout: no dot segment can match, because no segment may begin with a dot."""

_METADATA = "metadata.json"

Sha256 = Annotated[str, StringConstraints(pattern=_SHA256)]
ContentType = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9.+-]+/[a-z0-9.+-]+(; ?charset=utf-8)?$", max_length=100),
]


class EpisodeStatus(StrEnum):
    """Where an episode is on its way."""

    RAW = "raw"
    VALIDATED = "validated"
    REJECTED = "rejected"
    TRAINING = "training"
    TRAINED = "trained"


class UploadMetadata(Contract):
    """What a robot says about a recording before it uploads it; unknown fields are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)

    duration_ms: int | None = Field(default=None, ge=0, le=limits.MAX_DURATION_MS)
    step_count: int | None = Field(default=None, ge=0, le=limits.MAX_STEPS)


class FileSpec(Contract):
    """One file of an episode folder that will be uploaded on its own."""

    path: Annotated[str, StringConstraints(pattern=_MEMBER_PATH, max_length=512)] = Field(
        examples=["metadata.json", "steps.jsonl", "blobs/frame_000000.jpg"]
    )
    size_bytes: int = Field(ge=0, le=limits.MAX_MEMBER_BYTES)
    sha256: Sha256 | None = None
    content_type: ContentType = "application/octet-stream"


class SignedUrlRequest(Contract):
    """Ask for the right to upload one episode.

    With `files`, one signed upload for each; the list is the manifest and the episode is complete
    when all of it is there. Without, one object: `episode.tar.gz`, `episode.tar`, `episode.zip` or
    `episode.json`, chosen by `content_type`.
    """

    robot_id: RobotId | None = Field(default=None, description="Left out: the robot that signed.")
    episode_id: EpisodeId | None = Field(default=None, description="Left out: minted.")
    metadata: UploadMetadata = Field(default_factory=UploadMetadata)
    files: list[FileSpec] | None = Field(
        default=None, min_length=1, max_length=limits.MAX_FILES_PER_REQUEST
    )
    content_type: ContentType = Field(
        default="application/gzip", description="Of the one object, when `files` is absent."
    )
    size_bytes: int | None = Field(
        default=None,
        ge=1,
        le=limits.MAX_OBJECT_BYTES,
        description="Of the one object; a large one gets a resumable session.",
    )
    sha256: Sha256 | None = Field(default=None, description="Of the one object.")
    resumable: bool = Field(
        default=False,
        description="Ask for resumable sessions whatever the size: for links that break.",
    )

    @field_validator("files")
    @classmethod
    def _is_a_folder(cls, files: list[FileSpec] | None) -> list[FileSpec] | None:
        if files is None:
            return None
        paths = [file.path for file in files]
        if len(set(paths)) != len(paths):
            raise ValueError("a path may be listed once")
        # Ingest looks for it to tell cheaply whether a folder may be complete.
        if _METADATA not in paths:
            raise ValueError(f"{_METADATA} has to be listed")
        return files


class SignedUpload(Contract):
    """How to upload one file: send `method` to `url` with exactly these `headers`."""

    path: str
    url: str
    method: Literal["PUT", "POST"] = Field(
        description="POST starts a resumable session; its Location takes the bytes."
    )
    headers: dict[str, str]
    resumable: bool
    already_uploaded: bool = Field(
        default=False, description="The store has this file; uploading again would be refused."
    )


class SignedUrlResponse(Contract):
    """The right to upload, until `expires_at`."""

    upload_url: str
    expires_at: Timestamp
    episode_ref: str = Field(examples=["episodes/raw/14d4b680/ep_1704384000000"])
    method: Literal["PUT", "POST"]
    headers: dict[str, str]
    uploads: list[SignedUpload]


class IngestRequest(Contract):
    """Validate an uploaded episode now, instead of waiting for its finalize event."""

    episode_ref: Annotated[
        str,
        StringConstraints(
            pattern=r"^episodes/raw/[A-Za-z0-9][A-Za-z0-9_-]{0,63}/[A-Za-z0-9][A-Za-z0-9_-]{0,127}$"
        ),
    ]
    checksum: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")] | None = Field(
        default=None, description="Of the one uploaded object; refused when it differs."
    )


class IngestResponse(Contract):
    """The verdict."""

    status: Literal["validated", "rejected"]
    episode_id: EpisodeId
    training_eligible: bool
    report: dict[str, Any] | None = Field(
        default=None, description="The whole report; present when the episode was rejected."
    )


class Episode(Contract):
    """An episode as its owner sees it."""

    episode_id: EpisodeId
    robot_id: RobotId
    status: EpisodeStatus
    uploaded_at: Timestamp
    validated_at: Timestamp | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    storage_ref: str
    robot_model: str | None = None
    steps: int | None = None
    duration_ms: float | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    quality: float | None = Field(default=None, ge=0, le=1)
    training_eligible: bool = False
    problems: dict[str, int] = Field(
        default_factory=dict, description="Count by code; the report has each one."
    )
    warnings: dict[str, int] = Field(default_factory=dict)
    training_job_id: str | None = None
    contributed_to_models: list[str] = Field(default_factory=list)


class EpisodePage(Page):
    """Episodes, newest first."""

    episodes: list[Episode]


class DownloadFile(Contract):
    """One file of an episode and a URL that reads it."""

    path: str
    url: str
    size_bytes: int
    content_type: str | None = None
    crc32c: str | None = None


class DownloadResponse(Contract):
    """The files of an episode, readable until `expires_at`; every URL honours `Range`."""

    episode_id: EpisodeId
    expires_at: Timestamp
    files: list[DownloadFile]
