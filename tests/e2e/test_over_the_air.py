"""A bundle on its way to robots: published, canary, production; halted; rolled back."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import httpx
import pytest

from function_processes import function_process
from ota_stage import OtaStage, operator, sample_bundle
from product import Account, Product, store, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def rollouts(product: Product) -> Iterator[tuple[Account, str]]:
    """An operator, and the address of the tick."""
    with function_process("ota", "ota_tick", "http", product.cloud.env) as url:
        yield operator(product), url


@pytest.fixture
def stage(product: Product, rollouts: tuple[Account, str]) -> OtaStage:
    return OtaStage(product, *rollouts)


def delivered(product: Product, bundle_id: str) -> bool | None:
    """Say whether `ota_rollout` has acknowledged a write to the bundle, None while it has not."""
    answer = httpx.get(f"{product.cloud.urls['hub']}/deliveries", timeout=60).json()
    return (
        any(
            one["function"] == "ota_rollout"
            and one["state"] == "acknowledged"
            and bundle_id in str(one)
            for one in answer["deliveries"]
        )
        or None
    )


def test_a_bundle_goes_from_its_publication_to_every_robot(
    product: Product, stage: OtaStage
) -> None:
    bundle_id = stage.publish("1.0.0")
    robots = [stage.updater() for _ in range(6)]
    assert {robot.check()["reason"] for robot in robots} == {"no_rollout"}

    assert stage.start(bundle_id)["rollout"]["status"] == "canary"
    wait_for(lambda: delivered(product, bundle_id), timeout_s=60)
    answers = [robot.check() for robot in robots]
    offered = [n for n, answer in enumerate(answers) if answer["update"]]
    waiting = [answer for answer in answers if not answer["update"]]
    assert {answer["reason"] for answer in waiting} <= {"not_in_cohort"}
    assert all(answer["retry_after_s"] >= 900 for answer in waiting)
    while not offered:
        robots.append(stage.updater())
        answers.append(robots[-1].check())
        offered = [n for n, answer in enumerate(answers) if answer["update"]]
    for number in offered:
        robots[number].install(answers[number]["bundle"])

    found = stage.until(bundle_id, "production")
    assert found["counts"]["succeeded"] == len(offered)
    assert found["rollout"]["target_percentage"] == 100
    for number, robot in enumerate(robots):
        if number not in offered:
            robot.install(wait_for(lambda r=robot: r.check().get("bundle")))  # type: ignore[misc]
    assert stage.rollout(bundle_id)["counts"]["succeeded"] == len(robots)
    assert {robot.check()["reason"] for robot in robots} == {"up_to_date"}

    seen = robots[0].robot.owner.call("GET", f"/api/ota/robots/{robots[0].robot.id}").json()
    assert (seen["version"], seen["bundle_id"]) == ("1.0.0", bundle_id)
    assert (seen["reason"], seen["desired_version"]) == ("up_to_date", "1.0.0")


def test_failures_stop_a_rollout_at_once_and_send_robots_back(stage: OtaStage) -> None:
    good, bad = stage.publish("1.0.0"), stage.publish("1.1.0")
    robots = [stage.updater() for _ in range(3)]
    for robot in robots:
        path = f"/api/ota/robots/{robot.robot.id}/membership"
        assert stage.operator.call("PUT", path, json={"groups": ["lab"]}).status_code == 200
    # Every kind of query that a plan can cause, under the indexes that are deployed.
    stage.start(
        good,
        stages=[{"percentage": 100}],
        target={"groups": ["lab"]},
        gates={"task": {"margin": 0.05}},
        policy={"budget": {"*": "50%", "lab": 3}},
    )
    for robot in robots:
        robot.install(robot.check()["bundle"])
    stage.start(
        bad,
        stages=[{"percentage": 99.99}, {"percentage": 100}],
        gates={"task": {"margin": 0.05}},
        policy={"budget": {"lab": "100%"}},
    )

    def offer(n: int) -> dict[str, str]:
        return wait_for(lambda: robots[n].check().get("bundle"))

    robots[0].install(offer(0))
    for number in (1, 2):
        offer(number)
        error = {"code": "health.timeout", "message": "no heartbeat"}
        assert robots[number].report(bad, "failed", error=error).json()["applied"]

    found = stage.rollout(bad)
    assert found["rollout"]["status"] == "halted"
    assert "2 of 3 installations failed" in found["rollout"]["reason"]
    assert found["rollout"]["previous_bundle_id"] == good
    assert {c["name"] for c in found["decision"]["checks"]} >= {"failures"}

    back = wait_for(lambda: robots[0].check().get("bundle"))
    assert (back["bundle_id"], back["direction"]) == (good, "back")
    robots[0].install(back)
    assert {robot.check()["reason"] for robot in robots} == {"up_to_date"}
    stage.refused(stage.act(bad, "advance"), 409, "rollout.refused")


def test_a_bundle_is_started_only_with_its_archive_and_stored_once(stage: OtaStage) -> None:
    manifest, archive = sample_bundle(stage.model, "1.0.0")
    body = {
        "manifest": manifest.model_dump(mode="json"),
        "archive": {"size_bytes": len(archive), "sha256": hashlib.sha256(archive).hexdigest()},
    }
    created = stage.operator.call("POST", "/api/ota/bundles", json=body).json()
    bundle_id, upload = created["bundle"]["bundle_id"], created["upload"]
    stage.refused(stage.act(bundle_id, "start"), 409, "bundle.not_uploaded")
    assert store(upload, archive + b"more").status_code == 400
    stage.refused(stage.act(bundle_id, "start"), 409, "bundle.not_uploaded")
    assert store(upload, archive).status_code == 200
    # What was signed stays what is there.
    assert store(upload, archive).status_code == 412
    assert stage.operator.call("POST", "/api/ota/bundles", json=body).json()["upload"] is None
    started = stage.act(bundle_id, "start").json()
    assert [one["percentage"] for one in started["rollout"]["plan"]["stages"]] == [50, 100]
