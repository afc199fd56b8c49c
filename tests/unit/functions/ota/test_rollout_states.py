"""Every transition of a rollout: those that exist, and the refusal of all others."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from continuon.contracts.ota import RolloutRequest
from continuon.contracts.rollouts import (
    GateVerdict,
    RolloutAction,
    RolloutCounts,
    RolloutPlan,
    RolloutStatus,
)
from continuon.errors import ProblemError
from continuon_ota import service
from ota_samples import NOW, bundle, live, plan, rollout

if TYPE_CHECKING:
    from continuon_ota.records import BundleRecord

S, A = RolloutStatus, RolloutAction

ALLOWED = {
    (S.STAGED, A.START): S.CANARY,
    (S.CANARY, A.ADVANCE): S.CANARY,
    (S.CANARY, A.PAUSE): S.PAUSED,
    (S.PRODUCTION, A.PAUSE): S.PAUSED,
    (S.PAUSED, A.RESUME): S.CANARY,
    (S.STAGED, A.HALT): S.HALTED,
    (S.CANARY, A.HALT): S.HALTED,
    (S.PRODUCTION, A.HALT): S.HALTED,
    (S.PAUSED, A.HALT): S.HALTED,
    (S.CANARY, A.ROLLBACK): S.ROLLED_BACK,
    (S.PRODUCTION, A.ROLLBACK): S.ROLLED_BACK,
    (S.PAUSED, A.ROLLBACK): S.ROLLED_BACK,
    (S.HALTED, A.ROLLBACK): S.ROLLED_BACK,
}
REFUSED = sorted(set(itertools.product(S, A)) - ALLOWED.keys())
LATER = NOW + timedelta(minutes=1)


@pytest.mark.parametrize(("status", "action"), sorted(ALLOWED))
def test_an_allowed_transition_leads_where_it_says(
    status: RolloutStatus, action: RolloutAction
) -> None:
    before = rollout(status)
    after = service.act(before, action, now=LATER, reason="because")
    assert after.status is ALLOWED[status, action]
    assert (after.since, after.reason) == (LATER, "because")
    assert after.revision == before.revision + 1


@pytest.mark.parametrize(("status", "action"), REFUSED)
def test_every_other_transition_is_refused_with_the_present_state(
    status: RolloutStatus, action: RolloutAction
) -> None:
    before = rollout(status)
    untouched = before.model_copy(deep=True)
    with pytest.raises(ProblemError) as refusal:
        service.act(before, action, now=LATER)
    problem = refusal.value
    assert (problem.type.code, problem.type.status) == ("rollout.refused", 409)
    assert status.value in problem.detail
    assert problem.errors[0].path == "action"
    assert before == untouched


def test_a_rollout_goes_through_its_stages_to_production() -> None:
    state = service.act(rollout(), A.START, now=NOW, plan=plan(1, 10, 100))
    seen = [(state.status, state.stage, state.target_percentage)]
    while state.status is S.CANARY:
        state = service.act(state, A.ADVANCE, now=NOW)
        seen.append((state.status, state.stage, state.target_percentage))
    assert seen == [(S.CANARY, 0, 1.0), (S.CANARY, 1, 10.0), (S.PRODUCTION, 2, 100.0)]


def test_a_plan_of_one_stage_for_all_is_production_at_once() -> None:
    assert service.act(rollout(), A.START, now=NOW, plan=plan(100)).status is S.PRODUCTION


def test_a_plan_that_ends_below_a_hundred_stays_canary_at_its_last_stage() -> None:
    state = service.act(rollout(), A.START, now=NOW, plan=plan(5))
    with pytest.raises(ProblemError, match="canary at the last stage"):
        service.act(state, A.ADVANCE, now=NOW)


def test_a_start_without_a_plan_takes_the_default() -> None:
    state = service.act(rollout(), A.START, now=NOW)
    assert state.plan == RolloutPlan()
    assert [stage.percentage for stage in state.plan.stages] == [1, 10, 50, 100]


@pytest.mark.parametrize("fleet", [0, 1, 19, 20, 199, 200, 1999, 2000, 10**6])
def test_the_default_plan_can_be_done_by_the_fleet(fleet: int) -> None:
    first = service.default_plan(fleet).stages[0]
    # With room for robots that are away.
    assert first.percentage / 100 * fleet >= 1.5 * first.min_sample or fleet < 20
    assert service.default_plan(fleet).stages[-1].percentage == 100


@pytest.mark.parametrize("status", [S.CANARY, S.PRODUCTION])
def test_a_pause_goes_back_to_where_it_was(status: RolloutStatus) -> None:
    before = rollout(status)
    paused = service.act(before, A.PAUSE, now=NOW)
    after = service.act(paused, A.RESUME, now=LATER)
    assert (after.status, after.stage) == (status, before.stage)
    assert after.target_percentage == before.target_percentage


def test_halting_offers_it_to_nobody() -> None:
    assert service.act(rollout(S.PRODUCTION), A.HALT, now=NOW).target_percentage == 0


def test_the_start_keeps_what_robots_go_back_to() -> None:
    state = service.act(rollout(), A.START, now=NOW, previous_bundle_id="companion-v1-1.0.0")
    assert service.act(state, A.HALT, now=NOW).previous_bundle_id == "companion-v1-1.0.0"


# --- Requests -----------------------------------------------------------------------------------


def test_an_expected_status_that_is_wrong_is_refused() -> None:
    request = RolloutRequest(action=A.ADVANCE, expected_status=S.CANARY)
    with pytest.raises(ProblemError, match="The rollout is halted") as refusal:
        service.check_request(rollout(S.HALTED), request)
    assert refusal.value.type.code == "rollout.status_unexpected"


def test_an_expected_status_that_is_right_passes() -> None:
    request = RolloutRequest(action=A.ADVANCE, expected_status=S.CANARY)
    service.check_request(rollout(S.CANARY), request)


def test_a_plan_with_another_action_than_start_is_refused() -> None:
    request = RolloutRequest(action=A.ADVANCE, plan=plan())
    with pytest.raises(ProblemError) as refusal:
        service.check_request(rollout(S.CANARY), request)
    assert refusal.value.type.code == "rollout.plan_unexpected"


# --- Steps --------------------------------------------------------------------------------------


def test_a_step_that_passes_goes_to_the_next_stage_and_says_why() -> None:
    before = rollout(S.CANARY)
    after, decision = service.step(before, RolloutCounts(fleet=9000, succeeded=20), now=NOW)
    assert (after.stage, after.since) == (1, NOW)
    assert (after.deployed_count, after.error_count) == (20, 0)
    assert after.reason == decision.sentence


def test_a_step_that_waits_changes_only_the_counts() -> None:
    before = rollout(S.CANARY)
    after, _ = service.step(before, RolloutCounts(fleet=9000, succeeded=2), now=NOW)
    assert after == before.model_copy(update={"deployed_count": 2})


def test_a_step_that_is_proven_bad_halts() -> None:
    after, decision = service.step(rollout(S.CANARY), RolloutCounts(succeeded=1, failed=2), now=NOW)
    assert decision.verdict is GateVerdict.HALT
    assert (after.status, after.target_percentage, after.error_count) == (S.HALTED, 0, 2)


def test_a_paused_rollout_can_be_halted_by_its_gate_and_nothing_else() -> None:
    paused = rollout(S.PAUSED)
    stays, _ = service.step(paused, RolloutCounts(succeeded=10_000), now=NOW + timedelta(days=9))
    halts, _ = service.step(paused, RolloutCounts(succeeded=1, failed=2), now=NOW)
    assert (stays.status, halts.status) == (S.PAUSED, S.HALTED)


def test_the_same_step_twice_is_one_step() -> None:
    counts = RolloutCounts(fleet=9000, succeeded=20)
    once, _ = service.step(rollout(S.CANARY), counts, now=NOW)
    twice, decision = service.step(once, counts, now=NOW)
    assert decision.verdict is GateVerdict.WAIT
    assert twice.stage == once.stage


# --- Two rollouts for one robot model -----------------------------------------------------------


def test_a_second_canary_for_the_same_robots_is_refused() -> None:
    other = bundle("1.1.0", rollout(S.CANARY))
    with pytest.raises(ProblemError, match=r"companion-v1-1\.1\.0 is canary") as refusal:
        service.check_start(bundle("1.2.0"), plan(), [other])
    assert refusal.value.type.code == "rollout.conflict"


def test_a_second_canary_for_other_groups_is_allowed() -> None:
    other = bundle("1.1.0", rollout(S.CANARY, the_plan=plan(target={"groups": ["kitchen"]})))
    service.check_start(bundle("1.2.0"), plan(target={"groups": ["garden"]}), [other])


def test_a_paused_canary_does_not_block_its_repair() -> None:
    service.check_start(bundle("1.1.1"), plan(), [bundle("1.1.0", rollout(S.PAUSED))])


@pytest.mark.parametrize("version", ["1.0.9", "1.1.0rc1"])
def test_a_version_below_the_one_in_production_is_not_started(version: str) -> None:
    with pytest.raises(ProblemError) as refusal:
        service.check_start(bundle(version), plan(), [live("1.1.0")])
    assert refusal.value.type.code == "rollout.not_newer"


def test_a_bundle_does_not_stand_in_its_own_way() -> None:
    own = bundle("1.1.0", rollout(S.PRODUCTION))
    service.check_start(own, plan(), [own])


def test_robots_go_back_to_the_newest_that_was_in_production() -> None:
    others = [live("1.9.0"), live("1.10.0"), bundle("1.11.0", rollout(S.PAUSED)), live("3.0.0")]
    assert service.previous_of(bundle("2.0.0"), plan(), others) == "companion-v1-1.10.0"
    assert service.previous_of(bundle("2.0.0"), plan(), []) is None


def test_robots_go_back_past_what_was_withdrawn() -> None:
    others = [bundle("1.0.0", rollout(S.SUPERSEDED)), bundle("1.1.0", rollout(S.HALTED))]
    assert service.previous_of(bundle("1.2.0"), plan(), others) == "companion-v1-1.0.0"


def test_what_was_in_production_comes_back_when_its_successor_is_withdrawn() -> None:
    before = rollout(S.PRODUCTION)
    superseded = service.supersede(before, "companion-v1-2.0.0", now=NOW)
    after = service.reinstate(superseded, now=LATER)
    assert (after.status, after.stage, after.since) == (S.PRODUCTION, before.stage, LATER)
    assert after.reason == "companion-v1-2.0.0 was withdrawn."


@pytest.mark.parametrize("status", [S.CANARY, S.PAUSED])
def test_what_was_not_proven_does_not_come_back(status: RolloutStatus) -> None:
    superseded = service.supersede(rollout(status), "companion-v1-2.0.0", now=NOW)
    with pytest.raises(ProblemError, match="superseded"):
        service.reinstate(superseded, now=NOW)


def test_production_supersedes_what_is_older_and_for_the_same_robots() -> None:
    new = live("2.0.0")
    assert service.is_superseded_by(live("1.0.0"), new)
    assert service.is_superseded_by(bundle("1.0.0", rollout(S.CANARY)), new)
    assert service.is_superseded_by(bundle("1.0.0", rollout(S.PAUSED)), new)


@pytest.mark.parametrize(
    "old",
    [
        live("3.0.0"),
        live("1.0.0", priority=5),
        live("1.0.0", robot_model="arm"),
        bundle("1.0.0", rollout(S.HALTED)),
        bundle("1.0.0"),
    ],
    ids=["newer", "more important", "another model", "halted", "staged"],
)
def test_production_leaves_alone_what_it_does_not_replace(old: BundleRecord) -> None:
    assert not service.is_superseded_by(old, live("2.0.0"))


def test_a_rollout_for_some_does_not_supersede_that_for_all() -> None:
    for_some = live("2.0.0", target={"groups": ["kitchen"]})
    assert not service.is_superseded_by(live("1.0.0"), for_some)
    assert service.is_superseded_by(live("1.0.0", target={"groups": ["kitchen"]}), for_some)


def test_a_rollout_that_is_over_is_not_superseded() -> None:
    with pytest.raises(ProblemError, match="halted"):
        service.supersede(rollout(S.HALTED), "x", now=NOW)
