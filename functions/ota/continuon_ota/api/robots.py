"""What robots ask and report."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path

from continuon import limits
from continuon.auth.principals import RobotPrincipal
from continuon.auth.problems import FORBIDDEN
from continuon.contracts.ota import (
    CheckRequest,
    CheckResponse,
    NoUpdateReason,
    OfferDirection,
    OfferedBundle,
    ReportRequest,
    ReportResponse,
    RobotMembership,
    RobotState,
    RobotUpdates,
)
from continuon.contracts.rollouts import RolloutStatus
from continuon.errors import ProblemError, UnavailableError
from continuon.identifiers import ROBOT_ID
from continuon.ota.errors import VersionError
from continuon.ota.versions import parse_version
from continuon.platform.identity import Caller, CurrentUser, Now, UnspentCaller
from continuon.platform.storage import url_signer
from continuon_ota import policy, rollout
from continuon_ota.api.operators import CurrentOperator, is_operator
from continuon_ota.cohorts import in_cohort, position
from continuon_ota.deployment_store import (
    BudgetSpent,
    DeploymentStore,
    Granted,
    Moved,
    OfferAsked,
)
from continuon_ota.deployments import has_offer
from continuon_ota.errors import BUNDLE_NOT_FOUND, UPDATES_NOT_FOUND
from continuon_ota.live import forget, live_bundles, way_back
from continuon_ota.records import BundleRecord, RobotRecord
from continuon_ota.service import WITHDRAWN
from continuon_ota.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["router"]

router = APIRouter(prefix="/api/ota", tags=["over the air: robots"])

_RobotId = Annotated[str, Path(pattern=ROBOT_ID.pattern)]
_JITTER_SHARE = 0.2
_MAX_JITTER_S = 300
_DECISIONS = 3
"""Decisions in one check: a rollout that changes under it is decided on again."""


def _robot_caller(caller: Caller) -> RobotPrincipal:
    if not isinstance(caller.principal, RobotPrincipal):
        raise ProblemError(FORBIDDEN, "This route is for robots: sign the request.")
    return caller.principal


@router.post("/check")
async def check(request: CheckRequest, caller: UnspentCaller, now: Now) -> CheckResponse:
    """Ask whether there is something to install now.

    A yes holds until `lease_expires_at`; asking again meanwhile answers the same. A no has a
    reason and says when to ask again; it changes nothing, so its request may be repeated.
    """
    principal = _robot_caller(caller)
    store = DeploymentStore()
    robot = await store.robot(principal.robot_id)
    if robot is None:
        raise ProblemError(UPDATES_NOT_FOUND)
    for _ in range(_DECISIONS):
        answer = await _choose(robot, request, now)
        if isinstance(answer, policy.Refusal):
            return _no(answer, robot.robot_id)
        taken = await store.take_offer(
            OfferAsked(
                choice=answer,
                robot=robot,
                request=request,
                budgets=policy.budget_of(answer.policy, robot, answer.bundle.rollout.group_sizes),
                still=_still_offered(answer, robot.robot_id),
                nonce=caller.nonce,
                now=now,
            )
        )
        if isinstance(taken, BudgetSpent):
            return _no(_spent(taken), robot.robot_id)
        if isinstance(taken, Granted):
            return await _yes(taken, answer.direction, now)
        assert isinstance(taken, Moved)  # noqa: S101 - the third of three
        forget(robot.model)
    raise UnavailableError("The rollout, which is being changed,")


async def _choose(
    robot: RobotRecord, request: CheckRequest, now: datetime
) -> policy.Choice | policy.Refusal:
    live = await live_bundles(robot.model)
    running = request.bundle_id
    if running is None and request.version is not None:
        running = f"{robot.model}-{request.version}"
    withdrawn, previous = await way_back(running, live)
    return policy.choose(robot, request, live, way_back=previous, withdrawn=withdrawn, now=now)


def _still_offered(choice: policy.Choice, robot_id: str) -> Callable[[BundleRecord], bool]:
    """Return what the bundle must be when the offer is written, whatever was remembered."""

    def forward(bundle: BundleRecord) -> bool:
        state = bundle.rollout
        return state.status in {RolloutStatus.CANARY, RolloutStatus.PRODUCTION} and in_cohort(
            bundle.bundle_id, robot_id, state.target_percentage
        )

    def back(bundle: BundleRecord) -> bool:
        return bundle.rollout.status not in WITHDRAWN

    return back if choice.direction is OfferDirection.BACK else forward


def _spent(spent: BudgetSpent) -> policy.Refusal:
    of = "all robots" if spent.group == "*" else f"the group {spent.group}"
    text = f"As many robots of {of} as may update at once are doing so."
    return policy.Refusal(NoUpdateReason.BUDGET_SPENT, text, limits.OTA_BUSY_RETRY_S)


def _no(refusal: policy.Refusal, robot_id: str) -> CheckResponse:
    # Robots that were switched on together, or wait for one window, should not ask together.
    spread = min(_MAX_JITTER_S, refusal.retry_after_s * _JITTER_SHARE)
    jitter = int(spread * position("jitter", robot_id))
    return CheckResponse(
        update=False,
        reason=refusal.reason,
        detail=refusal.detail,
        retry_after_s=refusal.retry_after_s + jitter,
    )


async def _yes(granted: Granted, direction: OfferDirection, now: datetime) -> CheckResponse:
    bundle, until = granted.bundle, granted.deployment.lease_expires_at or now
    lifetime = max(timedelta(seconds=limits.DOWNLOAD_URL_TTL_S), until - now)
    url = await asyncio.to_thread(
        url_signer(settings().continuon_rlds_bucket).sign,
        bundle.storage_ref,
        method="GET",
        lifetime=lifetime,
    )
    offered = OfferedBundle(
        bundle_id=bundle.bundle_id,
        version=bundle.version,
        target_path=bundle.target_path,
        url=url,
        size_bytes=bundle.archive.size_bytes,
        sha256=bundle.archive.sha256,
        direction=direction,
    )
    return CheckResponse(update=True, bundle=offered, lease_expires_at=until)


@router.post("/report")
async def report(request: ReportRequest, caller: UnspentCaller, now: Now) -> ReportResponse:
    """Say how an installation goes. A report that came before, or too late, changes nothing."""
    principal = _robot_caller(caller)
    reported = await DeploymentStore().report(
        principal.robot_id, request, nonce=caller.nonce, now=now
    )
    if reported is None:
        raise ProblemError(BUNDLE_NOT_FOUND)
    if reported.has_failed:
        await rollout.consider_quietly(request.bundle_id, now)
    deployment = reported.deployment
    return ReportResponse(
        applied=deployment is not None,
        last_sequence=reported.last_sequence,
        lease_expires_at=deployment.lease_expires_at if deployment else None,
    )


@router.get("/robots/{robot_id}")
async def robot_updates(robot_id: _RobotId, user: CurrentUser, now: Now) -> RobotUpdates:
    """Say which version a robot has, since when, and why not a newer one.

    For its owner and for operators. What only the robot knows (whether it is idle, docked,
    charged) is left open: a reason that is absent means that its next check may be answered yes.
    """
    store = DeploymentStore()
    robot = await store.robot(robot_id)
    if robot is None or not (robot.owner_id == user.uid or is_operator(user)):
        raise ProblemError(UPDATES_NOT_FOUND)
    answer = await _choose(robot, _imagined(robot), now)
    offered = robot.ota.offered_bundle_id
    deployment = await store.deployment(offered, robot_id) if offered else None
    holds = deployment if has_offer(deployment, now) else None
    newest = answer.bundle.bundle_id if isinstance(answer, policy.Choice) else None
    reason = answer.reason if isinstance(answer, policy.Refusal) else None
    if reason is NoUpdateReason.REQUIRES_VERSION and robot.ota.software_version is None:
        # Left open as well: a robot that is told no writes nothing, so it has not told us.
        reason, detail = None, "It depends on the robot's software, which it has not told yet."
    elif isinstance(answer, policy.Refusal):
        detail = answer.detail
    else:
        detail = f"Its next check is offered {newest}, if its state and the budget allow it."
    if holds is not None:
        detail = f"It holds an offer of {holds.bundle_id} until {holds.lease_expires_at:%H:%M} UTC."
    return RobotUpdates(
        robot_id=robot_id,
        robot_model=robot.model,
        version=robot.model_version,
        bundle_id=robot.ota.bundle_id,
        since=robot.ota.since,
        desired_version=robot.desired_version,
        groups=robot.groups,
        tags=robot.tags,
        phase=deployment.phase if deployment else None,
        lease_expires_at=holds.lease_expires_at if holds else None,
        failures=robot.ota.failures,
        resting_until=robot.ota.resting_until,
        newest=newest,
        reason=reason,
        detail=detail,
    )


@router.put("/robots/{robot_id}/membership")
async def set_membership(
    robot_id: _RobotId, request: RobotMembership, operator: CurrentOperator, now: Now
) -> RobotMembership:
    """Set the groups and tags of a robot; its next check is decided by them."""
    changed = await DeploymentStore().set_membership(robot_id, request, actor=operator.uid, now=now)
    if not changed:
        raise ProblemError(UPDATES_NOT_FOUND)
    return request


def _readable(version: str | None) -> str | None:
    """Return a version that a person may have written by hand, None when it is none."""
    if version is None:
        return None
    try:
        parse_version(version)
    except VersionError:
        return None
    return version


def _imagined(robot: RobotRecord) -> CheckRequest:
    """Return the check that the robot would make if nothing but the cloud stood in its way."""
    ready = RobotState(idle=True, docked=True, battery_percent=100, in_remote_session=False)
    return CheckRequest(
        version=_readable(robot.model_version),
        bundle_id=robot.ota.bundle_id,
        software_version=robot.ota.software_version or "0",
        state=ready,
        timezone=robot.ota.timezone,
    )
