"""Robots that ask and report: at the same moment, twice, late, and while rollouts change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from continuon_ota import live, settings

if TYPE_CHECKING:
    import pytest

    from ota_world import World, WorldRobot


def reasons(answers: list[dict[str, object]]) -> list[str]:
    return sorted(str(answer["reason"] or "yes") for answer in answers)


async def test_a_no_writes_nothing_and_may_be_repeated(world: World) -> None:
    await world.started("1.1.0", target={"groups": ["kitchen"]})
    robot = await world.robot()
    before = await world.everything()
    request = robot.signed("/api/ota/check", robot.checking())
    answers = [await world.http.send(request) for _ in range(2)]
    assert [answer.json()["reason"] for answer in answers] == ["not_targeted"] * 2
    assert await world.everything() == before


async def test_a_yes_cannot_be_replayed(world: World) -> None:
    await world.in_production("1.1.0")
    robot = await world.robot()
    request = robot.signed("/api/ota/check", robot.checking())
    first, second = [await world.http.send(request) for _ in range(2)]
    assert first.json()["update"]
    assert (second.status_code, second.json()["code"]) == (401, "signature.replayed")


async def test_asking_again_gets_the_same_offer(world: World) -> None:
    bundle_id = await world.in_production("1.1.0", policy={"budget": {"*": 1}})
    robot = await world.robot()
    first = await robot.check()
    world.pass_time(minutes=5)
    second = await robot.check()
    assert first["bundle"]["bundle_id"] == second["bundle"]["bundle_id"] == bundle_id
    assert first["lease_expires_at"] < second["lease_expires_at"]
    deployment = await world.document(f"ota_bundles/{bundle_id}/deployments/{robot.id}")
    assert deployment["attempts"] == 1


async def test_a_halt_is_believed_at_once_although_rollouts_are_remembered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTINUON_OTA_ROLLOUTS_CACHE_S", "60")
    settings.settings.cache_clear()
    bundle_id = await world.in_production("1.1.0")
    robots = await world.robots(2)
    assert (await robots[0].check())["update"]
    remembered = dict(live._remembered)
    await world.act(bundle_id, "halt")
    live._remembered.update(remembered)
    assert (await robots[1].check())["reason"] == "no_rollout"
    settings.settings.cache_clear()


# --- The disruption budget ----------------------------------------------------------------------


async def test_never_more_robots_than_the_budget_update_at_once(world: World) -> None:
    await world.in_production("1.1.0", policy={"budget": {"*": 3}})
    robots = await world.robots(12)
    answers = await asyncio.gather(*(robot.check() for robot in robots))
    assert reasons(answers) == ["budget_spent"] * 9 + ["yes"] * 3


async def test_a_robot_that_is_done_makes_room(world: World) -> None:
    bundle_id = await world.in_production("1.1.0", policy={"budget": {"*": 1}})
    first, second, third = await world.robots(3)
    assert (await first.check())["update"]
    assert (await second.check())["reason"] == "budget_spent"
    await first.install(bundle_id, "1.1.0")
    assert (await second.check())["update"]
    await second.report(bundle_id, "failed")
    assert (await third.check())["update"]


async def test_a_robot_that_falls_silent_makes_room_when_its_lease_ends(world: World) -> None:
    await world.in_production("1.1.0", policy={"budget": {"*": 1}, "lease": "10m"})
    silent, waiting = await world.robots(2)
    assert (await silent.check())["update"]
    world.pass_time(minutes=9)
    assert (await waiting.check())["reason"] == "budget_spent"
    world.pass_time(minutes=2)
    assert (await waiting.check())["update"]


async def test_reports_hold_the_place_and_a_late_one_takes_nobodys(world: World) -> None:
    bundle_id = await world.in_production("1.1.0", policy={"budget": {"*": 1}, "lease": "10m"})
    slow, waiting, last = await world.robots(3)
    await slow.check()
    for _ in range(3):
        world.pass_time(minutes=8)
        assert (await slow.report(bundle_id, "downloading"))["applied"]
        assert (await waiting.check())["reason"] == "budget_spent"
    world.pass_time(minutes=11)
    assert (await waiting.check())["update"]
    # The slow one is back; the place is another's by now, and stays that.
    await slow.install(bundle_id, "1.1.0")
    assert (await last.check())["reason"] == "budget_spent"


async def test_groups_have_budgets_of_their_own(world: World) -> None:
    await world.in_production("1.1.0", policy={"budget": {"kitchen": 1, "garden": "50%"}})
    kitchen = await world.robots(3, groups=["kitchen"])
    garden = await world.robots(4, groups=["garden"])
    free = await world.robots(2)
    await world.minutes(16)
    checks = [
        await asyncio.gather(*(robot.check() for robot in group))
        for group in (kitchen, garden, free)
    ]
    assert reasons(checks[0]) == ["budget_spent"] * 2 + ["yes"]
    assert reasons(checks[1]) == ["budget_spent"] * 2 + ["yes"] * 2
    assert reasons(checks[2]) == ["yes"] * 2


async def test_membership_is_looked_up_at_every_check(world: World) -> None:
    await world.in_production("1.1.0", target={"groups": ["kitchen"]})
    robot = await world.robot()
    assert (await robot.check())["reason"] == "not_targeted"
    await world.documents.document(f"robots/{robot.id}").update({"groups": ["kitchen"]})
    assert (await robot.check())["update"]


# --- Reports ------------------------------------------------------------------------------------


async def test_a_report_that_is_sent_twice_counts_once(world: World) -> None:
    bundle_id = await world.in_production("1.1.0")
    robot = await world.robot()
    await robot.check()
    assert (await robot.report(bundle_id, "failed"))["applied"]
    again = await robot.report(bundle_id, "failed", sequence=1)
    assert (again["applied"], again["last_sequence"]) == (False, 1)
    deployment = await world.document(f"ota_bundles/{bundle_id}/deployments/{robot.id}")
    assert deployment["failures"] == 1


async def test_reports_at_the_same_moment_all_count_in_their_order(world: World) -> None:
    bundle_id = await world.in_production("1.1.0")
    robot = await world.robot()
    await robot.check()
    phases = ["downloading", "verified", "installed", "healthy"]
    await asyncio.gather(*(robot.report(bundle_id, phase) for phase in phases))
    deployment = await world.document(f"ota_bundles/{bundle_id}/deployments/{robot.id}")
    assert (deployment["phase"], deployment["outcome"]) == ("healthy", "succeeded")


async def test_a_report_about_a_bundle_of_another_model_is_refused(world: World) -> None:
    bundle_id = await world.in_production("1.1.0")
    world.model = "arm"
    robot = await world.robot()
    body = {"bundle_id": bundle_id, "sequence": 1, "phase": "healthy"}
    refused = await robot.send("/api/ota/report", body)
    assert (refused.status_code, refused.json()["code"]) == (404, "bundle.not_found")


async def test_three_failures_rest_for_a_day(world: World) -> None:
    bundle_id = await world.in_production("1.1.0", gates={"min_failures": 9})
    robot = await world.robot()
    for _ in range(3):
        assert (await robot.check())["update"]
        await robot.report(bundle_id, "failed")
    answer = await robot.check()
    assert answer["reason"] == "resting"
    assert answer["retry_after_s"] >= 6 * 3600
    world.pass_time(hours=24)
    assert (await robot.check())["update"]


# --- The way back -------------------------------------------------------------------------------


async def installed(world: World, bundle_id: str, version: str) -> WorldRobot:
    robot = await world.robot()
    assert (await robot.check())["update"]
    await robot.install(bundle_id, version)
    return robot


async def test_two_withdrawn_bundles_lead_back_to_the_one_before_both(world: World) -> None:
    first = await world.in_production("1.0.0")
    second = await world.in_production("1.1.0")
    third = await world.in_production("1.2.0")
    robot = await installed(world, third, "1.2.0")
    for bundle_id in (third, second):
        state = await world.state(bundle_id)
        if state["status"] == "superseded":
            # A superseded bundle is found bad later: an operator says so in its document.
            reference = world.documents.document(f"ota_bundles/{bundle_id}")
            await reference.update({"rollout.status": "halted"})
        else:
            await world.act(bundle_id, "halt")
    answer = await robot.check()
    assert (answer["bundle"]["bundle_id"], answer["bundle"]["direction"]) == (first, "back")


async def test_a_first_bundle_that_is_withdrawn_leaves_robots_to_their_other_slot(
    world: World,
) -> None:
    only = await world.in_production("1.0.0")
    robot = await installed(world, only, "1.0.0")
    await world.act(only, "rollback", reason="wrong weights")
    assert (await robot.check())["reason"] == "withdrawn_no_previous"


async def test_robots_that_cannot_go_back_do_not_halt_what_they_should_go_back_to(
    world: World,
) -> None:
    good = await world.in_production("1.0.0")
    bad = await world.in_production("1.1.0")
    robots = [await installed(world, bad, "1.1.0") for _ in range(3)]
    await world.act(bad, "halt")
    for robot in robots:
        assert (await robot.check())["bundle"]["direction"] == "back"
        await robot.report(good, "failed")
    await world.minutes(2)
    assert await world.status(good) == "production"


async def test_the_way_back_needs_a_place_in_the_budget_too(world: World) -> None:
    await world.in_production("1.0.0", policy={"budget": {"*": 1}})
    bad = await world.in_production("1.1.0", policy={"budget": {"*": 9}})
    robots = [await installed(world, bad, "1.1.0") for _ in range(3)]
    await world.act(bad, "halt")
    answers = await asyncio.gather(*(robot.check() for robot in robots))
    assert reasons(answers) == ["budget_spent", "budget_spent", "yes"]


async def test_what_a_robot_has_and_why_nothing_newer(world: World) -> None:
    old = await world.in_production("1.0.0")
    robot = await installed(world, old, "1.0.0")
    new = await world.started("1.1.0", target={"groups": ["kitchen"]})
    seen = (await world.http.get(f"/api/ota/robots/{robot.id}")).json()
    assert (seen["version"], seen["bundle_id"]) == ("1.0.0", old)
    assert seen["since"] == "2026-03-04T12:00:30.000Z"
    assert (seen["reason"], seen["newest"]) == ("not_targeted", None)
    assert new in seen["detail"]
    await world.documents.document(f"robots/{robot.id}").update({"groups": ["kitchen"]})
    await world.act(new, "advance")
    seen = (await world.http.get(f"/api/ota/robots/{robot.id}")).json()
    assert (seen["reason"], seen["newest"]) == (None, new)


async def test_a_version_that_somebody_wrote_by_hand_breaks_no_question(world: World) -> None:
    bundle_id = await world.in_production("1.1.0")
    robot = await world.robot(model_version="the good one")
    seen = await world.http.get(f"/api/ota/robots/{robot.id}")
    assert (seen.status_code, seen.json()["newest"]) == (200, bundle_id)
    assert seen.json()["version"] == "the good one"


async def test_what_software_a_robot_runs_is_not_guessed(world: World) -> None:
    bundle_id = await world.in_production("1.1.0")
    stored = world.documents.document(f"ota_bundles/{bundle_id}")
    await stored.update({"manifest.requires_version": ">=2.0"})
    robot = await world.robot()
    live.forget((await world.document(f"robots/{robot.id}"))["model"])
    seen = (await world.http.get(f"/api/ota/robots/{robot.id}")).json()
    assert (seen["reason"], seen["newest"]) == (None, None)
    assert "software" in seen["detail"]
