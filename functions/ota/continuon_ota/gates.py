"""When a rollout stops, waits or goes on: a decision with its reasoning. Pure.

Failures are judged by the lower end of a one-sided Wilson score interval (E. B. Wilson, 1927): the
smallest failure rate that the results do not contradict. Two failures in three robots put it well
above 5 %, forty in a thousand below; a plain share would get one of the two wrong. Task success is
compared by the upper end of Newcombe's interval for a difference (R. G. Newcombe, 1998, method
10), which is made of two Wilson intervals.

A gate that is asked every minute would sooner or later be unlucky with a good bundle. Two things
keep that rare: the confidence is 99 %, and at least two failures are needed. `benchmarks/` measures
what remains.
"""

from __future__ import annotations

from datetime import timedelta
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

from continuon.contracts.rollouts import (
    CheckVerdict,
    Decision,
    GateCheck,
    GatePolicy,
    GateVerdict,
    RolloutCounts,
    RolloutPlan,
)

if TYPE_CHECKING:
    from datetime import datetime

    from continuon.contracts.ota import Rollout

__all__ = ["decide", "difference_upper", "wilson_lower", "wilson_upper"]

_PERCENT: Final = 100


def wilson_lower(hits: int, total: int, confidence: float) -> float:
    """Return the one-sided lower bound of a share: 0 when nothing was seen."""
    return _wilson(hits, total, confidence)[0]


def wilson_upper(hits: int, total: int, confidence: float) -> float:
    """Return the one-sided upper bound of a share: 1 when nothing was seen."""
    return _wilson(hits, total, confidence)[1]


def _wilson(hits: int, total: int, confidence: float) -> tuple[float, float]:
    if total <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(confidence)
    share = hits / total
    centre = share + z * z / (2 * total)
    spread = z * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    # Exact at the ends, where rounding would leave 1e-17.
    lower = (centre - spread) / scale if hits > 0 else 0.0
    upper = (centre + spread) / scale if hits < total else 1.0
    return lower, upper


def difference_upper(new: tuple[int, int], old: tuple[int, int], confidence: float) -> float:
    """Return the one-sided upper bound of ``new`` share minus ``old`` share.

    Args:
        new: Successes and trials.
        old: Successes and trials.
        confidence: One-sided.
    """
    if new[1] <= 0 or old[1] <= 0:
        return 1.0
    new_share, old_share = new[0] / new[1], old[0] / old[1]
    above = wilson_upper(*new, confidence) - new_share
    below = old_share - wilson_lower(*old, confidence)
    return new_share - old_share + sqrt(above * above + below * below)


def decide(rollout: Rollout, counts: RolloutCounts, *, now: datetime) -> Decision:
    """Judge a live rollout.

    Args:
        rollout: With plan, stage and since when it is there.
        counts: What robots have reported.
        now: The invocation's reading of the clock.
    """
    plan = rollout.plan or RolloutPlan()
    checks = [_failures(plan.gates, counts)]
    if plan.gates.task is not None:
        checks.append(_tasks(plan.gates, counts, has_previous=bool(rollout.previous_bundle_id)))
    bad = [check for check in checks if check.verdict is CheckVerdict.BAD]
    stage = rollout.stage or 0
    is_last = stage + 1 >= len(plan.stages)
    if not is_last:
        checks += [_sample(plan, stage, counts), _soak(plan, stage, rollout.since, now)]
    waiting = [check for check in checks if check.verdict is CheckVerdict.WAIT]
    if bad:
        verdict, reasons = GateVerdict.HALT, bad
    elif is_last:
        verdict, reasons = GateVerdict.STAY, [_no_stage()]
        checks += reasons
    elif waiting:
        verdict, reasons = GateVerdict.WAIT, waiting
    else:
        verdict, reasons = GateVerdict.PASS, checks
    sentence = " ".join(check.sentence for check in reasons)
    return Decision(
        verdict=verdict, sentence=sentence, checks=checks, counts=counts, decided_at=now
    )


