"""Key ceremonies on disk, by the commands that people type."""

from __future__ import annotations

import json
import shutil
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from continuon.ota.trust import repository
from continuon.ota.trust.signers import OnlineSigners, load_signer
from continuon_cloud.cli import run

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "companion-v1"


class Desk:
    """A folder of keys, the commands, and a cloud that judges what comes out of them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.cloud: dict[str, bytes] = {}
        self._capsys = capsys

    def run(self, *words: str) -> dict[str, Any]:
        """Run a command that succeeds; return what it printed."""
        status, answer = self.try_(*words)
        assert status == 0, answer
        return answer

    def try_(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Run a command; return exit code and answer."""
        self._capsys.readouterr()
        folder = [] if words[0] == "sign" else ["--keys", str(self.folder)]
        status = run(["ota", "keys", *words, *folder, "--json"])
        answer: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return status, answer

    def key(self, name: str) -> Path:
        return self.folder / "keys" / f"{name}.pem"

    def role(self, name: str) -> dict[str, Any]:
        """Return one role as `keys status` shows it."""
        (found,) = (one for one in self.run("status")["roles"] if one["role"] == name)
        assert isinstance(found, dict)
        return found

    def upload(self, online: str = "online") -> list[str]:
        """Publish everything as the cloud would with this online key."""
        files = {path.name: path.read_bytes() for path in (self.folder / "metadata").glob("*.json")}
        signer = load_signer(f"file2:{self.key(online)}")
        now = datetime.now(UTC)
        written = repository.publish(self.cloud.get, files, OnlineSigners(signer, signer), now)
        self.cloud.update(written)
        return list(written)


