"""Whose is whose: other owners see nothing, and a robot that changes hands starts anew."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest

from devices import Device
from product import Account, Product, Robot, problem
from small_episodes import SmallEpisode

_SIGNED_URL = "/api/rlds/signed-url"
_NONCES = frozenset({"nonces"})


@pytest.fixture
def stranger(product: Product) -> Account:
    return product.account()


def test_another_robots_episode_id_is_taken_and_nothing_is_overwritten(
    product: Product, robot: Robot, stranger: Account
) -> None:
    episode_id = "ep_owned"
    data = SmallEpisode().archive()
    robot.upload_archive(data, episode_id=episode_id)
    product.settled(episode_id)
    thieves = (stranger.robot(), robot.owner.robot())
    before = product.everything(without=_NONCES)
    for thief in thieves:
        request = {"episode_id": episode_id, "size_bytes": len(data)}
        body = problem(thief.call("POST", _SIGNED_URL, request), 409, "episode.id_taken")
        assert body["errors"][0]["path"] == "episode_id"
        assert "upload_url" not in body
    assert product.everything(without=_NONCES) == before


def test_an_episode_is_not_there_for_anyone_else(
    product: Product, robot: Robot, stranger: Account
) -> None:
    episode_id = "ep_hidden"
    grant = robot.upload_archive(SmallEpisode().archive(), episode_id=episode_id)
    product.settled(episode_id)
    before = product.everything(without=_NONCES)
    path = f"/api/v1/episodes/{episode_id}"
    for method, route in (
        ("GET", path),
        ("GET", f"{path}/report"),
        ("GET", f"{path}/download"),
        ("DELETE", path),
    ):
        refused = problem(stranger.call(method, route), 404, "episode.not_found")
        missing = stranger.call(method, route.replace(episode_id, "ep_nowhere"))
        assert problem(missing, 404, "episode.not_found")["detail"] == refused["detail"]
    request = {"episode_ref": grant["episode_ref"]}
    problem(stranger.call("POST", "/api/rlds/ingest", json=request), 404, "episode.not_found")
    other_robot = robot.owner.robot()
    problem(other_robot.ingest(grant), 404, "episode.not_found")
    after = product.everything(without=_NONCES | {"robots", "rcan_registry", "audit_log"})
    documents = {
        name: data
        for name, data in before[0].items()
        if not name.startswith(("robots/", "rcan_registry/", "audit_log/"))
    }
    assert after == (documents, before[1])


def test_a_robot_is_not_there_for_anyone_else(
    product: Product, robot: Robot, stranger: Account
) -> None:
    before = product.everything()
    for method, route in (("GET", ""), ("POST", "/revoke")):
        path = f"/api/v1/robots/{robot.id}{route}"
        problem(stranger.call(method, path), 404, "robot.not_found")
    problem(stranger.claim(robot.device), 409, "robot.already_claimed")
    assert stranger.call("GET", "/api/v1/robots").json()["robots"] == []
    assert product.everything() == before


def test_a_claim_proof_works_once_and_for_one_user(
    product: Product, owner: Account, stranger: Account
) -> None:
    device = Device("robot-claimed-once")
    proof = device.claim(owner.uid)
    before = product.everything()
    stolen = stranger.call("POST", "/api/v1/robots/claim", json={"proof": proof})
    problem(stolen, 400, "claim.invalid")
    assert product.everything() == before
    claim = {"json": {"proof": proof}}
    assert owner.call("POST", "/api/v1/robots/claim", **claim).status_code == 201
    bound = product.everything()
    again = owner.call("POST", "/api/v1/robots/claim", **claim)
    assert again.status_code == 201, "a request whose answer was lost may be repeated"
    assert product.everything() == bound, "and changes nothing"
    assert owner.call("POST", f"/api/v1/robots/{device.robot_id}/revoke").status_code == 200
    replayed = owner.call("POST", "/api/v1/robots/claim", **claim)
    assert replayed.status_code == 409


def test_of_two_people_who_claim_at_once_one_wins(
    product: Product, owner: Account, stranger: Account
) -> None:
    device = Device("robot-contested")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda who: who.claim(device), (owner, stranger) * 2))
    assert {answer.status_code for answer in answers} == {201, 409}
    (winner,) = {a.json()["owner_id"] for a in answers if a.status_code == 201}
    robots = product.firestore.collection("robots").document(device.robot_id).get()
    assert robots.get("owner_id") == winner


def test_a_revoked_key_stops_with_the_next_request(product: Product, robot: Robot) -> None:
    robot.grant(episode_id="ep_before_revoke")
    revoke = f"/api/v1/robots/{robot.id}/revoke"
    assert robot.owner.call("POST", revoke).json()["status"] == "revoked"
    before = product.everything()
    problem(robot.call("POST", _SIGNED_URL, {}), 401, "robot.unknown")
    problem(robot.call("GET", "/api/v1/episodes/ep_before_revoke"), 401, "robot.unknown")
    problem(robot.owner.call("POST", revoke), 404, "robot.not_found")
    assert product.everything() == before


def test_a_robot_that_changes_hands_takes_a_new_key_and_leaves_its_past(
    product: Product, robot: Robot, stranger: Account
) -> None:
    episode_id = "ep_of_the_former_owner"
    data = SmallEpisode().archive()
    robot.upload_archive(data, episode_id=episode_id)
    product.settled(episode_id)
    robot.owner.call("POST", f"/api/v1/robots/{robot.id}/revoke").raise_for_status()
    problem(stranger.claim(robot.device), 409, "claim.key_revoked")
    rotated = Device(robot.id)
    assert stranger.claim(rotated).status_code == 201
    theirs = Robot(product, rotated, stranger)
    # The former owner's key does not work, the new one does and sees nothing of before.
    problem(robot.call("POST", _SIGNED_URL, {}), 401, "signature.invalid")
    problem(theirs.call("GET", f"/api/v1/episodes/{episode_id}"), 404, "episode.not_found")
    problem(
        theirs.call("POST", _SIGNED_URL, {"episode_id": episode_id, "size_bytes": len(data)}),
        409,
        "episode.id_taken",
    )
    assert stranger.call("GET", "/api/v1/episodes").json()["episodes"] == []
    problem(stranger.call("GET", f"/api/v1/episodes/{episode_id}"), 404, "episode.not_found")
    assert robot.owner.call("GET", f"/api/v1/episodes/{episode_id}").status_code == 200
    theirs.upload_archive(data, episode_id="ep_of_the_new_owner")
    assert product.settled("ep_of_the_new_owner")["owner_id"] == stranger.uid


def test_the_public_listing_never_names_the_owner(product: Product, robot: Robot) -> None:
    listing = product.firestore.collection("rcan_registry").document(robot.id).get().to_dict()
    assert robot.owner.uid not in str(listing)
    assert "@" not in str(listing)


def test_an_account_sees_what_it_uses(robot: Robot) -> None:
    robot.grant(metadata={})
    body = robot.owner.call("GET", "/api/v1/auth/me").json()
    assert body["uid"] == robot.owner.uid
    assert (body["quota"]["robots_used"], body["quota"]["episodes_used"]) == (1, 1)
    assert body["roles"] == ["user"]


def test_an_account_whose_uid_no_document_can_carry_is_still_an_account(product: Product) -> None:
    now = int(time.time())
    project = product.cloud.env["GOOGLE_CLOUD_PROJECT"]
    claims = {
        "iss": f"https://securetoken.google.com/{project}",
        "aud": project,
        "sub": "tenant/ada",
        "user_id": "tenant/ada",
        "iat": now,
        "exp": now + 60,
        "auth_time": now,
        "firebase": {"identities": {}, "sign_in_provider": "custom"},
    }
    account = Account(product, "tenant/ada", jwt.encode(claims, "", algorithm="none"))
    me = account.call("GET", "/api/v1/auth/me")
    assert (me.status_code, me.json()["plan"]) == (200, "free")
    assert account.claim(Device("robot-of-slash")).status_code == 201