def _failures(policy: GatePolicy, counts: RolloutCounts) -> GateCheck:
    failed = counts.failed + counts.silent
    total = counts.succeeded + failed
    lower = wilson_lower(failed, total, policy.confidence)
    numbers = {
        "failed": failed,
        "finished": total,
        "silent": counts.silent,
        "lower_bound": lower,
        "allowed": policy.max_failure_rate,
        "confidence": policy.confidence,
    }
    seen = f"{failed} of {total} installations failed"
    allowed = _share(policy.max_failure_rate)
    if failed >= policy.min_failures and lower > policy.max_failure_rate:
        verdict = CheckVerdict.BAD
        text = f"at {_share(policy.confidence)} confidence that is a failure rate above {allowed}"
    elif total and failed / total > policy.max_failure_rate:
        verdict = CheckVerdict.WAIT
        text = f"more than {allowed}, but too few to be sure"
    else:
        verdict = CheckVerdict.OK
        text = f"{allowed} are allowed"
    return GateCheck(name="failures", verdict=verdict, sentence=f"{seen}: {text}.", numbers=numbers)


def _tasks(policy: GatePolicy, counts: RolloutCounts, *, has_previous: bool) -> GateCheck:
    task = policy.task
    assert task is not None  # noqa: S101 - the only caller has looked
    new = counts.task_successes, counts.task_trials
    old = counts.baseline_successes, counts.baseline_trials
    upper = difference_upper(new, old, policy.confidence)
    numbers = {
        "new_successes": new[0],
        "new_trials": new[1],
        "new_robots": counts.task_robots,
        "old_successes": old[0],
        "old_trials": old[1],
        "upper_bound": upper,
        "margin": task.margin,
    }
    if not has_previous:
        text = "There is no earlier version to compare task success with."
        return GateCheck(name="tasks", verdict=CheckVerdict.OK, sentence=text, numbers=numbers)
    enough = new[1] >= task.min_trials and counts.task_robots >= task.min_robots
    if not enough or old[1] < task.min_trials:
        verdict = CheckVerdict.WAIT
        text = (
            f"Task success: {new[1]} trials of {counts.task_robots} robots against {old[1]} trials "
            f"of the earlier version; {task.min_trials} of {task.min_robots} are needed."
        )
        return GateCheck(name="tasks", verdict=verdict, sentence=text, numbers=numbers)
    shares = f"{_share(new[0] / new[1])} of tasks succeed, {_share(old[0] / old[1])} did before"
    if upper < -task.margin:
        verdict, text = CheckVerdict.BAD, f"worse by more than {_share(task.margin)}"
    elif new[0] / new[1] - old[0] / old[1] < -task.margin:
        verdict, text = CheckVerdict.WAIT, "worse, but too few trials to be sure"
    else:
        verdict, text = CheckVerdict.OK, f"at most {_share(task.margin)} worse"
    return GateCheck(name="tasks", verdict=verdict, sentence=f"{shares}: {text}.", numbers=numbers)


def _sample(plan: RolloutPlan, stage: int, counts: RolloutCounts) -> GateCheck:
    needed = plan.stages[stage].min_sample
    total = counts.succeeded + counts.failed + counts.silent
    expected = counts.fleet * plan.stages[stage].percentage / _PERCENT
    numbers = {"finished": total, "needed": needed, "expected_cohort": expected}
    if total >= needed:
        text = f"{total} results are in, {needed} are needed."
        return GateCheck(name="sample", verdict=CheckVerdict.OK, sentence=text, numbers=numbers)
    text = f"{total} of {needed} results are in."
    if expected < needed:
        text += (
            f" {plan.stages[stage].percentage:g} % of {counts.fleet} robots are about "
            f"{expected:.1f}: advance by hand, or plan a larger share or a smaller sample."
        )
    return GateCheck(name="sample", verdict=CheckVerdict.WAIT, sentence=text, numbers=numbers)


def _soak(plan: RolloutPlan, stage: int, since: datetime, now: datetime) -> GateCheck:
    soak = timedelta(seconds=plan.stages[stage].soak)
    passed = now - since
    numbers = {"passed_s": passed.total_seconds(), "soak_s": soak.total_seconds()}
    if passed >= soak:
        text = f"The stage has soaked for {_span(soak)}."
        return GateCheck(name="soak", verdict=CheckVerdict.OK, sentence=text, numbers=numbers)
    text = f"The stage soaks for {_span(soak)}, {_span(soak - passed)} are left."
    return GateCheck(name="soak", verdict=CheckVerdict.WAIT, sentence=text, numbers=numbers)


def _no_stage() -> GateCheck:
    text = "This is the last stage; the gate keeps watching."
    return GateCheck(name="stages", verdict=CheckVerdict.OK, sentence=text)


def _share(value: float) -> str:
    return f"{value * _PERCENT:.4g} %"


def _span(value: timedelta) -> str:
    return str(timedelta(seconds=round(value.total_seconds())))
