"""What a robot is offered now, or why nothing. Pure.

The order of the questions is the order in which a refusal is named, from what only an operator can
change to what the robot's own state decides:

what runs was withdrawn? -> a live rollout -> its target -> a newer version -> its requirement
-> the cohort -> not paused -> rest after failures -> window -> the robot's state -> the budget.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Final

from continuon import limits
from continuon.contracts.ota import NoUpdateReason, OfferDirection
from continuon.contracts.rollouts import EVERYONE, RobotPolicy, RolloutPlan, RolloutStatus
from continuon.ota.versions import is_lower, parse_version, satisfies
from continuon_ota.cohorts import in_cohort
from continuon_ota.windows import is_known_zone, next_opening

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from continuon.contracts.ota import CheckRequest, RobotState
    from continuon.contracts.rollouts import RolloutTarget
    from continuon_ota.records import BundleRecord, RobotRecord

__all__ = [
    "BudgetPlaces",
    "Choice",
    "Refusal",
    "budget_of",
    "choose",
    "places_to_probe",
    "selects",
    "state_refusal",
]

_PERCENT: Final = 100


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing now: why, in a sentence, and when to ask again."""

    reason: NoUpdateReason
    detail: str
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The bundle to offer."""

    bundle: BundleRecord
    direction: OfferDirection
    policy: RobotPolicy


@dataclass(frozen=True, slots=True)
class BudgetPlaces:
    """The places of one disruption budget: robots of ``group`` that may update at once."""

    robot_model: str
    group: str
    places: int


def selects(target: RolloutTarget, robot: RobotRecord) -> bool:
    """Say whether a rollout is for this robot, by its groups and tags as they are now."""
    if target.groups and not set(target.groups) & set(robot.groups):
        return False
    tags = set(robot.tags)
    return set(target.tags) <= tags and not set(target.exclude_tags) & tags


def choose(
    robot: RobotRecord,
    request: CheckRequest,
    live: Sequence[BundleRecord],
    *,
    way_back: BundleRecord | None = None,
    withdrawn: bool = False,
    now: datetime,
) -> Choice | Refusal:
    """Decide what the robot is offered.

    Args:
        robot: Its document.
        request: Its check.
        live: The rollouts of its model that are canary, in production or paused.
        way_back: Where robots with the withdrawn bundle go; None when there is nothing.
        withdrawn: The bundle that runs was halted or rolled back.
        now: The invocation's reading of the clock.
    """
    forward = _forward(robot, request, live, now)
    if not withdrawn:
        return forward
    # A newer version that this robot may have anyway is the better way out.
    if isinstance(forward, Choice):
        return forward
    if way_back is None:
        text = "What runs was withdrawn, and there is no earlier bundle; use the other slot."
        return Refusal(NoUpdateReason.WITHDRAWN_NO_PREVIOUS, text, limits.OTA_CHECK_INTERVAL_S)
    policy = way_back.rollout.plan.policy if way_back.rollout.plan else RobotPolicy()
    # No window and no cohort: what runs is known to be bad. A rest is one that ways back earned,
    # because becoming healthy with what runs had ended any other.
    return (
        _rest(robot, now)
        or state_refusal(policy, request.state, way_back.archive.size_bytes)
        or Choice(way_back, OfferDirection.BACK, policy)
    )


def _forward(
    robot: RobotRecord, request: CheckRequest, live: Sequence[BundleRecord], now: datetime
) -> Choice | Refusal:
    best: Refusal | None = None
    for bundle in sorted(live, key=_rank, reverse=True):
        answer = _one(robot, request, bundle, now)
        if isinstance(answer, Choice):
            return answer
        if best is None or _nearness(answer) > _nearness(best):
            best = answer
    text = "No rollout of this robot model is under way."
    return best or Refusal(NoUpdateReason.NO_ROLLOUT, text, limits.OTA_CHECK_INTERVAL_S)


def _rank(bundle: BundleRecord) -> tuple[int, object]:
    plan = bundle.rollout.plan or RolloutPlan()
    return plan.priority, parse_version(bundle.version)


_ORDER: Final = tuple(NoUpdateReason)
_FINAL: Final = (NoUpdateReason.UP_TO_DATE, NoUpdateReason.NO_ROLLOUT)


def _nearness(refusal: Refusal) -> int:
    """Of several rollouts, the refusal that came last in the questions says most."""
    return -1 if refusal.reason in _FINAL else _ORDER.index(refusal.reason)


def _one(
    robot: RobotRecord, request: CheckRequest, bundle: BundleRecord, now: datetime
) -> Choice | Refusal:
    plan = bundle.rollout.plan or RolloutPlan()
    refusal = _membership(robot, request, bundle, plan) or _timing(robot, request, plan, now)
    refusal = refusal or state_refusal(plan.policy, request.state, bundle.archive.size_bytes)
    return refusal or Choice(bundle, OfferDirection.FORWARD, plan.policy)


def _membership(
    robot: RobotRecord, request: CheckRequest, bundle: BundleRecord, plan: RolloutPlan
) -> Refusal | None:
    wait = limits.OTA_CHECK_INTERVAL_S
    name = bundle.bundle_id
    if not selects(plan.target, robot):
        text = f"{name} is for other groups or tags."
        return Refusal(NoUpdateReason.NOT_TARGETED, text, wait)
    if request.bundle_id == name or not _is_newer(bundle.version, request.version):
        text = f"{request.version or name} is not older than {bundle.version}."
        return Refusal(NoUpdateReason.UP_TO_DATE, text, wait)
    requirement = bundle.manifest.requires_version
    if not satisfies(request.software_version, requirement):
        text = f"{name} requires {requirement}, the robot's software is {request.software_version}."
        return Refusal(NoUpdateReason.REQUIRES_VERSION, text, wait)
    if bundle.rollout.status is RolloutStatus.PAUSED:
        return Refusal(NoUpdateReason.ROLLOUT_PAUSED, f"{name} is paused.", wait)
    if not in_cohort(name, robot.robot_id, bundle.rollout.target_percentage):
        share = f"{bundle.rollout.target_percentage:g} %"
        text = f"{name} is offered to {share} of the robots so far, and not to this one."
        return Refusal(NoUpdateReason.NOT_IN_COHORT, text, wait)
    return None


def _is_newer(version: str, running: str | None) -> bool:
    return running is None or is_lower(running, version)


def _timing(
    robot: RobotRecord, request: CheckRequest, plan: RolloutPlan, now: datetime
) -> Refusal | None:
    if (rest := _rest(robot, now)) is not None:
        return rest
    opening = next_opening(plan.policy.windows, now, request.timezone)
    if opening is not None:
        zone = request.timezone or "UTC"
        text = f"The next maintenance window opens at {opening:%Y-%m-%d %H:%M} UTC ({zone})."
        if not is_known_zone(zone):
            text += " This time zone is unknown; UTC was used."
        return Refusal(NoUpdateReason.WINDOW_CLOSED, text, _seconds_until(opening, now))
    return None


def _rest(robot: RobotRecord, now: datetime) -> Refusal | None:
    resting = robot.ota.resting_until
    if resting is None or resting <= now:
        return None
    text = f"It rests until {resting:%Y-%m-%d %H:%M} UTC after {limits.OTA_MAX_FAILURES} "
    text += "failed installations."
    return Refusal(NoUpdateReason.RESTING, text, _seconds_until(resting, now))


def _seconds_until(moment: datetime, now: datetime) -> int:
    seconds = ceil((moment - now).total_seconds())
    return min(max(1, seconds), limits.OTA_MAX_RETRY_S)


def state_refusal(policy: RobotPolicy, state: RobotState, size_bytes: int) -> Refusal | None:
    """Return why the robot cannot be disturbed now, or None.

    What the robot does not say is no yes, but for free space: a full disk stops the download.
    """
    needed = ceil(size_bytes * limits.OTA_SPACE_FACTOR)
    if state.in_remote_session is not False:
        found = NoUpdateReason.REMOTE_SESSION, "Somebody is connected to it, or it does not say."
    elif policy.require_idle and state.idle is not True:
        found = NoUpdateReason.ROBOT_BUSY, "It is not idle, or does not say."
    elif policy.require_docked and state.docked is not True:
        found = NoUpdateReason.NOT_DOCKED, "It is not docked, or does not say."
    elif policy.min_battery_percent > 0 and (
        state.battery_percent is None or state.battery_percent < policy.min_battery_percent
    ):
        text = f"Its battery is below {policy.min_battery_percent:g} %, or it does not say."
        found = NoUpdateReason.BATTERY_LOW, text
    elif state.free_bytes is not None and state.free_bytes < needed:
        found = NoUpdateReason.NO_SPACE, f"It has {state.free_bytes} bytes free of {needed}."
    else:
        return None
    return Refusal(*found, limits.OTA_BUSY_RETRY_S)


def budget_of(
    policy: RobotPolicy, robot: RobotRecord, sizes: Mapping[str, int]
) -> list[BudgetPlaces]:
    """Return the disruption budgets that an installation on this robot has to fit into.

    Args:
        policy: Of the plan.
        robot: Its model and groups count.
        sizes: Robots of each group that the policy names; of a group that was not counted yet,
            none, and a share of it is one robot.
    """
    groups = [name for name in policy.budget if name == EVERYONE or name in robot.groups]
    return [
        BudgetPlaces(robot.model, name, _places(policy.budget[name], sizes.get(name, 0)))
        for name in sorted(groups)
    ]


def _places(budget: str, size: int) -> int:
    if budget.endswith("%"):
        return max(1, floor(size * int(budget[:-1]) / _PERCENT))
    return int(budget)


def places_to_probe(places: int, robot_id: str, attempt: int) -> list[int]:
    """Return the places of a budget that one check looks at, in order.

    All of a small budget; of a large one a few, spread over it. Where a robot begins is a hash, so
    that robots which ask at the same moment try different places.
    """
    digest = hashlib.sha256(f"{robot_id}:{attempt}".encode()).digest()
    first = int.from_bytes(digest[:8], "big")
    count = min(places, limits.OTA_BUDGET_PROBES)
    return [(first + step * (places // count)) % places for step in range(count)]
