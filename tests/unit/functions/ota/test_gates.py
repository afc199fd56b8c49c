"""When a rollout stops, waits and goes on, and what it says about it."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from continuon.contracts.rollouts import (
    CheckVerdict,
    Decision,
    GateCheck,
    GateVerdict,
    RolloutCounts,
    RolloutStatus,
)
from continuon_ota import gates
from ota_samples import NOW, plan, rollout

if TYPE_CHECKING:
    from continuon_ota.records import RolloutRecord

OLD = {"previous_bundle_id": "companion-v1-1.0.0"}


def canary(**plan_fields: Any) -> RolloutRecord:
    return rollout(RolloutStatus.CANARY, the_plan=plan(**plan_fields))


def decide(state: RolloutRecord | None = None, **counts: int) -> Decision:
    return gates.decide(state or canary(), RolloutCounts(fleet=10_000, **counts), now=NOW)


def reason(decision: Decision, name: str) -> GateCheck:
    return next(check for check in decision.checks if check.name == name)


# --- The bounds ---------------------------------------------------------------------------------


def test_the_wilson_bounds_are_those_of_the_textbook() -> None:
    # Wilson (1927) as tabulated by Newcombe (1998), two-sided 95 %: 81 of 263, 15 of 148, 0 of 20.
    for hits, total, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)]:
        assert gates.wilson_lower(hits, total, 0.975) == pytest.approx(low, abs=5e-5)
        assert gates.wilson_upper(hits, total, 0.975) == pytest.approx(high, abs=5e-5)
    assert gates.wilson_lower(0, 20, 0.975) == 0
    assert gates.wilson_upper(0, 20, 0.975) == pytest.approx(0.1611, abs=5e-5)


def test_the_bound_of_a_difference_is_that_of_the_textbook() -> None:
    # Newcombe (1998), method 10, case (a): 56/70 - 48/80 is between 0.0524 and 0.3339.
    assert gates.difference_upper((56, 70), (48, 80), 0.975) == pytest.approx(0.3339, abs=5e-5)


def test_nothing_seen_proves_nothing() -> None:
    assert (gates.wilson_lower(0, 0, 0.99), gates.wilson_upper(0, 0, 0.99)) == (0, 1)
    assert gates.difference_upper((0, 0), (5, 5), 0.99) == 1
    assert gates.difference_upper((0, 5), (0, 0), 0.99) == 1


# --- Failures -----------------------------------------------------------------------------------


def test_two_failures_in_three_robots_halt() -> None:
    decision = decide(succeeded=1, failed=2)
    assert decision.verdict is GateVerdict.HALT
    found = reason(decision, "failures")
    assert found.verdict is CheckVerdict.BAD
    assert found.numbers["lower_bound"] > found.numbers["allowed"]
    assert "2 of 3 installations failed" in decision.sentence


def test_forty_failures_in_a_thousand_robots_do_not_halt_where_five_percent_are_allowed() -> None:
    assert decide(succeeded=960, failed=40).verdict is GateVerdict.PASS


def test_forty_failures_in_a_thousand_robots_halt_where_two_percent_are_allowed() -> None:
    strict = canary(gates={"max_failure_rate": 0.02})
    assert decide(strict, succeeded=960, failed=40).verdict is GateVerdict.HALT


def test_one_failure_in_one_robot_is_waited_on() -> None:
    decision = decide(succeeded=0, failed=1)
    assert decision.verdict is GateVerdict.WAIT
    assert reason(decision, "failures").verdict is CheckVerdict.WAIT


def test_a_share_that_is_too_large_but_not_proven_does_not_pass() -> None:
    decision = decide(succeeded=27, failed=3)
    assert decision.verdict is GateVerdict.WAIT
    assert "too few to be sure" in decision.sentence


def test_robots_that_fell_silent_after_installing_count_as_failed() -> None:
    decision = decide(succeeded=1, silent=2)
    assert decision.verdict is GateVerdict.HALT
    assert reason(decision, "failures").numbers["silent"] == 2


def test_a_gate_in_production_keeps_watching() -> None:
    state = rollout(RolloutStatus.PRODUCTION)
    assert decide(state, succeeded=500).verdict is GateVerdict.STAY
    assert decide(state, succeeded=500, failed=100).verdict is GateVerdict.HALT


def test_looking_after_every_result_rarely_stops_a_good_bundle() -> None:
    # One per cent fails, five are allowed; 1,000 looks each.
    generator = random.Random(7)  # noqa: S311 - a simulation
    halted = 0
    for _ in range(100):
        failed = 0
        for seen in range(1, 1001):
            failed += generator.random() < 0.01
            halted += failed >= 2 and gates.wilson_lower(failed, seen, 0.99) > 0.05
            if halted and failed >= 2 and gates.wilson_lower(failed, seen, 0.99) > 0.05:
                break
    assert halted <= 4


def test_a_bad_bundle_is_stopped_after_a_handful_of_robots() -> None:
    generator = random.Random(7)  # noqa: S311 - a simulation
    needed = []
    for _ in range(200):
        failed = seen = 0
        while not (failed >= 2 and gates.wilson_lower(failed, seen, 0.99) > 0.05):
            seen += 1
            failed += generator.random() < 0.3
        needed.append(seen)
    assert sorted(needed)[100] <= 8


# --- Data that lack -----------------------------------------------------------------------------


def test_a_gate_without_results_waits_and_says_how_many_it_needs() -> None:
    decision = decide()
    assert decision.verdict is GateVerdict.WAIT
    assert reason(decision, "sample").sentence == "0 of 10 results are in."


def test_a_gate_waits_for_the_soak_however_many_results_there_are() -> None:
    state = canary().model_copy(update={"since": NOW - timedelta(minutes=59)})
    decision = decide(state, succeeded=100)
    assert decision.verdict is GateVerdict.WAIT
    assert decision.sentence == "The stage soaks for 1:00:00, 0:01:00 are left."


def test_a_cohort_that_can_never_give_the_sample_is_named() -> None:
    decision = gates.decide(canary(), RolloutCounts(fleet=30), now=NOW)
    assert "1 % of 30 robots are about 0.3" in reason(decision, "sample").sentence


def test_enough_good_results_and_time_pass() -> None:
    decision = decide(succeeded=10)
    assert decision.verdict is GateVerdict.PASS
    assert {check.verdict for check in decision.checks} == {CheckVerdict.OK}


def test_a_decision_carries_the_numbers_it_was_made_from() -> None:
    decision = decide(succeeded=10, failed=1)
    assert decision.counts == RolloutCounts(fleet=10_000, succeeded=10, failed=1)
    assert decision.decided_at == NOW
    assert reason(decision, "failures").numbers["finished"] == 11


# --- Task success -------------------------------------------------------------------------------


def with_tasks(previous: dict[str, str] | None = None) -> RolloutRecord:
    state = canary(gates={"task": {"margin": 0.05, "min_trials": 100, "min_robots": 3}})
    return state.model_copy(update=OLD if previous is None else previous)


def tasks(state: RolloutRecord, new: tuple[int, int], old: tuple[int, int], n: int = 5) -> Decision:
    return decide(
        state,
        succeeded=100,
        task_successes=new[0],
        task_trials=new[1],
        task_robots=n,
        baseline_successes=old[0],
        baseline_trials=old[1],
    )


def test_task_success_that_is_clearly_worse_halts() -> None:
    decision = tasks(with_tasks(), (700, 1000), (900, 1000))
    assert decision.verdict is GateVerdict.HALT
    assert "70 % of tasks succeed, 90 % did before" in decision.sentence


def test_task_success_that_is_worse_within_the_margin_passes() -> None:
    assert tasks(with_tasks(), (870, 1000), (900, 1000)).verdict is GateVerdict.PASS


def test_task_success_that_looks_worse_in_few_trials_waits() -> None:
    decision = tasks(with_tasks(), (84, 100), (92, 100))
    assert decision.verdict is GateVerdict.WAIT
    assert "too few trials to be sure" in decision.sentence


def test_task_success_that_is_better_passes() -> None:
    assert tasks(with_tasks(), (950, 1000), (900, 1000)).verdict is GateVerdict.PASS


def test_too_few_trials_wait_however_bad_they_look() -> None:
    assert tasks(with_tasks(), (0, 99), (900, 1000)).verdict is GateVerdict.WAIT


def test_many_trials_of_one_robot_wait() -> None:
    # A robot's trials depend on each other: one broken gripper is not a bad model.
    assert tasks(with_tasks(), (0, 5000), (900, 1000), n=1).verdict is GateVerdict.WAIT


def test_an_earlier_version_that_never_reported_tasks_is_waited_for() -> None:
    assert tasks(with_tasks(), (900, 1000), (0, 0)).verdict is GateVerdict.WAIT


def test_a_first_version_has_nothing_to_be_compared_with() -> None:
    assert tasks(with_tasks({}), (900, 1000), (0, 0)).verdict is GateVerdict.PASS


def test_bad_task_success_halts_in_production_too() -> None:
    state = rollout(
        RolloutStatus.PRODUCTION, the_plan=plan(50, 100, gates={"task": {"margin": 0.05}})
    ).model_copy(update=OLD)
    assert tasks(state, (700, 1000), (900, 1000)).verdict is GateVerdict.HALT
