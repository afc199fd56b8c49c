"""Decisions about robots and accounts: pure, over proofs, records and a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from continuon import limits
from continuon.contracts.robots import RobotStatus
from continuon.errors import ProblemError
from continuon_fleet.errors import (
    DEVICE_NOT_PROVISIONED,
    KEY_REVOKED,
    QUOTA_ROBOTS,
    ROBOT_ALREADY_CLAIMED,
)
from continuon_fleet.records import RobotRecord

if TYPE_CHECKING:
    from datetime import datetime

    from continuon.auth.claims import ClaimProof

__all__ = ["check_provisioned", "check_quota", "claim", "is_bound", "plan_limits", "revoke"]

_DEFAULT_PLAN: Final = "free"


def plan_limits(plan: str) -> limits.PlanLimits:
    """Return what ``plan`` allows; an unknown plan allows what the smallest does."""
    return limits.PLANS.get(plan, limits.PLANS[_DEFAULT_PLAN])


def check_quota(robots_used: int, plan: str) -> None:
    """Decide whether one more robot fits.

    Raises:
        ProblemError: ``quota.robots``.
    """
    allowed = plan_limits(plan).robots
    if robots_used >= allowed:
        raise ProblemError(QUOTA_ROBOTS, f"The plan {plan} has {allowed} robots.")


def check_provisioned(registered_thumbprint: str | None, proof: ClaimProof) -> None:
    """Decide whether the device is one that its maker registered, with this key.

    Raises:
        ProblemError: ``claim.device_not_provisioned``; one answer for "unknown" and "other key".
    """
    if registered_thumbprint is None or registered_thumbprint != proof.key_thumbprint:
        raise ProblemError(DEVICE_NOT_PROVISIONED)


def is_bound(record: RobotRecord, proof: ClaimProof) -> bool:
    """Say whether the robot is bound to this user and this key already."""
    return (
        record.status is RobotStatus.CLAIMED
        and record.owner_id == proof.user_id
        and record.key_thumbprint == proof.key_thumbprint
    )


def claim(
    proof: ClaimProof, existing: RobotRecord | None, *, name: str | None, now: datetime
) -> RobotRecord:
    """Return the robot's record once ``proof`` is applied.

    Raises:
        ProblemError: ``robot.already_claimed`` or ``claim.key_revoked``.
    """
    if existing is not None and existing.status is RobotStatus.CLAIMED:
        raise ProblemError(ROBOT_ALREADY_CLAIMED)
    revoked = existing.revoked_thumbprints if existing else []
    if proof.key_thumbprint in revoked:
        raise ProblemError(KEY_REVOKED)
    return RobotRecord(
        robot_id=proof.ruri.device_id,
        owner_id=proof.user_id,
        name=name or proof.ruri.device_id,
        ruri=str(proof.ruri),
        device_id=proof.ruri.device_id,
        model=proof.ruri.model,
        manufacturer=proof.ruri.manufacturer,
        status=RobotStatus.CLAIMED,
        public_key=proof.jwk,
        key_thumbprint=proof.key_thumbprint,
        revoked_thumbprints=revoked,
        claimed_at=now,
    )


def revoke(record: RobotRecord) -> RobotRecord:
    """Return the robot's record without owner and key; its old key is remembered as spent."""
    spent = [record.key_thumbprint] if record.key_thumbprint else []
    return record.model_copy(
        update={
            "owner_id": None,
            "status": RobotStatus.REVOKED,
            "public_key": None,
            "key_thumbprint": None,
            "revoked_thumbprints": [*record.revoked_thumbprints, *spent],
        }
    )
