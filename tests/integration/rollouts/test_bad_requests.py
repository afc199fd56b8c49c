"""What robots and operators send by mistake or on purpose: refused in words, changing nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ota_samples import READY
from ota_stage import sample_bundle

if TYPE_CHECKING:
    from ota_world import World

_CHECKS: dict[str, dict[str, Any]] = {
    "no software version": {"software_version": None},
    "software version that is none": {"software_version": "latest"},
    "software version as a number": {"software_version": 1.0},
    "version that is none": {"version": "one"},
    "version without end": {"version": "1." * 500},
    "bundle id with a path": {"bundle_id": "../../robots/r-1"},
    "bundle id that is reserved": {"bundle_id": "__all__"},
    "battery beyond full": {"state": {"battery_percent": 101}},
    "battery that is no number": {"state": {"battery_percent": float("nan")}},
    "negative space": {"state": {"free_bytes": -1}},
    "state as a list": {"state": []},
    "time zone without end": {"timezone": "A" * 65},
}
_REPORTS: dict[str, dict[str, Any]] = {
    "no sequence": {"sequence": None},
    "sequence of zero": {"sequence": 0},
    "sequence beyond numbers": {"sequence": 2**53 + 1},
    "phase that is none": {"phase": "done"},
    "more successes than trials": {"task": {"successes": 2, "trials": 1}},
    "negative trials": {"task": {"successes": 0, "trials": -1}},
    "trials without end": {"task": {"successes": 0, "trials": 10**10}},
    "error without a code": {"error": {"message": "x"}},
    "error code with spaces": {"error": {"code": "it broke"}},
    "error message without end": {"error": {"code": "x", "message": "x" * 1001}},
}


@pytest.mark.parametrize("changes", _CHECKS.values(), ids=_CHECKS)
async def test_a_check_that_is_none_is_refused(world: World, changes: dict[str, Any]) -> None:
    await world.in_production("1.1.0")
    robot = await world.robot()
    before = await world.everything()
    # As text: the client's own encoder would refuse what is no JSON.
    content = json.dumps(robot.checking(**changes)).encode()
    headers = robot.device.headers("POST", "/api/ota/check", content, now=world.now)
    headers["content-type"] = "application/json"
    refused = await world.http.post("/api/ota/check", content=content, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "request.invalid")
    assert await world.everything() == before


@pytest.mark.parametrize("changes", _REPORTS.values(), ids=_REPORTS)
async def test_a_report_that_is_none_is_refused(world: World, changes: dict[str, Any]) -> None:
    bundle_id = await world.in_production("1.1.0")
    robot = await world.robot()
    before = await world.everything()
    body = {"bundle_id": bundle_id, "sequence": 1, "phase": "healthy", **changes}
    refused = await robot.send("/api/ota/report", body)
    assert (refused.status_code, refused.json()["code"]) == (422, "request.invalid")
    assert await world.everything() == before


async def test_what_nobody_offered_cannot_be_failed(world: World) -> None:
    bundle_id = await world.in_production("1.1.0")
    for robot in await world.robots(3):
        body = {"bundle_id": bundle_id, "sequence": 1, "phase": "failed"}
        refused = await robot.send("/api/ota/report", body)
        assert (refused.status_code, refused.json()["code"]) == (409, "deployment.not_offered")
    await world.minutes(1)
    assert await world.status(bundle_id) == "production"


async def test_one_robot_alone_cannot_stop_a_rollout(world: World) -> None:
    bundle_id = await world.in_production("1.1.0")
    robot = await world.robot()
    for _ in range(3):
        await robot.check()
        for phase in ("failed", "rolled_back", "installed", "failed"):
            await robot.report(bundle_id, phase)
    await world.minutes(1)
    state = await world.state(bundle_id)
    assert (state["status"], state["error_count"]) == ("production", 1)


async def test_a_time_zone_that_is_a_path_is_read_as_utc(world: World) -> None:
    windows = [{"start": "13:00", "end": "14:00"}]
    await world.in_production("1.1.0", policy={"windows": windows})
    robot = await world.robot()
    for zone in ("../../etc/passwd", "Europe", "\0", "/etc/localtime"):
        answer = await robot.check(timezone=zone)
        assert answer["reason"] == "window_closed"
        assert "This time zone is unknown; UTC was used." in answer["detail"]


async def test_a_robot_without_a_claim_is_nobody(world: World) -> None:
    await world.in_production("1.1.0")
    robot = await world.robot()
    await world.documents.document(f"robots/{robot.id}").update({"status": "revoked"})
    refused = await robot.send("/api/ota/check", robot.checking(state=READY.model_dump()))
    assert (refused.status_code, refused.json()["code"]) == (401, "robot.unknown")


# --- Operators ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"action": "launch"},
        {"action": "start", "plan": {"stages": []}},
        {"action": "start", "plan": {"stage": 1}},
        {"action": "halt", "reason": ""},
        {"action": "halt", "reason": "x" * 501},
        {"action": "halt", "expected_status": "flying"},
        {},
        [],
    ],
    ids=str,
)
async def test_a_change_that_is_none_is_refused(world: World, body: Any) -> None:
    record = await world.bundle("1.1.0")
    path = f"/api/ota/bundles/{record.bundle_id}/rollout"
    refused = await world.http.post(path, json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "request.invalid")
    assert await world.status(record.bundle_id) == "staged"


async def test_a_bundle_that_does_not_exist_is_404_everywhere(world: World) -> None:
    for path in ("nothing-1.0", "nothing-1.0/rollout"):
        answer = await world.http.get(f"/api/ota/bundles/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "bundle.not_found")
    refused = await world.act("nothing-1.0", "start")
    assert (refused.status_code, refused.json()["code"]) == (404, "bundle.not_found")
    refused = await world.http.put("/api/ota/robots/nobody/membership", json={"groups": ["a"]})
    assert (refused.status_code, refused.json()["code"]) == (404, "robot.not_found")


async def test_a_version_never_changes(world: World) -> None:
    manifest, archive = sample_bundle(world.model, "1.0.0")
    body = {
        "manifest": manifest.model_dump(mode="json"),
        "archive": {"size_bytes": len(archive), "sha256": "a" * 64},
    }
    first = await world.http.post("/api/ota/bundles", json=body)
    again = await world.http.post("/api/ota/bundles", json=body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["bundle"] == again.json()["bundle"]
    body["archive"] = {"size_bytes": len(archive), "sha256": "b" * 64}
    other = await world.http.post("/api/ota/bundles", json=body)
    assert (other.status_code, other.json()["code"]) == (409, "bundle.exists")


async def test_bundles_are_listed_newest_first_over_pages(world: World) -> None:
    for number in range(5):
        world.pass_time(seconds=1)
        manifest, archive = sample_bundle(world.model, f"1.0.{number}")
        body = {
            "manifest": manifest.model_dump(mode="json"),
            "archive": {"size_bytes": len(archive), "sha256": "a" * 64},
        }
        await world.http.post("/api/ota/bundles", json=body)
    seen: list[str] = []
    query = {"page_size": "2", "robot_model": world.model}
    while True:
        page = (await world.http.get("/api/ota/bundles", params=query)).json()
        seen += [one["version"] for one in page["bundles"]]
        if page["next_page_token"] is None:
            break
        query["page_token"] = page["next_page_token"]
    assert seen == ["1.0.4", "1.0.3", "1.0.2", "1.0.1", "1.0.0"]
    refused = await world.http.get("/api/ota/bundles", params={"page_token": "x"})
    assert refused.json()["code"] == "request.page_token_invalid"
