"""Models: what a fleet learned, in versions that never change.

A model is a name for a line of artifacts of one robot model. A version is one artifact: its bytes,
digest, metrics and lineage are fixed when it is registered. An alias ("production") points at a
version and keeps the history of where it pointed, who moved it, and why.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, field_validator

from continuon import limits
from continuon.contracts.base import Contract, Page, Timestamp
from continuon.identifiers import EpisodeId

__all__ = [
    "ALIAS",
    "MODEL_ID",
    "VERSION",
    "Alias",
    "AliasChange",
    "AliasHistory",
    "AliasList",
    "Checksum",
    "CreateModelRequest",
    "CreateVersionRequest",
    "Lineage",
    "Model",
    "ModelAlias",
    "ModelDownload",
    "ModelId",
    "ModelPage",
    "ModelUpload",
    "ModelUploadRequest",
    "ModelVersion",
    "PatchModelRequest",
    "PatchVersionRequest",
    "Reason",
    "SetAliasRequest",
    "VersionNumber",
    "VersionPage",
    "VersionStage",
    "VersionStatus",
    "VersionSummary",
]

MODEL_ID = r"^[a-z0-9][a-z0-9._-]{0,62}$"
"""A model id: lower-case letters, digits, dots, underscores and hyphens, at most 63."""

ALIAS = r"^[a-z][a-z0-9._-]{0,62}$"
"""An alias: as a model id, but it begins with a letter, so that it is never a version number."""

VERSION = r"^[1-9][0-9]{0,8}$"
"""A version number as part of a path."""

_FILE_NAME = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"
_FORMAT = r"^[a-z0-9][a-z0-9.+-]{0,31}$"
_LINE = r"^[^\x00-\x1f\x7f-\x9f]*$"
_PARAGRAPHS = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$"
"""Text without control characters, which a terminal would obey; notes may have lines and tabs."""

_METRIC_NAME = r"^[A-Za-z][A-Za-z0-9_./-]{0,63}$"

_ROUTE_WORDS = frozenset({"aliases", "upload", "versions"})


def _no_route_word(value: str) -> str:
    if value in _ROUTE_WORDS:
        raise ValueError(f"{value!r} is part of a route")
    return value


ModelId = Annotated[
    str,
    StringConstraints(pattern=MODEL_ID),
    AfterValidator(_no_route_word),
    Field(examples=["companion-v1"]),
]
Alias = Annotated[
    str,
    StringConstraints(pattern=ALIAS),
    AfterValidator(_no_route_word),
    Field(examples=["production"]),
]
VersionNumber = Annotated[int, Field(ge=1, le=999_999_999)]
Checksum = Annotated[
    str,
    StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$"),
    Field(description="Algorithm and lower-case hex digest of the artifact."),
]
Crc32c = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9+/]{6}==$"),
    Field(description="CRC32C of the artifact, big-endian and base64, as the store computes it."),
]
MetricName = Annotated[str, StringConstraints(pattern=_METRIC_NAME)]
Metrics = Annotated[
    dict[MetricName, Annotated[float, Field(allow_inf_nan=False)]],
    Field(max_length=limits.MODEL_MAX_METRICS),
]
Requirements = Annotated[
    dict[
        Annotated[str, StringConstraints(pattern=_METRIC_NAME)],
        Annotated[str, StringConstraints(max_length=256, pattern=_LINE)],
    ],
    Field(max_length=limits.MODEL_MAX_REQUIREMENTS),
]
ReleaseNotes = Annotated[
    str, StringConstraints(max_length=limits.MODEL_MAX_NOTES_CHARS, pattern=_PARAGRAPHS)
]
Reason = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=limits.MODEL_MAX_REASON, pattern=_LINE
    ),
]
DisplayName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_LINE)
]
RobotModel = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"),
]


class VersionStatus(StrEnum):
    """Whether a version can be used.

    Attributes:
        PENDING: Registered; its artifact is not there, or not checked yet. Never served.
        READY: The artifact is there, with the size and the digest that were registered.
        DELETED: The artifact is gone. The number stays taken and the lineage stays readable.
    """

    PENDING = "pending"
    READY = "ready"
    DELETED = "deleted"


class VersionStage(StrEnum):
    """What kind of artifact it is; it decides the folder in the store and nothing else.

    Attributes:
        SEED: A first model, trained from scratch.
        CHECKPOINT: A state to go on training from; not meant for robots.
        PRODUCTION: A model that was trained on top of another, meant for robots.
    """

    SEED = "seed"
    CHECKPOINT = "checkpoint"
    PRODUCTION = "production"


class CreateModelRequest(Contract):
    """Make a model, without a version yet."""

    model_id: ModelId
    robot_model: RobotModel = Field(
        description="The model of robot it is for, as in the robot's RURI."
    )
    name: DisplayName | None = Field(default=None, description="The model id when left out.")


class PatchModelRequest(Contract):
    """Change what may change of a model."""

    name: DisplayName


class Model(Contract):
    """A model as its owner sees it."""

    model_id: ModelId
    owner_id: str
    robot_model: str
    name: str
    created_at: Timestamp
    updated_at: Timestamp
    latest_version: int = Field(description="The highest number given out; 0 for none.")


class ModelPage(Page):
    """The caller's models, newest first."""

    models: list[Model]


