"""Decisions about robots: claim, quota, provisioning, revoke."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from continuon import limits
from continuon.auth.claims import ClaimProof, verify_claim
from continuon.contracts.robots import RobotStatus
from continuon.errors import ProblemError
from continuon_fleet import service
from devices import Device

if TYPE_CHECKING:
    from continuon_fleet.records import RobotRecord

NOW = datetime(2026, 1, 4, 12, 0, 0, tzinfo=UTC)
DEVICE = Device()


def proof(device: Device = DEVICE, user_id: str = "owner-1") -> ClaimProof:
    return verify_claim(device.claim(user_id, NOW), user_id=user_id, now=NOW)


def claimed(device: Device = DEVICE, user_id: str = "owner-1") -> RobotRecord:
    return service.claim(proof(device, user_id), None, name="Ada", now=NOW)


def test_a_claim_binds_robot_key_and_owner() -> None:
    record = claimed()
    assert record.status is RobotStatus.CLAIMED
    assert record.owner_id == "owner-1"
    assert record.robot_id == record.device_id == DEVICE.robot_id
    assert record.ruri == str(DEVICE.ruri)
    assert (record.manufacturer, record.model) == ("acme", "arm")
    assert record.key_thumbprint == proof().key_thumbprint
    assert record.name == "Ada"
    assert record.claimed_at == NOW


def test_a_robot_without_a_name_is_called_by_its_device_id() -> None:
    assert service.claim(proof(), None, name=None, now=NOW).name == DEVICE.robot_id


@pytest.mark.parametrize("user_id", ["owner-1", "owner-2"])
def test_a_claimed_robot_is_not_claimable(user_id: str) -> None:
    record, wanted = claimed(), proof(user_id=user_id)
    with pytest.raises(ProblemError) as caught:
        service.claim(wanted, record, name=None, now=NOW)
    assert (caught.value.type.code, caught.value.type.status) == ("robot.already_claimed", 409)


def test_only_the_same_owner_and_key_count_as_bound() -> None:
    record = claimed()
    assert service.is_bound(record, proof())
    assert not service.is_bound(record, proof(user_id="owner-2"))
    assert not service.is_bound(record, proof(Device(DEVICE.robot_id)))
    assert not service.is_bound(service.revoke(record), proof())


def test_a_revoked_robot_has_no_owner_and_no_key() -> None:
    revoked = service.revoke(claimed())
    assert revoked.status is RobotStatus.REVOKED
    assert revoked.owner_id is None
    assert revoked.public_key is None
    assert revoked.key_thumbprint is None
    assert revoked.revoked_thumbprints == [proof().key_thumbprint]


def test_revoking_twice_changes_nothing() -> None:
    revoked = service.revoke(claimed())
    assert service.revoke(revoked) == revoked


@pytest.mark.parametrize("user_id", ["owner-1", "owner-2"])
def test_a_former_owners_key_is_never_bound_again(user_id: str) -> None:
    revoked, wanted = service.revoke(claimed()), proof(user_id=user_id)
    with pytest.raises(ProblemError) as caught:
        service.claim(wanted, revoked, name=None, now=NOW)
    assert (caught.value.type.code, caught.value.type.status) == ("claim.key_revoked", 409)


def test_a_rotated_key_is_bound_and_the_old_ones_stay_remembered() -> None:
    first, second = Device(), Device()
    revoked = service.revoke(claimed(first))
    again = service.claim(proof(second, "owner-2"), revoked, name=None, now=NOW)
    assert again.owner_id == "owner-2"
    assert again.status is RobotStatus.CLAIMED
    assert service.revoke(again).revoked_thumbprints == [
        proof(first).key_thumbprint,
        proof(second).key_thumbprint,
    ]


def test_a_provisioned_device_with_its_key_is_accepted() -> None:
    service.check_provisioned(proof().key_thumbprint, proof())


@pytest.mark.parametrize("registered", [None, "", "another"])
def test_an_unknown_device_and_another_key_get_one_answer(registered: str | None) -> None:
    wanted = proof()
    with pytest.raises(ProblemError) as caught:
        service.check_provisioned(registered, wanted)
    assert caught.value.type.code == "claim.device_not_provisioned"
    assert caught.value.type.status == 403


def test_the_last_robot_of_a_plan_fits() -> None:
    service.check_quota(limits.PLANS["free"].robots - 1, "free")


@pytest.mark.parametrize("plan", ["free", "unheard of", ""])
def test_one_robot_more_than_the_plan_is_refused(plan: str) -> None:
    used = limits.PLANS["free"].robots
    with pytest.raises(ProblemError) as caught:
        service.check_quota(used, plan)
    assert caught.value.type.code == "quota.robots"


def test_a_larger_plan_allows_more() -> None:
    service.check_quota(limits.PLANS["free"].robots, "fleet")
