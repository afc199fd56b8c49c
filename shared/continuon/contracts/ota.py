"""Over the air: bundles, the rollouts that carry them, and what a robot asks and reports."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from continuon import limits
from continuon.contracts.base import Contract, Page, Timestamp
from continuon.contracts.rollouts import (
    Decision,
    GroupName,
    RolloutAction,
    RolloutCounts,
    RolloutPlan,
    RolloutStatus,
    StageCounts,
)
from continuon.identifiers import RobotId
from continuon.ota.manifest import BundleManifest, Provenance, RobotModel
from continuon.ota.versions import BundleVersion, Requirement, SoftwareVersion

__all__ = [
    "BUNDLE_ID",
    "Archive",
    "Bundle",
    "BundleId",
    "BundlePage",
    "BundleUpload",
    "CheckRequest",
    "CheckResponse",
    "CreateBundleRequest",
    "CreatedBundle",
    "ManifestSummary",
    "NoUpdateReason",
    "OfferDirection",
    "OfferedBundle",
    "PublishMetadataRequest",
    "PublishedMetadata",
    "ReportError",
    "ReportPhase",
    "ReportRequest",
    "ReportResponse",
    "RobotMembership",
    "RobotState",
    "RobotUpdates",
    "Rollout",
    "RolloutReport",
    "RolloutRequest",
    "TaskTotals",
]

BUNDLE_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,128}$"
"""A bundle id is ``{robot_model}-{version}``: one bundle for a model and a version."""

_SHA256 = r"^[0-9a-f]{64}$"
_METADATA_FILE = r"^(?:[1-9][0-9]{0,8}\.)?[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.json$"

BundleId = Annotated[
    str, StringConstraints(pattern=BUNDLE_ID), Field(examples=["companion-v1-1.4.0"])
]
Sha256 = Annotated[str, StringConstraints(pattern=_SHA256)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=500)]


# --- Bundles ------------------------------------------------------------------------------------


class Archive(Contract):
    """The bundle as one object: what signed metadata says of it."""

    size_bytes: int = Field(ge=1, le=limits.MAX_OBJECT_BYTES)
    sha256: Sha256


class CreateBundleRequest(Contract):
    """Announce a bundle. Its robot model and version are those of the manifest."""

    manifest: BundleManifest
    archive: Archive


class BundleUpload(Contract):
    """How to upload the archive: send `method` to `url` with exactly these `headers`."""

    url: str
    method: Literal["PUT", "POST"] = Field(
        description="POST starts a resumable session; its Location takes the bytes."
    )
    headers: dict[str, str]
    expires_at: Timestamp


class Rollout(Contract):
    """How far a bundle has come. Counts are as of the last step of the rollout."""

    status: RolloutStatus
    stage: int | None = Field(default=None, description="Index in `plan.stages`; null when staged.")
    target_percentage: float = Field(
        default=0.0, description="Share of the targeted robots that may take it, in percent."
    )
    plan: RolloutPlan | None = None
    since: Timestamp = Field(description="When status or stage last changed.")
    reason: str = ""
    previous_bundle_id: str | None = Field(
        default=None, description="What robots go back to when this one is halted."
    )
    deployed_count: int = 0
    error_count: int = 0
    counted_at: Timestamp | None = None
    revision: int = Field(default=0, description="Grows by one with every change of state.")


class ManifestSummary(Contract):
    """What a bundle's document keeps of its manifest; the archive holds the whole one."""

    checksum: str
    size_bytes: int
    requires_version: Requirement = ""
    provenance: Provenance = Field(default_factory=Provenance)
    files: int = Field(default=0, description="How many; the archive lists them.")
    dependencies: int = Field(default=0, description="How many; the archive lists them.")

    @classmethod
    def of(cls, manifest: BundleManifest) -> Self:
        """Summarise ``manifest``."""
        return cls(
            checksum=manifest.checksum,
            size_bytes=manifest.size_bytes,
            requires_version=manifest.requires_version,
            provenance=manifest.provenance,
            files=len(manifest.files),
            dependencies=len(manifest.dependencies),
        )


