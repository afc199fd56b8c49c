"""One robot and one bundle: an offer, reports, an end. Pure.

An offer is a lease. Reports extend it while the installation goes on, and end it; a robot that
falls silent loses it. Reports are numbered by the robot, so that a repeated or late one changes
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from continuon import limits
from continuon.contracts.ota import OfferDirection, ReportPhase
from continuon.errors import ProblemError
from continuon_ota.cohorts import position
from continuon_ota.errors import DEPLOYMENT_NOT_OFFERED
from continuon_ota.records import DeploymentRecord, Outcome, RobotUpdateState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from continuon.contracts.ota import CheckRequest, ReportRequest
    from continuon_ota.policy import Choice
    from continuon_ota.records import RobotRecord

__all__ = ["Applied", "apply_report", "has_offer", "offer"]

_FAILURES: Final = frozenset({ReportPhase.FAILED, ReportPhase.ROLLED_BACK})
_FAILED: Final = frozenset({Outcome.FAILED, Outcome.STRANDED})
_PENDING: Final = {
    OfferDirection.FORWARD: Outcome.PENDING,
    OfferDirection.BACK: Outcome.RETURNING,
}
_ENDS: Final = _FAILURES | {ReportPhase.HEALTHY}


@dataclass(frozen=True, slots=True)
class Applied:
    """What a report changes: the deployment, and the robot's own fields.

    Attributes:
        released: Places of the disruption budget that are free again.
    """

    deployment: DeploymentRecord
    robot: RobotUpdateState
    released: tuple[str, ...] = ()


def has_offer(deployment: DeploymentRecord | None, now: datetime) -> bool:
    """Say whether the robot holds an offer of this bundle that has not run out."""
    return (
        deployment is not None
        and deployment.lease_expires_at is not None
        and deployment.lease_expires_at > now
    )


def offer(
    choice: Choice,
    robot: RobotRecord,
    request: CheckRequest,
    before: DeploymentRecord | None,
    *,
    places: Sequence[str],
    now: datetime,
) -> DeploymentRecord:
    """Return the deployment of a robot that is offered ``choice``, anew or once more.

    A robot that holds the offer still gets the same one: its answer was lost, or it was restarted.
    """
    lease = timedelta(seconds=choice.policy.lease)
    renewed = before is not None and has_offer(before, now)
    base = before or DeploymentRecord(
        robot_id=robot.robot_id,
        bundle_id=choice.bundle.bundle_id,
        position=position(choice.bundle.bundle_id, robot.robot_id),
        updated_at=now,
    )
    changes: dict[str, Any] = {"updated_at": now, "places": list(places)}
    if renewed:
        changes["lease_expires_at"] = _extended(base, lease, now)
    else:
        changes |= {
            "outcome": _PENDING[choice.direction],
            "phase": None,
            "installing": False,
            "direction": choice.direction.value,
            "attempts": base.attempts + 1,
            "offered_at": now,
            "lease_expires_at": now + lease,
            "from_bundle_id": request.bundle_id,
            "error": None,
        }
    return base.model_copy(update=changes)


def _extended(deployment: DeploymentRecord, lease: timedelta, now: datetime) -> datetime:
    end = (deployment.offered_at or now) + timedelta(seconds=limits.OTA_MAX_ATTEMPT_S)
    # Never earlier than promised: the robot counts on it.
    held = deployment.lease_expires_at or now
    return max(held, min(now + lease, end))


def apply_report(
    before: DeploymentRecord | None,
    robot: RobotRecord,
    request: ReportRequest,
    *,
    lease_s: int,
    now: datetime,
) -> Applied | None:
    """Return what a report changes, or None when a later one has been applied.

    Raises:
        ProblemError: ``deployment.not_offered``.
    """
    if request.sequence <= robot.ota.sequence:
        return None
    if before is None or before.offered_at is None:
        deployment = _adopted(before, robot, request, now)
    else:
        deployment = _advanced(before, request, lease_s, now)
    failed = _newly_failed(before, deployment)
    state = _robot_state(robot.ota, request, deployment, failed=failed, now=now)
    # With the lease, the places are gone: they may be another robot's by now.
    held = before.places if before is not None and has_offer(before, now) else []
    ended = deployment.lease_expires_at is None
    deployment = deployment.model_copy(update={"places": [] if ended else held})
    return Applied(deployment, state, tuple(held) if ended else ())


def _adopted(
    before: DeploymentRecord | None, robot: RobotRecord, request: ReportRequest, now: datetime
) -> DeploymentRecord:
    """A bundle that came by other means. It says nothing about the rollout, good or bad."""
    if request.phase is not ReportPhase.HEALTHY:
        raise ProblemError(DEPLOYMENT_NOT_OFFERED, f"{request.bundle_id} was not offered.")
    base = before or DeploymentRecord(
        robot_id=robot.robot_id,
        bundle_id=request.bundle_id,
        position=position(request.bundle_id, robot.robot_id),
        updated_at=now,
    )
    changes = {"outcome": Outcome.ADOPTED, "phase": request.phase, "updated_at": now}
    return base.model_copy(update={**changes, **_reported(base, request)})


def _advanced(
    before: DeploymentRecord, request: ReportRequest, lease_s: int, now: datetime
) -> DeploymentRecord:
    changes: dict[str, Any] = {"phase": request.phase, "updated_at": now}
    changes |= _reported(before, request)
    lease = timedelta(seconds=lease_s)
    if request.phase in _ENDS:
        failed = request.phase in _FAILURES
        changes |= {
            "outcome": _end(before, failed=failed),
            "installing": False,
            "lease_expires_at": None,
        }
        changes["error"] = request.error.model_dump() if failed and request.error else None
        changes["failures"] = before.failures + (failed and before.outcome not in _FAILED)
    elif before.outcome in _PENDING.values():
        installed = request.phase is ReportPhase.INSTALLED
        # Only a forward installation that goes silent is the bundle's fault.
        changes["installing"] = installed and before.outcome is Outcome.PENDING
        # What it has written it has to try: that time is its own, however long the download took.
        until = now + lease if installed else _extended(before, lease, now)
        changes["lease_expires_at"] = until
    return before.model_copy(update=changes)


def _end(before: DeploymentRecord, *, failed: bool) -> Outcome:
    if before.direction == OfferDirection.BACK:
        return Outcome.STRANDED if failed else Outcome.ADOPTED
    return Outcome.FAILED if failed else Outcome.SUCCEEDED


def _reported(before: DeploymentRecord, request: ReportRequest) -> dict[str, Any]:
    fields: dict[str, Any] = {"version": request.version}
    if request.task is not None:
        # Totals of one installation; a robot that was set up anew begins at zero again.
        fields |= {"task_successes": request.task.successes, "task_trials": request.task.trials}
        fields["has_tasks"] = before.has_tasks or request.task.trials > 0
    return fields


def _newly_failed(before: DeploymentRecord | None, after: DeploymentRecord) -> bool:
    return before is not None and after.failures > before.failures


def _robot_state(
    state: RobotUpdateState,
    request: ReportRequest,
    deployment: DeploymentRecord,
    *,
    failed: bool,
    now: datetime,
) -> RobotUpdateState:
    changes: dict[str, Any] = {"sequence": request.sequence}
    if request.phase is ReportPhase.HEALTHY:
        if state.bundle_id != request.bundle_id:
            changes |= {"bundle_id": request.bundle_id, "since": now}
        changes |= {"failures": 0, "resting_until": None}
    elif failed and state.bundle_id == request.bundle_id:
        # It has left what it was running; what it runs now is said by the next healthy report.
        changes |= {"bundle_id": deployment.from_bundle_id, "since": now}
    if failed:
        failures = state.failures + 1
        if failures >= limits.OTA_MAX_FAILURES:
            rest = now + timedelta(seconds=limits.OTA_REST_S)
            changes |= {"failures": 0, "resting_until": rest}
        else:
            changes["failures"] = failures
    return state.model_copy(update=changes)
