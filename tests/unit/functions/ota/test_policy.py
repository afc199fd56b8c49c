"""What a robot is offered, and the reason when it is nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from continuon.contracts.ota import CheckRequest, NoUpdateReason, OfferDirection
from continuon.contracts.rollouts import RolloutStatus
from continuon_ota import policy
from continuon_ota.cohorts import position
from ota_samples import MODEL, NOW, READY, bundle, check, live, plan, robot, rollout

R, S = NoUpdateReason, RolloutStatus


def ask(*bundles: Any, request: CheckRequest | None = None, **who: Any) -> Any:
    return policy.choose(robot(**who), request or check(), bundles, now=NOW)


def refused(answer: Any) -> NoUpdateReason:
    assert isinstance(answer, policy.Refusal), answer
    assert answer.retry_after_s >= 1
    assert answer.detail
    return answer.reason


def not_saying(**state: Any) -> CheckRequest:
    return check(state=READY.model_copy(update=state))


# --- Yes ----------------------------------------------------------------------------------------


def test_a_robot_that_is_ready_is_offered_the_newer_version() -> None:
    answer = ask(live("1.1.0"))
    assert (answer.bundle.version, answer.direction) == ("1.1.0", OfferDirection.FORWARD)


def test_a_robot_without_any_bundle_is_offered_one() -> None:
    assert ask(live("1.1.0"), request=check(None)).bundle.version == "1.1.0"


def test_of_two_rollouts_the_higher_version_is_offered() -> None:
    assert ask(live("1.9.0"), live("1.10.0")).bundle.version == "1.10.0"


def test_of_two_rollouts_the_more_important_is_offered() -> None:
    assert ask(live("1.9.0", priority=1), live("1.10.0")).bundle.version == "1.9.0"


def test_a_robot_outside_the_canary_is_offered_what_is_in_production() -> None:
    canary = bundle("1.2.0", rollout(S.CANARY, the_plan=plan(1, 100)))
    outside = next(f"r-{n}" for n in range(100) if position(canary.bundle_id, f"r-{n}") > 0.01)
    assert ask(canary, live("1.1.0"), robot_id=outside).bundle.version == "1.1.0"


# --- No, for what an operator decided -----------------------------------------------------------


def test_without_a_rollout_there_is_nothing() -> None:
    assert refused(ask()) is R.NO_ROLLOUT


@pytest.mark.parametrize("running", ["1.1.0", "1.2.0", "1.1.0.post1"])
def test_a_robot_that_is_not_older_is_up_to_date(running: str) -> None:
    assert refused(ask(live("1.1.0"), request=check(running))) is R.UP_TO_DATE


def test_a_robot_of_another_group_is_not_targeted() -> None:
    for_kitchen = live("1.1.0", target={"groups": ["kitchen"]})
    assert refused(ask(for_kitchen, groups=["garden"])) is R.NOT_TARGETED
    assert isinstance(ask(for_kitchen, groups=["garden", "kitchen"]), policy.Choice)


def test_tags_must_all_be_there_and_excluded_ones_must_not() -> None:
    tagged = live("1.1.0", target={"tags": ["gripper-2", "lab"], "exclude_tags": ["demo"]})
    assert refused(ask(tagged, tags=["lab"])) is R.NOT_TARGETED
    assert refused(ask(tagged, tags=["lab", "gripper-2", "demo"])) is R.NOT_TARGETED
    assert isinstance(ask(tagged, tags=["lab", "gripper-2"]), policy.Choice)


def test_a_robot_outside_the_cohort_waits() -> None:
    canary = bundle("1.2.0", rollout(S.CANARY, the_plan=plan(1, 100)))
    answers = [ask(canary, robot_id=f"r-{n}") for n in range(2000)]
    offered = [n for n, answer in enumerate(answers) if isinstance(answer, policy.Choice)]
    assert offered == [n for n in range(2000) if position(canary.bundle_id, f"r-{n}") < 0.01]
    assert 8 <= len(offered) <= 36
    waiting = next(answer for answer in answers if isinstance(answer, policy.Refusal))
    assert waiting.reason is R.NOT_IN_COHORT


def test_a_requirement_that_is_not_met_is_named() -> None:
    needs = bundle("1.1.0", rollout(S.PRODUCTION), requires_version=">=3")
    answer = ask(needs)
    assert refused(answer) is R.REQUIRES_VERSION
    assert ">=3" in answer.detail
    assert "2.0.0" in answer.detail


def test_a_paused_rollout_is_offered_to_nobody_new() -> None:
    assert refused(ask(bundle("1.1.0", rollout(S.PAUSED)))) is R.ROLLOUT_PAUSED


def test_of_several_refusals_the_one_that_came_furthest_is_named() -> None:
    other = live("1.2.0", target={"groups": ["kitchen"]})
    canary = bundle("1.1.0", rollout(S.PAUSED))
    assert refused(ask(other, canary, live("1.0.0"))) is R.ROLLOUT_PAUSED


# --- No, for what the robot does ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"idle": False}, R.ROBOT_BUSY),
        ({"idle": None}, R.ROBOT_BUSY),
        ({"in_remote_session": True}, R.REMOTE_SESSION),
        ({"in_remote_session": None}, R.REMOTE_SESSION),
        ({"battery_percent": 29.9}, R.BATTERY_LOW),
        ({"battery_percent": None}, R.BATTERY_LOW),
        ({"free_bytes": 1999}, R.NO_SPACE),
    ],
)
def test_a_robot_that_must_not_be_disturbed_is_left_alone(
    state: dict[str, Any], reason: NoUpdateReason
) -> None:
    assert refused(ask(live("1.1.0"), request=not_saying(**state))) is reason


def test_a_robot_that_must_be_docked_and_is_not_waits() -> None:
    docked_only = live("1.1.0", policy={"require_docked": True})
    assert refused(ask(docked_only, request=not_saying(docked=False))) is R.NOT_DOCKED
    assert refused(ask(docked_only, request=not_saying(docked=None))) is R.NOT_DOCKED
    assert isinstance(ask(docked_only), policy.Choice)


def test_a_plan_may_ask_for_less() -> None:
    easy = live("1.1.0", policy={"require_idle": False, "min_battery_percent": 0})
    request = not_saying(idle=None, battery_percent=None, free_bytes=None)
    assert isinstance(ask(easy, request=request), policy.Choice)


def test_a_robot_that_rests_is_told_for_how_long() -> None:
    rest = NOW + timedelta(hours=2)
    answer = ask(live("1.1.0"), ota={"resting_until": rest})
    assert refused(answer) is R.RESTING
    assert answer.retry_after_s == 7200


def test_a_rest_that_is_over_is_over() -> None:
    assert isinstance(ask(live("1.1.0"), ota={"resting_until": NOW}), policy.Choice)


def test_outside_its_window_a_robot_is_told_when_it_opens() -> None:
    nightly = live("1.1.0", policy={"windows": [{"start": "14:00", "end": "16:00"}]})
    answer = ask(nightly)
    assert refused(answer) is R.WINDOW_CLOSED
    assert answer.retry_after_s == 7200
    tokyo = check(timezone="Asia/Tokyo")
    assert "17:00" not in ask(nightly, request=tokyo).detail
    assert isinstance(ask(nightly, request=check(timezone="Europe/Athens")), policy.Choice)


def test_a_time_zone_that_is_unknown_is_read_as_utc_and_said() -> None:
    nightly = live("1.1.0", policy={"windows": [{"start": "14:00", "end": "16:00"}]})
    answer = ask(nightly, request=check(timezone="Mars/Olympus"))
    assert "This time zone is unknown; UTC was used." in answer.detail


def test_a_robot_never_waits_longer_than_the_longest_wait() -> None:
    sunday = live(
        "1.1.0", policy={"windows": [{"days": ["sun"], "start": "01:00", "end": "02:00"}]}
    )
    assert ask(sunday).retry_after_s == 6 * 3600


# --- Back ---------------------------------------------------------------------------------------


def back(**options: Any) -> Any:
    options = {"way_back": live("1.0.0"), "withdrawn": True, **options}
    request = options.pop("request", check("1.1.0"))
    bundles = options.pop("bundles", [live("1.0.0")])
    return policy.choose(robot(), request, bundles, now=NOW, **options)


def test_a_robot_with_a_withdrawn_bundle_is_offered_the_previous() -> None:
    answer = back()
    assert (answer.bundle.version, answer.direction) == ("1.0.0", OfferDirection.BACK)


def test_a_newer_version_is_a_better_way_out_than_the_previous() -> None:
    answer = back(bundles=[live("1.0.0"), live("1.2.0")])
    assert (answer.bundle.version, answer.direction) == ("1.2.0", OfferDirection.FORWARD)


def test_the_way_back_waits_for_no_window() -> None:
    nightly = live("1.0.0", policy={"windows": [{"start": "14:00", "end": "16:00"}]})
    assert back(way_back=nightly).direction is OfferDirection.BACK


def test_a_robot_that_cannot_go_back_rests_between_its_tries() -> None:
    resting = robot(ota={"resting_until": NOW + timedelta(hours=2)})
    answer = policy.choose(
        resting, check("1.1.0"), [], way_back=live("1.0.0"), withdrawn=True, now=NOW
    )
    assert refused(answer) is R.RESTING


def test_even_the_way_back_does_not_disturb_a_remote_session() -> None:
    request = check("1.1.0", state=READY.model_copy(update={"in_remote_session": True}))
    assert refused(back(request=request)) is R.REMOTE_SESSION


def test_without_a_previous_bundle_the_robot_is_told_to_help_itself() -> None:
    answer = back(way_back=None, bundles=[])
    assert refused(answer) is R.WITHDRAWN_NO_PREVIOUS


# --- The disruption budget ----------------------------------------------------------------------


def budgets(budget: dict[str, Any], sizes: dict[str, int], **who: Any) -> dict[str, int]:
    robot_policy = plan(policy={"budget": budget}).policy
    found = policy.budget_of(robot_policy, robot(**who), sizes)
    assert all(one.robot_model == MODEL for one in found)
    return {one.group: one.places for one in found}


def test_without_a_budget_nothing_is_limited() -> None:
    assert budgets({}, {}) == {}


def test_a_budget_for_all_limits_every_robot() -> None:
    assert budgets({"*": "10%"}, {"*": 250}) == {"*": 25}


def test_a_budget_of_a_group_limits_its_robots_only() -> None:
    assert budgets({"kitchen": 2}, {}, groups=["kitchen", "lab"]) == {"kitchen": 2}
    assert budgets({"kitchen": 2}, {}, groups=["lab"]) == {}


def test_a_robot_of_two_groups_needs_a_place_in_both() -> None:
    found = budgets({"*": 9, "a": 1, "b": "50%"}, {"b": 10}, groups=["a", "b"])
    assert found == {"*": 9, "a": 1, "b": 5}


def test_a_share_of_a_small_group_is_one_robot_and_never_none() -> None:
    assert budgets({"*": "10%"}, {"*": 3}) == {"*": 1}
    assert budgets({"*": "10%"}, {}) == {"*": 1}


@pytest.mark.parametrize("places", [1, 2, 7, 8, 9, 15, 16, 17, 100, 50_000])
def test_a_check_looks_at_different_places_of_the_budget(places: int) -> None:
    for number in range(50):
        found = policy.places_to_probe(places, f"r-{number}", number % 5)
        assert len(set(found)) == len(found) == min(places, 8)
        assert all(0 <= index < places for index in found)


def test_a_small_budget_is_looked_at_as_a_whole_and_a_large_one_from_everywhere() -> None:
    assert set(policy.places_to_probe(8, "r-1", 0)) == set(range(8))
    first = {policy.places_to_probe(100, f"r-{n}", 0)[0] for n in range(2000)}
    assert first == set(range(100))
