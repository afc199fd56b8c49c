"""Bundles, robots and rollouts of the tests: small, valid, and changed by keyword."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from continuon.contracts.ota import Archive, CheckRequest, ManifestSummary, RobotState
from continuon.contracts.rollouts import RolloutAction, RolloutPlan, RolloutStatus
from continuon.ota.manifest import target_path
from continuon_ota import service
from continuon_ota.records import BundleRecord, RobotRecord, RolloutRecord

__all__ = [
    "MODEL",
    "NOW",
    "READY",
    "bundle",
    "check",
    "live",
    "plan",
    "robot",
    "rollout",
]

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
"""A Wednesday."""

MODEL = "companion-v1"

READY = RobotState(
    idle=True, docked=True, battery_percent=90, in_remote_session=False, free_bytes=10**10
)


def plan(*percentages: float, **changes: Any) -> RolloutPlan:
    """Return a plan with stages that soak for an hour and need ten results."""
    stages = [{"percentage": p} for p in percentages or (1, 10, 50, 100)]
    return RolloutPlan.model_validate({"stages": stages, **changes})


def rollout(
    status: RolloutStatus = RolloutStatus.STAGED, *, the_plan: RolloutPlan | None = None
) -> RolloutRecord:
    """Return a rollout that has come to ``status`` by the transitions that lead there."""
    record = service.staged(NOW - timedelta(hours=5))
    if status is RolloutStatus.STAGED:
        return record
    now = NOW - timedelta(hours=4)
    record = service.act(record, RolloutAction.START, plan=the_plan or plan(), now=now)
    if status in {RolloutStatus.PRODUCTION, RolloutStatus.SUPERSEDED}:
        while record.status is not RolloutStatus.PRODUCTION:
            record = service.act(record, RolloutAction.ADVANCE, now=now)
    actions = {
        RolloutStatus.PAUSED: [RolloutAction.PAUSE],
        RolloutStatus.HALTED: [RolloutAction.HALT],
        RolloutStatus.ROLLED_BACK: [RolloutAction.ROLLBACK],
    }
    for action in actions.get(status, []):
        record = service.act(record, action, now=now)
    if status is RolloutStatus.SUPERSEDED:
        record = service.supersede(record, "a later one", now=now)
    assert record.status is status
    return record


def bundle(
    version: str = "1.1.0", state: RolloutRecord | None = None, **changes: Any
) -> BundleRecord:
    """Return a bundle's record."""
    model = changes.pop("robot_model", MODEL)
    requires = changes.pop("requires_version", "")
    fields = {
        "bundle_id": f"{model}-{version}",
        "version": version,
        "robot_model": model,
        "owner_id": "operator",
        "created_at": NOW,
        "storage_ref": f"bundles/ota/{target_path(model, version)}",
        "target_path": target_path(model, version),
        "manifest": ManifestSummary(
            checksum="sha256:" + "0" * 64, size_bytes=900, requires_version=requires, files=1
        ),
        "archive": Archive(size_bytes=1000, sha256="1" * 64),
        "rollout": state or rollout(),
    }
    return BundleRecord.model_validate({**fields, **changes})


def live(version: str = "1.1.0", **plan_fields: Any) -> BundleRecord:
    """Return a bundle in production, with a plan of one stage for all."""
    model = plan_fields.pop("robot_model", MODEL)
    return bundle(
        version,
        robot_model=model,
        state=rollout(RolloutStatus.PRODUCTION, the_plan=plan(100, **plan_fields)),
    )


def robot(robot_id: str = "r-1", **changes: Any) -> RobotRecord:
    """Return a robot of the model, in no group."""
    return RobotRecord.model_validate({"robot_id": robot_id, "model": MODEL, **changes})


def check(version: str | None = "1.0.0", **changes: Any) -> CheckRequest:
    """Return the check of a robot that is ready for anything."""
    fields = {
        "version": version,
        "bundle_id": f"{MODEL}-{version}" if version else None,
        "software_version": "2.0.0",
        "state": READY,
    }
    return CheckRequest.model_validate({**fields, **changes})
