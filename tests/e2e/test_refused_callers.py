"""Whoever proves nothing, or something wrong, gets a code, and nothing is written."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from continuon import limits
from devices import Device
from product import Account, Product, Robot, problem

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

PATH = "/api/rlds/signed-url"
_REQUEST = {"episode_id": "ep_refused", "content_type": "application/gzip"}
_NONCES = frozenset({"nonces"})


def send(product: Product, device: Device, document: Any = None) -> httpx.Response:
    body, headers = device.json("POST", PATH, document or _REQUEST)
    return product.http.post(PATH, content=body, headers=headers)


def unknown_robot(product: Product, _robot: Robot) -> httpx.Response:
    return send(product, Device("nobody-knows"))


def forged(product: Product, robot: Robot) -> httpx.Response:
    return send(product, Device(robot.id))


def wrong_robot(product: Product, robot: Robot) -> httpx.Response:
    """Sign with one robot's key in the name of another robot, which exists."""
    others = [name for name in product.documents() if name.startswith("robots/")]
    other = next(name for name in others if name != f"robots/{robot.id}")
    return send(product, replace(robot.device, robot_id=other.removeprefix("robots/")))


def changed_body(product: Product, robot: Robot) -> httpx.Response:
    _, headers = robot.device.json("POST", PATH, _REQUEST)
    return product.http.post(PATH, content=json.dumps({"episode_id": "ep_x"}), headers=headers)


def changed_body_and_digest(product: Product, robot: Robot) -> httpx.Response:
    _, headers = robot.device.json("POST", PATH, _REQUEST)
    body = json.dumps({"episode_id": "ep_x"}).encode()
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    headers["Content-Digest"] = f"sha-256=:{digest}:"
    return product.http.post(PATH, content=body, headers=headers)


def another_route(product: Product, robot: Robot) -> httpx.Response:
    body, headers = robot.device.json("POST", "/api/rlds/ingest", _REQUEST)
    return product.http.post(PATH, content=body, headers=headers)


def added_query(product: Product, robot: Robot) -> httpx.Response:
    body, headers = robot.device.json("POST", PATH, _REQUEST)
    return product.http.post(f"{PATH}?x=1", content=body, headers=headers)


def _signed_at(product: Product, robot: Robot, offset_s: int) -> httpx.Response:
    body = json.dumps(_REQUEST).encode()
    now = datetime.now(UTC) + timedelta(seconds=offset_s)
    headers = robot.device.headers("POST", PATH, body, now=now)
    headers["content-type"] = "application/json"
    return product.http.post(PATH, content=body, headers=headers)


def expired(product: Product, robot: Robot) -> httpx.Response:
    return _signed_at(product, robot, -limits.SIGNATURE_WINDOW_S - 5)


def from_the_future(product: Product, robot: Robot) -> httpx.Response:
    return _signed_at(product, robot, limits.SIGNATURE_WINDOW_S + 5)


def signed_by_nobody(product: Product, _robot: Robot) -> httpx.Response:
    return product.http.post(PATH, json=_REQUEST)


def malformed_signature(product: Product, _robot: Robot) -> httpx.Response:
    headers = {"signature": "x", "signature-input": "(((", "content-type": "application/json"}
    return product.http.post(PATH, content=json.dumps(_REQUEST), headers=headers)


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        (unknown_robot, "robot.unknown"),
        (forged, "signature.invalid"),
        (wrong_robot, "signature.invalid"),
        (changed_body, "signature.invalid"),
        (changed_body_and_digest, "signature.invalid"),
        (another_route, "signature.invalid"),
        (added_query, "signature.invalid"),
        (malformed_signature, "signature.invalid"),
        (expired, "signature.expired"),
        (from_the_future, "signature.expired"),
        (signed_by_nobody, "auth.credentials_missing"),
    ],
)
def test_a_request_without_a_valid_proof_writes_nothing(
    attack: Callable[[Product, Robot], httpx.Response],
    code: str,
    product: Product,
    robot: Robot,
) -> None:
    robot.owner.robot()
    before = product.everything()
    response = attack(product, robot)
    body = problem(response, 401, code)
    assert response.headers["www-authenticate"]
    assert body["trace_id"]
    assert product.everything() == before


def test_a_replayed_request_writes_nothing(product: Product, robot: Robot) -> None:
    body, headers = robot.device.json("POST", PATH, {"metadata": {}})
    first = product.http.post(PATH, content=body, headers=headers)
    assert first.status_code == 200, first.text
    before = product.everything()
    problem(product.http.post(PATH, content=body, headers=headers), 401, "signature.replayed")
    assert product.everything() == before


def test_a_body_that_names_another_robot_writes_nothing(product: Product, robot: Robot) -> None:
    other = robot.owner.robot()
    before = product.everything(without=_NONCES)
    response = send(product, robot.device, {**_REQUEST, "robot_id": other.id})
    body = problem(response, 403, "episode.robot_mismatch")
    assert body["errors"][0]["path"] == "robot_id"
    assert product.everything(without=_NONCES) == before


def test_a_person_may_not_upload_for_anothers_robot(product: Product, robot: Robot) -> None:
    stranger = product.account()
    before = product.everything()
    for robot_id in (robot.id, "does-not-exist"):
        response = stranger.call("POST", PATH, json={**_REQUEST, "robot_id": robot_id})
        problem(response, 403, "episode.robot_mismatch")
    assert product.everything() == before


def test_a_robot_may_not_use_a_route_for_people(robot: Robot) -> None:
    problem(robot.call("GET", "/api/v1/robots"), 403, "auth.forbidden")
    problem(robot.call("GET", "/api/v1/episodes"), 403, "auth.forbidden")


def _changed_token(token: str, **changes: Any) -> str:
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    text = json.dumps({**claims, **changes}).encode()
    return f"{header}.{base64.urlsafe_b64encode(text).decode().rstrip('=')}.{signature}"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda _token: "garbage",
        lambda _token: "a.b.c",
        lambda _token: "e30.e30.",
        lambda _token: f"{base64.urlsafe_b64encode(b'[' * 20_000).decode()}.e30.",
        lambda token: token[: len(token) // 2],
        lambda token: _changed_token(token, exp=1),
        lambda token: _changed_token(token, exp="never"),
        lambda token: _changed_token(token, aud="another-project"),
        lambda token: _changed_token(token, sub=""),
        lambda token: _changed_token(token, sub=None),
        lambda token: _changed_token(token, iss="https://securetoken.google.com/other"),
    ],
    ids=[
        "garbage",
        "no json",
        "no claims",
        "deep",
        "cut",
        "expired",
        "never expires",
        "audience",
        "no subject",
        "null subject",
        "issuer",
    ],
)
def test_a_wrong_id_token_is_refused(
    wrong: Callable[[str], str], product: Product, owner: Account
) -> None:
    before = product.everything()
    impostor = replace(owner, token=wrong(owner.token))
    for path in ("/api/v1/robots", "/api/v1/episodes", "/api/v1/auth/me"):
        problem(impostor.call("GET", path), 401, "auth.token_invalid")
    assert product.everything() == before


def test_a_request_without_a_proof_is_challenged(product: Product) -> None:
    for path in ("/api/v1/robots", "/api/v1/episodes", "/api/v1/auth/me"):
        problem(product.http.get(path), 401, "auth.credentials_missing")
