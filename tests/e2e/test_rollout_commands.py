"""`continuon ota rollout` as an operator uses it: start, watch, stop, and what it says."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from continuon_cloud.cli import run
from function_processes import function_process
from ota_stage import PASSWORD, OtaStage, operator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from product import Product

PLAN = """\
stages:
  - {percentage: 100, soak: 10m, min_sample: 1}
gates:
  max_failure_rate: 0.05
policy:
  budget: {"*": 50%}
"""


@dataclass(frozen=True)
class Done:
    """What a command printed."""

    stdout: str
    stderr: str


@dataclass(frozen=True)
class Command:
    """The command in this process, with a home folder in which an operator is signed in."""

    product: Product
    home: Path

    def __call__(self, *arguments: str, stdin: str = "", expected: int = 0) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.product.cloud.env.items():
                patch.setenv(name, value)
            patch.setenv("CONTINUON_URL", self.product.cloud.url)
            patch.setenv("CONTINUON_HOME", str(self.home))
            patch.setattr("sys.stdin", io.StringIO(stdin))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = run(arguments)
        done = Done(out.getvalue(), err.getvalue())
        assert status == expected, done
        return done

    def document(self, *arguments: str, expected: int = 0) -> Any:
        """Run with --json; return the document."""
        return json.loads(self(*arguments, "--json", expected=expected).stdout)


@pytest.fixture(scope="module")
def rollouts(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A stage, and the command of the same operator."""
    account = operator(product, "rollouts@example.com")
    command = Command(product, tmp_path_factory.mktemp("home"))
    command("login", "--email", "rollouts@example.com", "--password-stdin", stdin=PASSWORD)
    with function_process("ota", "ota_tick", "http", product.cloud.env) as url:
        yield OtaStage(product, account, url), command


def test_an_operator_starts_watches_and_takes_back(rollouts: Any, tmp_path: Path) -> None:
    stage, command = rollouts
    bundle_id = stage.publish("1.0.0")
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN, encoding="utf-8")

    started = command("ota", "rollout", "start", bundle_id, "--plan", str(plan)).stdout
    assert f"{bundle_id} is production, offered to 100 % of its robots." in started
    robots = [stage.updater() for _ in range(2)]
    for robot in robots:
        robot.install(robot.check()["bundle"])
    stage.tick()

    seen = command("ota", "rollout", "status", bundle_id).stdout
    assert f"2 robots of {stage.model}: 2 healthy, 0 failed, 0 silent, 0 under way" in seen
    assert "The gate keeps watching:" in seen
    assert "0 of 2 installations failed" in seen
    # Everybody has it: a watch ends.
    watched = command("ota", "rollout", "status", bundle_id, "--watch", "--every", "1")
    assert f"{bundle_id} production 100 % healthy 2" in watched.stderr

    listed = command.document("ota", "rollout", "list", "--robot-model", stage.model)
    assert [one["bundle_id"] for one in listed["bundles"]] == [bundle_id]
    robot = command("ota", "rollout", "robot", robots[0].robot.id).stdout
    assert f"{robots[0].robot.id} runs 1.0.0 since" in robot
    assert "Nothing newer (up_to_date)" in robot

    assigned = command(
        "ota", "rollout", "assign", robots[0].robot.id, "--group", "lab", "--tag", "x"
    )
    assert f"{robots[0].robot.id} is in lab and has x." in assigned.stdout
    command("ota", "rollout", "assign", "nobody", "--group", "lab", expected=5)
    command("ota", "rollout", "assign", robots[0].robot.id, "--group", "/", expected=2)

    back = command("ota", "rollout", "rollback", bundle_id, "--yes", "--reason", "drops cups")
    assert "Robots that took it have no bundle to go back to." in back.stdout
    ended = command("ota", "rollout", "status", bundle_id, "--watch", expected=11)
    assert "rolled_back" in ended.stdout
    assert "drops cups" in ended.stdout


def test_what_is_not_possible_is_said_with_the_present_state(rollouts: Any) -> None:
    stage, command = rollouts
    bundle_id = stage.publish("2.0.0")
    refused = command("ota", "rollout", "advance", bundle_id, expected=6)
    assert "The rollout is staged; it cannot advance." in refused.stderr
    problem = command.document("ota", "rollout", "resume", bundle_id, expected=6)["error"]
    assert problem["code"] == "rollout.refused"
    command("ota", "rollout", "status", "nothing-1.0.0", expected=5)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ("stages: [{percentage: 50, soak: soon}]", "stages.0.soak: Value error, a duration is"),
        ("stages: [{percentage: 50}, {percentage: 20}]", "larger than the one before"),
        ("gates: {max_failures: 3}", "gates.max_failures: Extra inputs are not permitted"),
        ("a: [", "expected the node content"),
        ("just words", "plan: Input should be a valid dictionary"),
    ],
)
def test_a_plan_that_is_none_is_refused_before_anything_is_sent(
    rollouts: Any, tmp_path: Path, plan: str, words: str
) -> None:
    _, command = rollouts
    path = tmp_path / "plan.yaml"
    path.write_text(plan, encoding="utf-8")
    refused = command("ota", "rollout", "start", "any-1.0.0", "--plan", str(path), expected=2)
    assert words in refused.stderr


def test_a_person_without_the_claim_is_refused(product: Product, rollouts: Any) -> None:
    stage, _ = rollouts
    stranger = product.account()
    body = {"action": "start"}
    path = f"/api/ota/bundles/{stage.publish('3.0.0')}"
    for response in (
        stranger.call("GET", "/api/ota/bundles"),
        stranger.call("GET", path),
        stranger.call("GET", f"{path}/rollout"),
        stranger.call("POST", f"{path}/rollout", json=body),
        stranger.call("PUT", "/api/ota/robots/any/membership", json={"groups": ["x"]}),
        stranger.call("POST", "/api/ota/metadata", json={"files": {"1.root.json": "e30="}}),
    ):
        stage.refused(response, 403, "auth.operator_required")
    robot = stage.updater().robot
    stage.refused(robot.call("GET", "/api/ota/bundles"), 403, "auth.forbidden")
    stage.refused(
        stranger.call("POST", "/api/ota/check", json={"software_version": "1.0"}),
        403,
        "auth.forbidden",
    )
    stage.refused(stranger.call("GET", f"/api/ota/robots/{robot.id}"), 404, "robot.not_found")