class Bundle(Contract):
    """A signed bundle and its rollout."""

    bundle_id: BundleId
    version: BundleVersion
    robot_model: RobotModel
    owner_id: str = Field(description="The operator who published it.")
    created_at: Timestamp
    training_job_id: str | None = None
    storage_ref: str
    target_path: str = Field(description="Its path in signed metadata.")
    manifest: ManifestSummary
    archive: Archive
    rollout: Rollout


class CreatedBundle(Contract):
    """A bundle that was announced, and how to upload it."""

    bundle: Bundle
    upload: BundleUpload | None = Field(
        default=None, description="Absent when the archive is there already."
    )


class BundlePage(Page):
    """Bundles, newest first."""

    bundles: list[Bundle]


# --- Rollouts -----------------------------------------------------------------------------------


class RolloutRequest(Contract):
    """Change the state of a rollout."""

    action: RolloutAction
    plan: RolloutPlan | None = Field(
        default=None, description="With `start`; left out: one that fits the fleet's size."
    )
    reason: Reason | None = Field(default=None, description="Kept in the audit log.")
    expected_status: RolloutStatus | None = Field(
        default=None, description="Refuse when the rollout is in another state by now."
    )


class RolloutReport(Contract):
    """A rollout as it stands now: counts of each cohort and the gate's reasoning."""

    bundle_id: BundleId
    version: BundleVersion
    robot_model: RobotModel
    rollout: Rollout
    counts: RolloutCounts
    stages: list[StageCounts]
    decision: Decision | None = Field(
        default=None, description="What the gate would decide now; absent when none is asked."
    )
    read_at: Timestamp


# --- Robots -------------------------------------------------------------------------------------


class RobotState(Contract):
    """What the robot is doing. A fact it does not know is left out and never counts as a yes."""

    idle: bool | None = None
    docked: bool | None = None
    battery_percent: float | None = Field(default=None, ge=0, le=100)
    in_remote_session: bool | None = None
    free_bytes: int | None = Field(default=None, ge=0)


class CheckRequest(Contract):
    """Ask whether there is something to install."""

    version: SoftwareVersion | None = Field(
        default=None, description="Of the bundle that runs; absent when none does."
    )
    bundle_id: BundleId | None = Field(default=None, description="Of the bundle that runs.")
    software_version: SoftwareVersion = Field(
        description="Of the robot's own software; held against `requires_version`."
    )
    state: RobotState = Field(default_factory=RobotState)
    timezone: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        default=None, description="IANA name; maintenance windows are in it. UTC when absent."
    )


class OfferDirection(StrEnum):
    """Where an offer leads."""

    FORWARD = "forward"
    BACK = "back"


class OfferedBundle(Contract):
    """What to install. The hash is a convenience: only signed metadata is to be believed."""

    bundle_id: BundleId
    version: BundleVersion
    target_path: str
    url: str = Field(description="Reads the archive until `lease_expires_at`; honours `Range`.")
    size_bytes: int
    sha256: Sha256
    direction: OfferDirection = Field(
        description="`back`: what runs was withdrawn, and this is what ran before it."
    )


class NoUpdateReason(StrEnum):
    """Why there is nothing to install now. Stable."""

    UP_TO_DATE = "up_to_date"
    NO_ROLLOUT = "no_rollout"
    NOT_TARGETED = "not_targeted"
    NOT_IN_COHORT = "not_in_cohort"
    REQUIRES_VERSION = "requires_version"
    ROLLOUT_PAUSED = "rollout_paused"
    WINDOW_CLOSED = "window_closed"
    ROBOT_BUSY = "robot_busy"
    NOT_DOCKED = "not_docked"
    BATTERY_LOW = "battery_low"
    REMOTE_SESSION = "remote_session"
    NO_SPACE = "no_space"
    RESTING = "resting"
    BUDGET_SPENT = "budget_spent"
    WITHDRAWN_NO_PREVIOUS = "withdrawn_no_previous"