class Lineage(Contract):
    """What a version was made of."""

    episode_ids: list[EpisodeId] = Field(default_factory=list, max_length=limits.MODEL_MAX_EPISODES)
    episodes_digest: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        default=None, description="Digest of the set of episodes, as its training job states it."
    )
    model_base: Annotated[str, StringConstraints(max_length=256)] | None = Field(
        default=None, description="The version it was trained on top of: models/ID/versions/N."
    )

    @field_validator("episode_ids")
    @classmethod
    def _fits_a_document(cls, episode_ids: list[str]) -> list[str]:
        if sum(len(one) + 1 for one in episode_ids) > limits.MODEL_MAX_LINEAGE_BYTES:
            raise ValueError(f"ids of more than {limits.MODEL_MAX_LINEAGE_BYTES} bytes together")
        # A set, in the order it was given: an episode made the version or it did not.
        return list(dict.fromkeys(episode_ids))


class CreateVersionRequest(Contract):
    """Register a version that was made outside of the training service; then upload it."""

    file_name: Annotated[str, StringConstraints(pattern=_FILE_NAME)] = Field(
        default="model.bin", examples=["policy.npz"]
    )
    format: Annotated[str, StringConstraints(pattern=_FORMAT)] = Field(
        examples=["npz", "onnx", "safetensors", "tflite", "tar.gz"]
    )
    size_bytes: int = Field(ge=1, le=limits.MODEL_MAX_BYTES)
    checksum: Checksum
    crc32c: Crc32c | None = Field(
        default=None,
        description="Given, the upload URL is bound to it and the store refuses other bytes.",
    )
    stage: VersionStage = VersionStage.PRODUCTION
    metrics: Metrics = Field(default_factory=dict)
    requirements: Requirements = Field(
        default_factory=dict, examples=[{"runtime": "onnxruntime>=1.20"}]
    )
    lineage: Lineage = Field(default_factory=Lineage)
    release_notes: ReleaseNotes = ""


class PatchVersionRequest(Contract):
    """Change what may change of a version: what is said about it."""

    release_notes: ReleaseNotes


class ModelVersion(Contract):
    """One version of a model."""

    model_id: ModelId
    version: VersionNumber
    model_ref: str = Field(examples=["models/companion-v1/versions/3"])
    status: VersionStatus
    stage: VersionStage
    created_at: Timestamp
    created_by: str = Field(description="A user id, or `training`.")
    ready_at: Timestamp | None = None
    deleted_at: Timestamp | None = None
    file_name: str
    format: str
    size_bytes: int
    checksum: Checksum
    crc32c: str | None = None
    storage_ref: str = Field(description="Name of the object in the bucket.")
    metrics: dict[str, float] = Field(default_factory=dict)
    requirements: dict[str, str] = Field(default_factory=dict)
    training_job_id: str | None = None
    lineage: Lineage = Field(default_factory=Lineage)
    release_notes: str = ""
    download_count: int | None = Field(
        default=None, description="How often a download was granted; absent where not counted."
    )


class VersionSummary(Contract):
    """One version in a list; the list of its episodes is left to the version itself."""

    model_id: ModelId
    version: VersionNumber
    model_ref: str
    status: VersionStatus
    stage: VersionStage
    created_at: Timestamp
    ready_at: Timestamp | None = None
    format: str
    size_bytes: int
    checksum: Checksum
    metrics: dict[str, float] = Field(default_factory=dict)
    training_job_id: str | None = None
    episode_count: int
    release_notes: str = ""
    download_count: int | None = None


class VersionPage(Page):
    """Versions, newest first."""

    versions: list[VersionSummary]


class ModelUploadRequest(Contract):
    """Ask for the right to upload the artifact of a pending version, or renew it."""

    version: VersionNumber
    resumable: bool = Field(default=False, description="Ask for a resumable session at any size.")


class ModelUpload(Contract):
    """How to upload: send `method` to `url` with exactly these `headers`, until `expires_at`."""

    model_id: ModelId
    version: VersionNumber
    url: str
    method: Literal["PUT", "POST"] = Field(
        description="POST starts a resumable session; its Location takes the bytes."
    )
    headers: dict[str, str]
    resumable: bool
    already_uploaded: bool = False
    expires_at: Timestamp


class ModelDownload(Contract):
    """A URL that reads the artifact until `expires_at`; it honours `Range`."""

    model_id: ModelId
    version: VersionNumber
    url: str
    expires_at: Timestamp
    file_name: str
    format: str
    size_bytes: int
    checksum: Checksum
    crc32c: str | None = None


class SetAliasRequest(Contract):
    """Point an alias at a version."""

    version: VersionNumber
    reason: Reason = Field(description="Why; kept in the history.")
    expected_version: VersionNumber | Literal[0] | None = Field(
        default=None,
        description="Refuse unless the alias points there now; 0 for nowhere. Left out: whatever.",
    )


class AliasChange(Contract):
    """One entry of an alias's history: from `at` on it pointed at `version`."""

    revision: int = Field(description="1, 2, 3, ... without gaps.")
    version: int | None = Field(description="Absent when the alias was removed.")
    previous_version: int | None = None
    at: Timestamp
    by: str
    reason: str


class ModelAlias(AliasChange):
    """Where an alias points, or pointed at the asked moment, and since when."""

    model_id: ModelId
    alias: Alias


class AliasList(Contract):
    """Where a model's aliases point, by name."""

    aliases: list[ModelAlias]


class AliasHistory(Page):
    """Every change of an alias, newest first."""

    model_id: ModelId
    alias: Alias
    changes: list[AliasChange]
