"""From a key ceremony to a robot that goes back: every step by the commands that people type."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from conftest import run_local_cloud
from continuon_cloud.cli import run
from continuon_cloud.client import ContinuonClient
from continuon_cloud.models import register_model
from continuon_cloud.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import LocalCloudProcess

pytestmark = pytest.mark.timeout(400)
MODEL = "companion-v1"
PASSWORD = "correct horse"
PLAN = "stages:\n  - {percentage: 100, soak: 0, min_sample: 1}\n"
AGENT = ("ota", "agent", "--once", "--software-version", "1.2.0", "--assume-ready")


class Person:
    """Somebody at a terminal."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capsys = capsys

    def try_(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Run a command; return exit code and answer."""
        self._capsys.readouterr()
        status = run([*words, "--json"])
        answer: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return status, answer

    def run(self, *words: str) -> dict[str, Any]:
        """Run a command that succeeds; return its answer."""
        status, answer = self.try_(*words)
        assert status == 0, answer
        return answer

    def keys(self, *words: str) -> dict[str, Any]:
        """Run a command that needs the folder of keys."""
        return self.run("ota", *words, "--keys", str(self.home / "keys"))

    def robot(self, robot_id: str) -> None:
        """Make a robot, claim it and pin the root."""
        self.run("robot", "init", "--ruri", f"rcan://continuon.cloud/acme/{MODEL}/{robot_id}")
        self.run("robot", "claim", "--robot", robot_id)
        root = self.home / "keys" / "metadata" / "1.root.json"
        self.run("ota", "trust", str(root), "--robot", robot_id)

    def agent(self, robot_id: str, *words: str) -> dict[str, Any]:
        """Let a robot do one round."""
        return self.try_(*AGENT, "--robot", robot_id, *words)[1]

    def start(self, bundle_id: str) -> None:
        """Offer a bundle to every robot."""
        plan = self.home / "plan.yaml"
        plan.write_text(PLAN)
        self.run("ota", "rollout", "start", bundle_id, "--plan", str(plan))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything of this module's one person is kept."""
    return tmp_path_factory.mktemp("desk")


@pytest.fixture(scope="module")
def cloud(desk: Path) -> Iterator[LocalCloudProcess]:
    """A cloud that holds the online key of a ceremony."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CONTINUON_OTA_PASSPHRASE", "correct horse")
        environment.setenv("CONTINUON_HOME", str(desk / "home"))
        keys = str(desk / "keys")
        assert run(["ota", "keys", "init", "--robot-model", MODEL, "--keys", keys]) == 0
        online = desk / "keys" / "keys" / "online.pem"
        environment.setenv("CONTINUON_OTA_SNAPSHOT_KEY", f"file2:{online}")
        with run_local_cloud() as running:
            for name, value in running.env.items():
                environment.setenv(name, value)
            yield running


@pytest.fixture(scope="module")
def operator(cloud: LocalCloudProcess) -> str:
    """The address of an operator's account."""
    accounts = f"{cloud.urls['auth']}/identitytoolkit.googleapis.com/v1/accounts"
    who = {"email": "operator@example.com", "password": PASSWORD}
    made = httpx.post(f"{accounts}:signUp?key=k", json=who, timeout=60).raise_for_status()
    claims = {"localId": made.json()["localId"], "customAttributes": '{"operator": true}'}
    owner = {"authorization": "Bearer owner"}
    httpx.post(
        f"{accounts}:update?key=k", json=claims, headers=owner, timeout=60
    ).raise_for_status()
    return who["email"]


@pytest.fixture
def person(
    operator: str,
    desk: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Person:
    """The operator, signed in."""
    signed_in = Person(desk, capsys)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: PASSWORD)
    signed_in.run("login", "--email", operator)
    return signed_in


def test_a_model_reaches_a_robot_under_signatures_and_is_taken_back(
    person: Person, tmp_path: Path
) -> None:
    artifact = tmp_path / "policy.npz"
    artifact.write_bytes(b"weights" * 5000)

    async def register() -> None:
        async with ContinuonClient(Settings.load()) as client:
            await register_model(client, "grasp", artifact, robot_model=MODEL)

    asyncio.run(register())
    release = ("--file", str(artifact), "--release", "1.0.0", "--robot-model", MODEL)
    status, answer = person.try_("ota", "publish", *release, "--keys", str(person.home / "keys"))
    assert (status, answer["error"]["code"]) == (8, "trust.unreachable")
    assert person.keys("keys", "upload")["files"][-1] == "timestamp.json"
    assert person.keys("keys", "upload")["files"] == []

    publish = ("publish", "--robot-model", MODEL, "--requires", ">=1.0.0")
    first = person.keys(*publish, "--model", "grasp", "--version", "1", "--release", "1.0.0")
    again = person.keys(*publish, "--model", "grasp", "--version", "1", "--release", "1.0.0")
    assert first == again
    person.robot("robot-1")
    assert person.agent("robot-1")["outcome"] == "no_rollout"
    person.start("companion-v1-1.0.0")
    assert person.agent("robot-1")["version"] == "1.0.0"
    runs = person.run("ota", "installed", "--robot", "robot-1")
    current = person.home / "home" / "ota" / "robot-1" / "current"
    assert (runs["path"], runs["reports_waiting"]) == (str(current), 0)
    assert (current / "policy.npz").read_bytes() == artifact.read_bytes()
    manifest = json.loads((current / "manifest.json").read_bytes())
    assert manifest["provenance"]["model_id"] == "grasp"

    root = str(person.home / "keys" / "metadata" / "1.root.json")
    fleet = ("--simulate", "3", "--rounds", "1", "--interval", "1", "--root", root)
    assert person.run("ota", "agent", *fleet)["versions"] == {"1.0.0": 3}

    artifact.write_bytes(b"worse" * 5000)
    second = person.keys(*publish, "--file", str(artifact), "--release", "1.1.0")
    assert second["fallback"] == ["1.0.0"]
    person.start("companion-v1-1.1.0")
    # One robot knows 1.0.0, the other one never ran it.
    person.robot("robot-2")
    for robot in ("robot-1", "robot-2"):
        assert person.agent(robot)["version"] == "1.1.0"
    person.run("ota", "rollout", "halt", "companion-v1-1.1.0", "--reason", "it drops cups")
    for robot in ("robot-1", "robot-2"):
        assert person.agent(robot)["version"] == "1.0.0"

    person.robot("robot-3")
    sick = person.agent("robot-3", "--health", "/bin/false")
    assert (sick["outcome"], sick["version"]) == ("failed", None)
    found = person.run("ota", "rollout", "robot", "robot-1")
    assert found["version"] == "1.0.0"

    # The online key and a root key are replaced; a robot that pinned the first root follows.
    pems = person.home / "keys" / "keys"
    for name in ("online", "root-1"):
        person.keys("keys", "rotate", name)
    (pems / "online.pem").write_bytes((pems / "online.v2.pem").read_bytes())
    published = person.keys("keys", "upload")["files"]
    assert {"2.root.json", "3.root.json", "timestamp.json"} <= set(published)
    assert person.agent("robot-3")["version"] == "1.0.0"
    history = person.home / "home" / "ota" / "robot-3" / "metadata" / "root_history"
    assert max(path.name for path in history.iterdir()) == "3.root.json"


def test_what_the_keys_do_not_cover_reaches_no_robot(person: Person, tmp_path: Path) -> None:
    artifact = tmp_path / "policy.npz"
    artifact.write_bytes(b"weights")
    folder = person.home / "keys"
    release = ("--file", str(artifact), "--release", "7.0.0", "--keys", str(folder))
    publish = ("ota", "publish", *release, "--robot-model")

    status, answer = person.try_(*publish, "arm-v2")
    assert (status, answer["error"]["code"]) == (8, "trust.not_delegated")
    person.keys("keys", "delegate", "arm-v2")
    status, answer = person.try_(*publish, "arm-v2")
    assert (status, answer["error"]["code"]) == (8, "trust.not_delegated")
    assert "keys upload" in answer["error"]["hint"]
    person.keys("keys", "upload")
    for bad in (("--requires", "^1.0"), ("--release", "latest"), ("--release", "1.0+lab")):
        assert person.try_(*publish, "arm-v2", *bad)[0] != 0

    # The key of the model is not here: nothing is signed, so nothing is published.
    key = folder / "keys" / "arm-v2.pem"
    hidden = key.rename(tmp_path / "elsewhere.pem")
    status, answer = person.try_(*publish, "arm-v2")
    assert (status, answer["error"]["code"]) == (8, "trust.unsigned")
    hidden.rename(key)
    assert person.run(*publish, "arm-v2")["version"] == "7.0.0"

    person.run("robot", "init", "--ruri", "rcan://continuon.cloud/acme/arm-v2/robot-9")
    person.run("robot", "claim", "--robot", "robot-9")
    person.start("arm-v2-7.0.0")
    status, answer = person.try_(*AGENT, "--robot", "robot-9")
    assert (status, answer["version"]) == (8, None)
    assert "no root of trust" in answer["detail"]