@pytest.fixture(scope="module")
def ceremony(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `keys init` leaves it; made once, because keys are encrypted slowly."""
    folder = tmp_path_factory.mktemp("ceremony") / "ota-keys"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CONTINUON_OTA_PASSPHRASE", "correct horse")
        assert run(["ota", "keys", "init", "--robot-model", MODEL, "--keys", str(folder)]) == 0
    return folder


@pytest.fixture
def desk(
    ceremony: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    """A copy of it, at somebody's desk."""
    monkeypatch.setenv("CONTINUON_OTA_PASSPHRASE", "correct horse")
    return Desk(shutil.copytree(ceremony, tmp_path / "ota-keys"), capsys)


def test_a_ceremony_makes_keys_and_metadata_that_the_cloud_accepts(desk: Desk) -> None:
    assert desk.upload()[-1] == "timestamp.json"
    assert desk.role("root")["threshold"] == 2
    assert desk.role(MODEL)["missing"] == []


def test_keys_are_for_their_owner_only_and_encrypted(desk: Desk) -> None:
    names = sorted(path.stem for path in (desk.folder / "keys").iterdir())
    assert names == [MODEL, "online", "root-1", "root-2", "root-3", "targets"]
    for name in names:
        assert stat.S_IMODE(desk.key(name).stat().st_mode) == 0o600
        assert (b"ENCRYPTED" in desk.key(name).read_bytes()) == (name != "online")


def test_a_second_ceremony_does_not_overwrite_the_first(desk: Desk) -> None:
    status, answer = desk.try_("init", "--robot-model", MODEL)
    assert (status, answer["error"]["code"]) == (6, "identity.exists")


def test_a_key_that_others_can_read_is_not_used(desk: Desk) -> None:
    desk.key("targets").chmod(0o644)
    status, answer = desk.try_("delegate", "arm-v2")
    assert (status, answer["error"]["code"]) == (3, "trust.key_exposed")


def test_a_wrong_passphrase_changes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(desk.folder.rglob("*"))
    monkeypatch.setenv("CONTINUON_OTA_PASSPHRASE", "wrong")
    status, answer = desk.try_("rotate", "root-2")
    assert (status, answer["error"]["code"]) == (3, "trust.passphrase")
    assert sorted(desk.folder.rglob("*")) == before


@pytest.mark.parametrize("name", ["root-2", "targets", MODEL])
def test_a_rotated_key_is_replaced_everywhere(desk: Desk, name: str) -> None:
    desk.upload()
    desk.run("rotate", name)
    desk.upload()
    role = "root" if name == "root-2" else name
    keys = desk.role(role)["keys"]
    assert f"{name}.v2" in keys
    assert name not in keys
    desk.run("rotate", f"{name}.v2")
    desk.upload()
    assert f"{name}.v3" in desk.role(role)["keys"]


def test_a_rotated_online_key_signs_what_the_cloud_renews(desk: Desk) -> None:
    desk.upload()
    desk.run("rotate", "online")
    assert desk.run("status")["online_keys"] == ["online.v2"]
    assert desk.upload("online.v2")[-1] == "timestamp.json"


def test_a_root_key_is_revoked_while_enough_are_left(desk: Desk) -> None:
    desk.run("revoke", "root-3", "--yes")
    assert desk.role("root")["keys"] == ["root-1", "root-2"]
    desk.upload()
    status, answer = desk.try_("revoke", "root-2", "--yes")
    assert (status, answer["error"]["code"]) == (8, "trust.keys")


def test_a_key_that_nobody_has_is_not_found(desk: Desk) -> None:
    status, answer = desk.try_("rotate", "root-9")
    assert (status, answer["error"]["code"]) == (5, "queue.not_found")
    assert "root-1" in answer["error"]["detail"]


def test_a_new_robot_model_gets_a_key_of_its_own(desk: Desk) -> None:
    desk.upload()
    desk.run("delegate", "arm-v2")
    assert "1.arm-v2.json" in desk.upload()
    assert desk.try_("delegate", "arm-v2")[0] == 8


@pytest.mark.parametrize(
    "wrong",
    [
        ["--robot-model", "root"],
        ["--robot-model", "online"],
        ["--robot-model", MODEL, "--root-threshold", "5"],
        ["--robot-model", MODEL, "--online", "file2:/x"],
        ["--robot-model", MODEL, "--online", "gcpkms:projects/p"],
    ],
)
def test_a_ceremony_that_is_refused_leaves_no_key_behind(
    desk: Desk, tmp_path: Path, wrong: list[str]
) -> None:
    desk.folder = tmp_path / "another"
    assert desk.try_("init", *wrong)[0] != 0
    assert not list(desk.folder.rglob("*.pem"))
    desk.run("init", "--robot-model", MODEL, "--no-passphrase")


@pytest.mark.parametrize(
    "name", ["root", "Snapshot", "../up", "a/b", "", "online", "root-1", "targets.v2"]
)
def test_a_robot_model_with_a_dangerous_name_is_refused(desk: Desk, name: str) -> None:
    assert desk.try_("delegate", name)[0] != 0
    assert desk.role("targets")["version"] == 1


@pytest.mark.parametrize("role", ["root", "targets", MODEL])
def test_a_role_is_renewed_before_it_expires(desk: Desk, role: str) -> None:
    desk.upload()
    desk.run("renew", role)
    assert desk.role(role)["version"] == 2
    desk.upload()


def test_signatures_are_collected_from_several_machines(desk: Desk, tmp_path: Path) -> None:
    desk.upload()
    away = tmp_path / "away"
    away.mkdir()
    for name in ("root-2", "root-3"):
        shutil.move(desk.key(name), away / f"{name}.pem")
    answer = desk.run("renew", "root")
    assert answer["missing"]["root"][0]["count"] == 1
    # A draft is no ground to build on, and the cloud does not take it.
    assert desk.try_("renew", "root")[1]["error"]["code"] == "trust.unsigned"
    travelling = tmp_path / "2.root.json"
    shutil.copy(desk.folder / "metadata" / "2.root.json", travelling)
    desk.run("sign", str(travelling), "--key", str(away / "root-3.pem"))
    shutil.copy(travelling, desk.folder / "metadata" / "2.root.json")
    assert desk.role("root")["missing"] == []
    assert "2.root.json" in desk.upload()


def test_a_passphrase_can_come_from_an_owner_only_file(desk: Desk, tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    secret.chmod(0o644)
    assert desk.try_("renew", "root", "--passphrase-file", str(secret))[0] == 9
    secret.chmod(0o600)
    desk.run("renew", "root", "--passphrase-file", str(secret))
