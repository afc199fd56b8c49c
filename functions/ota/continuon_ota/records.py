"""The documents this codebase reads and writes."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self

from pydantic import Field

from continuon.contracts.base import Contract, Timestamp
from continuon.contracts.ota import Archive, Bundle, ManifestSummary, ReportPhase, Rollout
from continuon.contracts.rollouts import Decision, RolloutStatus
from continuon.ota.manifest import RobotModel
from continuon.ota.versions import BundleVersion

__all__ = [
    "BundleRecord",
    "DeploymentRecord",
    "Outcome",
    "RobotRecord",
    "RobotUpdateState",
    "RolloutRecord",
]


class RolloutRecord(Rollout):
    """The field ``rollout`` of a bundle's document.

    Attributes:
        paused_from: Where `resume` goes back to.
        superseded_by: The bundle whose withdrawal puts this one back into production.
        group_sizes: Robots of the model (`*`) and of each group that the plan's budget names.
        sizes_at: When those were counted.
        decision: Of the last step, kept when it changed something or for the first time.
    """

    paused_from: RolloutStatus | None = None
    superseded_by: str | None = None
    group_sizes: dict[str, int] = Field(default_factory=dict)
    sizes_at: Timestamp | None = None
    decision: Decision | None = None

    def public(self) -> Rollout:
        """Return what the API shows."""
        return Rollout.model_validate(self.model_dump())


class BundleRecord(Contract):
    """``ota_bundles/{bundle_id}``."""

    bundle_id: str
    version: BundleVersion
    robot_model: RobotModel
    owner_id: str
    created_at: Timestamp
    training_job_id: str | None = None
    storage_ref: str
    target_path: str
    manifest: ManifestSummary
    archive: Archive
    rollout: RolloutRecord

    def public(self) -> Bundle:
        """Return what operators see."""
        fields = self.model_dump()
        return Bundle.model_validate({**fields, "rollout": self.rollout.public().model_dump()})

    def with_rollout(self, rollout: RolloutRecord) -> Self:
        """Return the record with another state of its rollout."""
        return self.model_copy(update={"rollout": rollout})


class Outcome(StrEnum):
    """How the last installation on a robot ended.

    Attributes:
        PENDING: It has not ended.
        SUCCEEDED: The robot is healthy with it.
        FAILED: It failed, or the robot went back.
        ADOPTED: The robot is healthy with it, and came to it by another way: it was installed by
            other means, or is what the robot went back to. The gate does not count it.
        RETURNING: The robot is on its way back to it.
        STRANDED: The way back to it failed. That says nothing about the bundle, which it had been
            healthy with.
    """

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ADOPTED = "adopted"
    RETURNING = "returning"
    STRANDED = "stranded"


class DeploymentRecord(Contract):
    """``ota_bundles/{bundle_id}/deployments/{robot_id}``: written for that robot only.

    Attributes:
        position: Place of the robot in the order of the bundle, see :mod:`cohorts`.
        phase: Of the last report; None until there is one.
        installing: It is written to the slot and has not said whether it is healthy.
        attempts: How often it was offered and the offer was taken anew.
        lease_expires_at: Until when the offer holds; None when the installation has ended.
        places: Documents of the disruption budget that this robot holds.
        has_tasks: Whether it has reported tasks, for a count of robots.
    """

    robot_id: str
    bundle_id: str
    position: float
    outcome: Outcome = Outcome.PENDING
    phase: ReportPhase | None = None
    installing: bool = False
    direction: str = "forward"
    attempts: int = 0
    failures: int = 0
    offered_at: Timestamp | None = None
    lease_expires_at: Timestamp | None = None
    updated_at: Timestamp
    version: str | None = None
    from_bundle_id: str | None = None
    error: dict[str, str] | None = None
    places: list[str] = Field(default_factory=list)
    task_successes: int = 0
    task_trials: int = 0
    has_tasks: bool = False


class RobotUpdateState(Contract):
    """The field ``ota`` of a robot's document.

    Attributes:
        sequence: Of the last report that was applied.
        bundle_id: Of the bundle that runs, by the last report.
        since: When that was first reported.
        failures: Installations that failed, one after the other.
    """

    sequence: int = 0
    bundle_id: str | None = None
    since: Timestamp | None = None
    offered_bundle_id: str | None = None
    failures: int = 0
    resting_until: Timestamp | None = None
    software_version: str | None = None
    timezone: str | None = None


class RobotRecord(Contract):
    """What this codebase needs of ``robots/{robot_id}``."""

    robot_id: str
    owner_id: str | None = None
    model: str = ""
    groups: list[str] = Field(default_factory=list)
    tags: list[str] = Field(default_factory=list)
    model_version: str | None = None
    desired_version: str | None = None
    ota: RobotUpdateState = Field(default_factory=RobotUpdateState)

    @classmethod
    def from_document(cls, robot_id: str, data: dict[str, Any]) -> Self:
        """Read a document's fields; those of other codebases are left alone."""
        return cls.model_validate({**data, "robot_id": robot_id})
