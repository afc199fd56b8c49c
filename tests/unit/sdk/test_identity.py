from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from continuon.auth.claims import verify_claim
from continuon.auth.ruri import Ruri
from continuon.auth.signatures import SignedRequest, verify_request
from continuon_cloud.errors import IdentityError, IdentityMissingError, SettingsError
from continuon_cloud.identity import RobotHome

if TYPE_CHECKING:
    from pathlib import Path

RURI = Ruri("continuon.cloud", "acme", "companion-v1", "14d4b680")
OTHER = Ruri("continuon.cloud", "acme", "companion-v1", "feed0001")
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_key_and_its_folder_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        RobotHome(tmp_path / "home").create(RURI)
    finally:
        os.umask(before)
    folder = tmp_path / "home" / "robots" / "14d4b680"

    assert (mode(folder), mode(folder / "device_key.pem")) == (0o700, 0o600)


def test_key_is_never_replaced_without_being_asked(tmp_path: Path) -> None:
    home = RobotHome(tmp_path)
    first = home.create(RURI)
    with pytest.raises(IdentityError) as refusal:
        home.create(RURI)

    assert refusal.value.code == "identity.exists"
    assert home.load().key_thumbprint == first.key_thumbprint


def test_rotation_replaces_the_key(tmp_path: Path) -> None:
    home = RobotHome(tmp_path)
    first = home.create(RURI)
    second = home.create(RURI, rotate=True)

    assert second.key_thumbprint != first.key_thumbprint
    assert home.load().key_thumbprint == second.key_thumbprint


@pytest.mark.parametrize("permissions", [0o640, 0o604, 0o660, 0o644])
def test_key_that_others_can_read_is_refused(permissions: int, tmp_path: Path) -> None:
    home = RobotHome(tmp_path)
    home.create(RURI)
    (tmp_path / "robots" / "14d4b680" / "device_key.pem").chmod(permissions)
    with pytest.raises(SettingsError) as refusal:
        home.load()

    assert refusal.value.code == "identity.permissions"


def test_key_behind_a_link_is_refused(tmp_path: Path) -> None:
    home = RobotHome(tmp_path)
    home.create(RURI)
    key = tmp_path / "robots" / "14d4b680" / "device_key.pem"
    key.rename(tmp_path / "elsewhere.pem")
    key.symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(SettingsError):
        home.load()


def test_another_ruri_with_the_same_device_id_is_refused(tmp_path: Path) -> None:
    home = RobotHome(tmp_path)
    home.create(RURI)
    with pytest.raises(IdentityError) as refusal:
        home.create(Ruri("other.example", "acme", "companion-v1", "14d4b680"), rotate=True)

    assert refusal.value.code == "identity.exists"
    assert home.load().ruri == RURI


def test_several_robots_live_in_one_home_and_must_be_named(tmp_path: Path) -> None:
    home = RobotHome(tmp_path)
    home.create(RURI)
    home.create(OTHER)
    with pytest.raises(IdentityMissingError) as refusal:
        home.load()

    assert refusal.value.code == "identity.ambiguous"
    assert home.load("feed0001").ruri == OTHER


@pytest.mark.parametrize("robot_id", ["../14d4b680", "", "a/b", "missing"])
def test_unknown_or_hostile_robot_id_finds_nothing(robot_id: str, tmp_path: Path) -> None:
    with pytest.raises(IdentityMissingError):
        RobotHome(tmp_path).load(robot_id)


@pytest.mark.parametrize("content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\n"])
def test_damaged_key_is_a_clear_refusal(content: bytes, tmp_path: Path) -> None:
    home = RobotHome(tmp_path)
    home.create(RURI)
    (tmp_path / "robots" / "14d4b680" / "device_key.pem").write_bytes(content)
    with pytest.raises(IdentityError):
        home.load()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"ruri": 3}', '{"ruri": "rcan://x"}'])
def test_damaged_description_is_a_clear_refusal(content: str, tmp_path: Path) -> None:
    home = RobotHome(tmp_path)
    home.create(RURI)
    (tmp_path / "robots" / "14d4b680" / "robot.json").write_text(content)
    with pytest.raises(IdentityError):
        home.load()


def test_crash_between_description_and_key_can_be_repeated(tmp_path: Path) -> None:
    home = RobotHome(tmp_path)
    home.create(RURI)
    (tmp_path / "robots" / "14d4b680" / "device_key.pem").unlink()

    assert home.create(RURI).robot_id == "14d4b680"


def test_private_key_appears_in_no_representation(tmp_path: Path) -> None:
    robot = RobotHome(tmp_path).create(RURI)

    assert "key" not in repr(robot).replace("key_thumbprint", "")


def test_signatures_and_claims_pass_the_services_own_checks(tmp_path: Path) -> None:
    robot = RobotHome(tmp_path).create(RURI)
    target = "/api/rlds/signed-url?x=1"
    headers = dict(robot.sign("POST", target, b"{}", headers={}, now=NOW))
    request = SignedRequest("POST", target, headers, b"{}")
    proof = verify_request(request, key_id="14d4b680", key=robot.key.public_key(), now=NOW)
    claim = verify_claim(robot.claim_proof("u1", now=NOW), user_id="u1", now=NOW)

    assert proof.created == NOW
    assert (claim.ruri, claim.key_thumbprint) == (RURI, robot.key_thumbprint)
