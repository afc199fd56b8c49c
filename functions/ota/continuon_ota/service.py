"""The states of a rollout, and what may lead from one to the next. Pure.

    staged -- start --> canary -- advance, stage by stage --> production
    canary, production -- pause --> paused -- resume --> where it was
    staged, canary, production, paused -- halt --> halted -- rollback --> rolled_back
    canary, production, paused -- rollback --> rolled_back
    canary, production, paused -- a later bundle is in production --> superseded
    superseded -- that later bundle is withdrawn --> production, if it was there

A transition that is not in this list is refused with the present state, and changes nothing.
Halted and rolled back are final but for `halted -> rolled_back`: a version that was taken back
comes again under a new version, or two robots would disagree about what it means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from continuon.contracts.rollouts import (
    GateVerdict,
    RolloutAction,
    RolloutPlan,
    RolloutStatus,
    Stage,
)
from continuon.errors import FieldProblem, ProblemError
from continuon.ota.versions import is_lower
from continuon_ota import gates
from continuon_ota.errors import (
    ROLLOUT_CONFLICT,
    ROLLOUT_NOT_NEWER,
    ROLLOUT_PLAN_UNEXPECTED,
    ROLLOUT_REFUSED,
    ROLLOUT_STATUS_UNEXPECTED,
)
from continuon_ota.records import BundleRecord, RolloutRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from continuon.contracts.ota import RolloutRequest
    from continuon.contracts.rollouts import Decision, RolloutCounts, RolloutTarget

__all__ = [
    "LIVE",
    "WITHDRAWN",
    "act",
    "check_request",
    "check_start",
    "covers",
    "default_plan",
    "is_superseded_by",
    "previous_of",
    "reinstate",
    "staged",
    "step",
    "supersede",
]

LIVE: Final = frozenset({RolloutStatus.CANARY, RolloutStatus.PRODUCTION, RolloutStatus.PAUSED})
"""States in which robots keep the bundle, and failures can still halt it."""

WITHDRAWN: Final = frozenset({RolloutStatus.HALTED, RolloutStatus.ROLLED_BACK})
"""States in which robots that took the bundle are sent back."""

_FROM: Final = {
    RolloutAction.START: frozenset({RolloutStatus.STAGED}),
    RolloutAction.ADVANCE: frozenset({RolloutStatus.CANARY}),
    RolloutAction.PAUSE: frozenset({RolloutStatus.CANARY, RolloutStatus.PRODUCTION}),
    RolloutAction.RESUME: frozenset({RolloutStatus.PAUSED}),
    RolloutAction.HALT: LIVE | {RolloutStatus.STAGED},
    RolloutAction.ROLLBACK: LIVE | {RolloutStatus.HALTED},
}
_PROVEN: Final = frozenset({RolloutStatus.PRODUCTION, RolloutStatus.SUPERSEDED})
_EVERYONE: Final = 100.0
_DEFAULT_PLANS: Final = (
    (2_000, (1.0, 10.0, 50.0, 100.0), 10),
    (200, (10.0, 50.0, 100.0), 10),
    (20, (25.0, 100.0), 3),
    (0, (50.0, 100.0), 1),
)
"""From how many robots on, the stages in percent, and the results that each stage needs. A first
stage that has too few robots for its sample would wait for ever."""

_MAX_SENTENCE: Final = 500


def default_plan(fleet: int) -> RolloutPlan:
    """Return the plan of a rollout that is started without one, for a fleet of this size."""
    _, percentages, sample = next(row for row in _DEFAULT_PLANS if fleet >= row[0])
    stages = [Stage(percentage=share, min_sample=sample) for share in percentages]
    return RolloutPlan(stages=stages)


def staged(now: datetime) -> RolloutRecord:
    """Return the rollout of a bundle that was just announced."""
    return RolloutRecord(status=RolloutStatus.STAGED, since=now)


def check_request(rollout: RolloutRecord, request: RolloutRequest) -> None:
    """Refuse a request that is about another state, or that cannot carry what it carries.

    Raises:
        ProblemError: ``rollout.status_unexpected`` or ``rollout.plan_unexpected``.
    """
    if request.plan is not None and request.action is not RolloutAction.START:
        field = FieldProblem(ROLLOUT_PLAN_UNEXPECTED.code, "plan", "only `start` takes a plan")
        raise ProblemError(ROLLOUT_PLAN_UNEXPECTED, errors=[field])
    if request.expected_status not in (None, rollout.status):
        raise ProblemError(
            ROLLOUT_STATUS_UNEXPECTED,
            f"The rollout is {rollout.status.value}.",
            errors=[
                FieldProblem(
                    ROLLOUT_STATUS_UNEXPECTED.code, "expected_status", f"is {rollout.status.value}"
                )
            ],
        )


def act(
    rollout: RolloutRecord,
    action: RolloutAction,
    *,
    now: datetime,
    reason: str = "",
    plan: RolloutPlan | None = None,
    previous_bundle_id: str | None = None,
) -> RolloutRecord:
    """Return the rollout after ``action``.

    Args:
        rollout: As it is now.
        action: What is asked for.
        now: The invocation's reading of the clock.
        reason: Why, for people; kept in the document.
        plan: With `start`; the default plan when None.
        previous_bundle_id: With `start`: what robots go back to.

    Raises:
        ProblemError: ``rollout.refused``; it names the present state.
    """
    if rollout.status not in _FROM[action]:
        raise _refused(rollout, action)
    changes: dict[str, Any] = {"reason": reason}
    if action is RolloutAction.START:
        changes |= {"plan": plan or RolloutPlan(), "previous_bundle_id": previous_bundle_id}
        changes |= _stage(plan or RolloutPlan(), 0)
    elif action is RolloutAction.ADVANCE:
        changes |= _next_stage(rollout)
    elif action is RolloutAction.PAUSE:
        changes |= {"status": RolloutStatus.PAUSED, "paused_from": rollout.status}
    elif action is RolloutAction.RESUME:
        changes |= {"status": rollout.paused_from or RolloutStatus.CANARY, "paused_from": None}
    elif action is RolloutAction.HALT:
        changes |= {"status": RolloutStatus.HALTED, "target_percentage": 0.0}
    else:
        changes |= {"status": RolloutStatus.ROLLED_BACK, "target_percentage": 0.0}
    return _changed(rollout, now, changes)


def supersede(rollout: RolloutRecord, by: str, *, now: datetime) -> RolloutRecord:
    """Return the rollout after bundle ``by`` took its place.

    Raises:
        ProblemError: ``rollout.refused``: it is over already.
    """
    if rollout.status not in LIVE:
        raise _refused(rollout, "supersede")
    # One that was on its way only is not proven: it does not come back by itself.
    returns = by if rollout.status is RolloutStatus.PRODUCTION else None
    changes = {
        "status": RolloutStatus.SUPERSEDED,
        "superseded_by": returns,
        "reason": f"{by} is in production.",
    }
    return _changed(rollout, now, changes)


def reinstate(rollout: RolloutRecord, *, now: datetime) -> RolloutRecord:
    """Return the rollout after the bundle that had superseded it was withdrawn.

    Raises:
        ProblemError: ``rollout.refused``: it was not superseded, or was not in production before.
    """
    if rollout.status is not RolloutStatus.SUPERSEDED or rollout.superseded_by is None:
        raise _refused(rollout, "be reinstated")
    changes = {
        "status": RolloutStatus.PRODUCTION,
        "superseded_by": None,
        "reason": f"{rollout.superseded_by} was withdrawn.",
    }
    return _changed(rollout, now, changes)


def step(
    rollout: RolloutRecord, counts: RolloutCounts, *, now: datetime
) -> tuple[RolloutRecord, Decision]:
    """Return the rollout after its gate has judged ``counts``, and the judgement.

    A paused rollout is judged too, and can only be halted.
    """
    decision = gates.decide(rollout, counts, now=now)
    counted: dict[str, Any] = {
        "deployed_count": counts.succeeded,
        "error_count": counts.failed + counts.silent,
    }
    after = rollout.model_copy(update=counted)
    reason = decision.sentence[:_MAX_SENTENCE]
    if decision.verdict is GateVerdict.HALT:
        after = act(after, RolloutAction.HALT, now=now, reason=reason)
    elif decision.verdict is GateVerdict.PASS and rollout.status is RolloutStatus.CANARY:
        after = act(after, RolloutAction.ADVANCE, now=now, reason=reason)
    return after, decision


def covers(wider: RolloutTarget, narrower: RolloutTarget) -> bool:
    """Say whether every robot that ``narrower`` selects is selected by ``wider`` for certain."""
    everyone = not (wider.groups or wider.tags or wider.exclude_tags)
    return everyone or wider == narrower


def _may_overlap(one: RolloutTarget, other: RolloutTarget) -> bool:
    if not one.groups or not other.groups:
        return True
    return bool(set(one.groups) & set(other.groups))


def check_start(bundle: BundleRecord, plan: RolloutPlan, others: Sequence[BundleRecord]) -> None:
    """Refuse a start, or a resumption, that would contradict another rollout of the model.

    Args:
        bundle: The one to start.
        plan: Its plan.
        others: Every live or superseded bundle of the same robot model.

    Raises:
        ProblemError: ``rollout.conflict`` or ``rollout.not_newer``.
    """
    for other in _overlapping(bundle, plan, others):
        if other.rollout.status is RolloutStatus.CANARY:
            raise ProblemError(ROLLOUT_CONFLICT, f"{other.bundle_id} is canary.")
        is_production = other.rollout.status is RolloutStatus.PRODUCTION
        if is_production and not is_lower(other.version, bundle.version):
            raise ProblemError(ROLLOUT_NOT_NEWER, f"{other.bundle_id} is in production.")


def previous_of(
    bundle: BundleRecord, plan: RolloutPlan, others: Sequence[BundleRecord]
) -> str | None:
    """Return the bundle that robots go back to.

    It is the highest lower version that these robots have had in production and that was not
    withdrawn.
    """
    best: BundleRecord | None = None
    for other in _overlapping(bundle, plan, others):
        if other.rollout.status not in _PROVEN or not is_lower(other.version, bundle.version):
            continue
        if best is None or is_lower(best.version, other.version):
            best = other
    return best.bundle_id if best else None


def _overlapping(
    bundle: BundleRecord, plan: RolloutPlan, others: Sequence[BundleRecord]
) -> list[BundleRecord]:
    return [
        other
        for other in others
        if other.bundle_id != bundle.bundle_id
        and other.rollout.plan is not None
        and _may_overlap(plan.target, other.rollout.plan.target)
    ]


def is_superseded_by(old: BundleRecord, new: BundleRecord) -> bool:
    """Say whether ``new``, which is in production, leaves nothing to do for ``old``."""
    if new.rollout.status is not RolloutStatus.PRODUCTION or old.rollout.status not in LIVE:
        return False
    if old.rollout.plan is None or new.rollout.plan is None:
        return False
    return (
        old.robot_model == new.robot_model
        and is_lower(old.version, new.version)
        and old.rollout.plan.priority <= new.rollout.plan.priority
        and covers(new.rollout.plan.target, old.rollout.plan.target)
    )


def _stage(plan: RolloutPlan, index: int) -> dict[str, Any]:
    percentage = plan.stages[index].percentage
    everyone = percentage >= _EVERYONE
    status = RolloutStatus.PRODUCTION if everyone else RolloutStatus.CANARY
    return {"status": status, "stage": index, "target_percentage": percentage}


def _next_stage(rollout: RolloutRecord) -> dict[str, Any]:
    index = 0 if rollout.stage is None else rollout.stage + 1
    if rollout.plan is None or index >= len(rollout.plan.stages):
        raise _refused(rollout, RolloutAction.ADVANCE, " at the last stage of its plan")
    return _stage(rollout.plan, index)


def _changed(rollout: RolloutRecord, now: datetime, changes: dict[str, Any]) -> RolloutRecord:
    return rollout.model_copy(
        update={"since": now, "revision": rollout.revision + 1, "decision": None, **changes}
    )


def _refused(rollout: RolloutRecord, action: str, where: str = "") -> ProblemError:
    state = f"{rollout.status.value}{where}"
    return ProblemError(
        ROLLOUT_REFUSED,
        f"The rollout is {state}; it cannot {action}.",
        errors=[FieldProblem(ROLLOUT_REFUSED.code, "action", f"not while {state}")],
    )