class CheckResponse(Contract):
    """Yes with a bundle, or no with the reason and when to ask again."""

    update: bool
    bundle: OfferedBundle | None = None
    lease_expires_at: Timestamp | None = Field(
        default=None, description="The offer holds until then; every report extends it."
    )
    reason: NoUpdateReason | None = None
    detail: str | None = Field(default=None, description="A sentence for a person.")
    retry_after_s: int | None = Field(default=None, ge=1)


class ReportPhase(StrEnum):
    """How far the robot has come with a bundle."""

    DOWNLOADING = "downloading"
    VERIFIED = "verified"
    INSTALLED = "installed"
    HEALTHY = "healthy"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"


class ReportError(Contract):
    """Why an installation failed, in the robot's words."""

    code: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
    message: Annotated[str, StringConstraints(max_length=1000)] = ""


class TaskTotals(Contract):
    """How well the robot has done its tasks since this bundle was installed: totals."""

    successes: int = Field(ge=0, le=limits.MAX_OTA_TASK_TRIALS)
    trials: int = Field(ge=0, le=limits.MAX_OTA_TASK_TRIALS)

    @field_validator("trials")
    @classmethod
    def _not_fewer_than_successes(cls, trials: int, info: ValidationInfo) -> int:
        if trials < info.data.get("successes", 0):
            raise ValueError("there cannot be more successes than trials")
        return trials


class ReportRequest(Contract):
    """Say how an installation goes, or how the installed bundle does its tasks."""

    bundle_id: BundleId
    sequence: int = Field(
        ge=1, le=2**53, description="Grows with every report of this robot, over all bundles."
    )
    phase: ReportPhase
    version: SoftwareVersion | None = Field(
        default=None, description="Of the bundle that runs now; absent when none does."
    )
    error: ReportError | None = None
    task: TaskTotals | None = None


class ReportResponse(Contract):
    """Whether the report changed anything; an older or repeated one does not."""

    applied: bool
    last_sequence: int = Field(description="The highest sequence number that was applied.")
    lease_expires_at: Timestamp | None = None


class RobotMembership(Contract):
    """The groups and tags by which plans select a robot; both replace what was there."""

    groups: list[GroupName] = Field(default_factory=list, max_length=32)
    tags: list[GroupName] = Field(default_factory=list, max_length=32)


class RobotUpdates(Contract):
    """One robot: which version, since when, and why not a newer one."""

    robot_id: RobotId
    robot_model: str
    version: str | None = None
    bundle_id: str | None = None
    since: Timestamp | None = None
    desired_version: str | None = None
    groups: list[str] = Field(default_factory=list)
    tags: list[str] = Field(default_factory=list)
    phase: ReportPhase | None = Field(default=None, description="Of the last report.")
    lease_expires_at: Timestamp | None = None
    failures: int = 0
    resting_until: Timestamp | None = None
    newest: BundleId | None = Field(
        default=None, description="The bundle that it could take, as far as the cloud knows."
    )
    reason: NoUpdateReason | None = Field(
        default=None, description="Why it does not; absent when its next check may offer one."
    )
    detail: str


# --- Signed metadata ----------------------------------------------------------------------------

MetadataName = Annotated[str, StringConstraints(pattern=_METADATA_FILE)]
Base64 = Annotated[str, StringConstraints(max_length=limits.MAX_REQUEST_BYTES)]


class PublishMetadataRequest(Contract):
    """Signed metadata files, Base64 by name; the cloud adds snapshot and timestamp."""

    files: dict[MetadataName, Base64] = Field(min_length=1, max_length=64)


class PublishedMetadata(Contract):
    """What is served now."""

    files: list[str]
