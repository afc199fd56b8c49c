"""Rollouts over time: ticks, events that come twice or never, and people at the same moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from continuon_ota import ticks

if TYPE_CHECKING:
    from ota_world import World, WorldRobot


async def offered(world: World, count: int) -> list[WorldRobot]:
    """Return ``count`` robots that hold an offer."""
    found: list[WorldRobot] = []
    while len(found) < count:
        robot = await world.robot()
        if (await robot.check())["update"]:
            found.append(robot)
    return found


async def test_a_rollout_advances_when_soak_and_sample_are_there(world: World) -> None:
    bundle_id = await world.started("1.1.0")
    robots = await offered(world, 2)
    await world.minutes(12)
    assert await world.status(bundle_id) == "canary"
    for robot in robots:
        await robot.install(bundle_id, "1.1.0")
    await world.minutes(1)
    state = await world.state(bundle_id)
    assert (state["status"], state["stage"], state["target_percentage"]) == ("production", 1, 100)
    assert (state["deployed_count"], state["error_count"]) == (2, 0)
    assert "2 results are in, 2 are needed." in state["reason"]


async def test_results_before_the_soak_is_over_are_waited_with(world: World) -> None:
    bundle_id = await world.started("1.1.0")
    for robot in await offered(world, 2):
        await robot.install(bundle_id, "1.1.0")
    await world.minutes(9)
    assert await world.status(bundle_id) == "canary"
    await world.minutes(1)
    assert await world.status(bundle_id) == "production"


async def test_the_second_failure_halts_without_waiting_for_a_tick(world: World) -> None:
    bundle_id = await world.started("1.1.0")
    first, second = await offered(world, 2)
    await first.report(bundle_id, "failed")
    assert await world.status(bundle_id) == "canary"
    await second.report(bundle_id, "failed")
    assert await world.status(bundle_id) == "halted"
    assert ("ota.rollout.halt", "done") in await world.audit(f"ota_bundles/{bundle_id}")


async def test_failures_at_the_same_moment_halt_too(world: World) -> None:
    bundle_id = await world.in_production("1.1.0")
    robots = await world.robots(6)
    for robot in robots:
        assert (await robot.check())["update"]
    await asyncio.gather(*(robot.report(bundle_id, "failed") for robot in robots))
    assert await world.status(bundle_id) == "halted"


async def test_robots_that_fall_silent_after_installing_halt(world: World) -> None:
    bundle_id = await world.in_production("1.1.0", policy={"lease": "30m"})
    for robot in await world.robots(3):
        await robot.check()
        await robot.report(bundle_id, "installed")
    await world.minutes(20)
    assert await world.status(bundle_id) == "production"
    # After half an hour in production, every other tick counts.
    await world.minutes(12)
    state = await world.state(bundle_id)
    assert (state["status"], state["error_count"]) == ("halted", 3)


async def test_robots_that_fall_silent_before_installing_prove_nothing(world: World) -> None:
    bundle_id = await world.in_production("1.1.0", policy={"lease": "30m"})
    for robot in await world.robots(3):
        await robot.check()
        await robot.report(bundle_id, "downloading")
    await world.minutes(40)
    assert await world.status(bundle_id) == "production"


async def test_worse_task_success_halts_a_version_that_installs_well(world: World) -> None:
    old = await world.in_production("1.0.0")
    gates = {"task": {"margin": 0.05, "min_trials": 100, "min_robots": 3}}
    robots = await world.robots(4)
    for robot in robots:
        await robot.check()
        await robot.install(old, "1.0.0", task={"successes": 90, "trials": 100})
    new = await world.in_production("1.1.0", gates=gates)
    for robot in robots:
        assert (await robot.check())["update"]
        await robot.install(new, "1.1.0", task={"successes": 9, "trials": 20})
    await world.minutes(1)
    assert await world.status(new) == "production"
    for robot in robots:
        await robot.report(new, "healthy", task={"successes": 25, "trials": 50})
    await world.minutes(1)
    state = await world.state(new)
    assert state["status"] == "halted"
    assert "50 % of tasks succeed, 90 % did before" in state["reason"]


# --- Events -------------------------------------------------------------------------------------


async def test_production_supersedes_the_older_by_its_event(world: World) -> None:
    old = await world.in_production("1.0.0")
    new = await world.in_production("1.1.0")
    assert await world.status(old) == "superseded"
    assert (await world.state(new))["previous_bundle_id"] == old


async def test_a_lost_event_is_made_up_for_by_the_tick(world: World) -> None:
    old = await world.in_production("1.0.0")
    record = await world.bundle("1.1.0")
    plan = {"stages": [{"percentage": 100}]}
    path = f"/api/ota/bundles/{record.bundle_id}/rollout"
    await world.http.post(path, json={"action": "start", "plan": plan})
    assert await world.status(old) == "production"
    await world.minutes(1)
    assert await world.status(old) == "superseded"


async def test_a_withdrawal_puts_the_one_before_back_into_production(world: World) -> None:
    old = await world.in_production("1.0.0")
    bad = await world.in_production("1.1.0")
    await world.act(bad, "halt")
    assert await world.status(old) == "production"
    # A robot that has nothing yet gets what everybody goes back to.
    robot = await world.robot()
    assert (await robot.check())["bundle"]["bundle_id"] == old
    repaired = await world.in_production("1.2.0")
    assert (await world.state(repaired))["previous_bundle_id"] == old
    assert await world.status(old) == "superseded"


async def test_the_tick_mends_a_withdrawal_whose_event_was_lost(world: World) -> None:
    old = await world.in_production("1.0.0")
    bad = await world.in_production("1.1.0")
    path = f"/api/ota/bundles/{bad}/rollout"
    await world.http.post(path, json={"action": "rollback"})
    assert await world.status(old) == "superseded"
    outcomes = await world.minutes(2)
    assert [outcome.get("reinstated") for outcome in outcomes] == [1, None]
    assert await world.status(old) == "production"


async def test_repeated_and_late_events_change_nothing(world: World) -> None:
    old = await world.in_production("1.0.0")
    new = await world.in_production("1.1.0")
    await world.minutes(1)
    before = await world.everything()
    world.pass_time(seconds=10)
    for bundle_id in (old, new, new, old, new):
        assert await world.written(bundle_id) == "nothing"
    assert await world.everything() == before


async def test_an_event_about_a_bundle_that_is_gone_is_acknowledged(world: World) -> None:
    assert await world.written("companion-v1-9.9.9") == "gone"


async def test_two_ticks_at_once_are_one(world: World) -> None:
    bundle_id = await world.started("1.1.0")
    for robot in await offered(world, 2):
        await robot.install(bundle_id, "1.1.0")
    world.pass_time(minutes=11)
    await asyncio.gather(*(ticks.run(world.now) for _ in range(4)))
    entries = await world.audit(f"ota_bundles/{bundle_id}")
    assert entries.count(("ota.rollout.advance", "done")) == 1


@pytest.mark.parametrize(
    "broken",
    [
        {"rollout.status": "launched"},
        {"rollout.plan": {"stages": []}},
        {"rollout": "yes"},
        {"version": "one"},
    ],
    ids=str,
)
async def test_a_document_that_somebody_broke_is_halted_and_says_why(
    world: World, broken: dict[str, object]
) -> None:
    good = await world.in_production("1.0.0")
    bad = (await world.bundle("1.1.0")).bundle_id
    await world.documents.document(f"ota_bundles/{bad}").update(broken)
    assert await world.written(bad) == "halted"
    state = await world.state(bad)
    assert state["status"] == "halted"
    assert "The document cannot be read" in state["reason"]
    assert await world.written(bad) == "nothing"
    # The others go on.
    robot = await world.robot()
    assert (await robot.check())["bundle"]["bundle_id"] == good


# --- People -------------------------------------------------------------------------------------


async def test_of_two_rollouts_that_start_at_once_one_is_refused(world: World) -> None:
    first, second = await world.bundle("1.1.0"), await world.bundle("1.2.0")
    answers = await asyncio.gather(*(world.act(one.bundle_id, "start") for one in (first, second)))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert refused.json()["code"] in {"rollout.conflict", "rollout.changed"}


async def test_an_operator_and_the_gate_at_once_leave_one_history(world: World) -> None:
    bundle_id = await world.started("1.1.0")
    for robot in await offered(world, 2):
        await robot.install(bundle_id, "1.1.0")
    world.pass_time(minutes=11)
    pause, _ = await asyncio.gather(
        world.act(bundle_id, "pause", expected_status="canary"), ticks.run(world.now)
    )
    state = await world.state(bundle_id)
    entries = await world.audit(f"ota_bundles/{bundle_id}")
    # Every change that is in the document is in the log, and the other way round.
    assert state["revision"] == sum(outcome == "done" for _, outcome in entries)
    assert state["status"] == ("paused" if pause.status_code == 200 else "production")


async def test_a_refused_change_is_in_the_audit_log_and_nowhere_else(world: World) -> None:
    bundle_id = await world.started("1.1.0")
    before = await world.state(bundle_id)
    refused = await world.act(bundle_id, "resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "rollout.refused")
    assert refused.json()["detail"] == "The rollout is canary; it cannot resume."
    assert await world.state(bundle_id) == before
    entries = await world.audit(f"ota_bundles/{bundle_id}")
    assert ("ota.rollout.resume", "refused") in entries


async def test_an_operator_who_expected_something_else_is_refused(world: World) -> None:
    bundle_id = await world.started("1.1.0")
    refused = await world.act(bundle_id, "advance", expected_status="paused")
    assert (refused.status_code, refused.json()["code"]) == (409, "rollout.status_unexpected")


async def test_resuming_beside_another_canary_is_refused(world: World) -> None:
    first = await world.started("1.1.0")
    await world.act(first, "pause")
    await world.started("1.2.0")
    refused = await world.act(first, "resume")
    assert refused.json()["code"] == "rollout.conflict"
    assert await world.status(first) == "paused"
