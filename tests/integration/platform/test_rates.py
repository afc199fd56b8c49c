"""One caller that asks without pause is told to wait; nobody else notices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.cloud import firestore

from continuon.auth.keys import public_jwk
from devices import Device
from function_processes import function_process
from product import problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROJECT = "demo-rates"
_PATH = "/api/rlds/ingest"
_ALLOWED = 4
_BODY = {"episode_ref": "episodes/raw/nobody/ep_none"}
"""Refused with 403 or 404: what is counted is the request, whatever its answer."""


@pytest.fixture(scope="module")
def url(firestore_host: str) -> Iterator[str]:
    environment = {
        "GOOGLE_CLOUD_PROJECT": _PROJECT,
        "FIRESTORE_EMULATOR_HOST": firestore_host,
        "CONTINUON_REQUESTS_PER_MINUTE": str(_ALLOWED),
    }
    with function_process("rlds", "ingest", "http", environment) as address:
        yield address


def _claimed(robot_id: str, monkeypatch: pytest.MonkeyPatch, host: str) -> Device:
    device = Device(robot_id)
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", host)
    documents: Any = firestore.Client(project=_PROJECT)
    robot = {
        "owner_id": "owner-1",
        "status": "claimed",
        "model": "arm",
        "public_key": public_jwk(device.key.public_key()),
    }
    documents.collection("robots").document(robot_id).set(robot)
    documents.close()
    return device


def _ask(url: str, device: Device, key_of: Device | None = None) -> httpx.Response:
    body, headers = (key_of or device).json("POST", _PATH, _BODY)
    if key_of is not None:
        signed = headers["Signature-Input"]
        headers["Signature-Input"] = signed.replace(key_of.robot_id, device.robot_id)
    return httpx.post(url + _PATH, content=body, headers=headers, timeout=60)


def test_a_caller_beyond_its_limit_is_told_how_long_to_wait(
    url: str, firestore_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = _claimed("robot-busy", monkeypatch, firestore_host)
    calm = _claimed("robot-calm", monkeypatch, firestore_host)
    # Three times the limit: a minute that ends meanwhile lets one more limit through.
    answers = [_ask(url, busy) for _ in range(3 * _ALLOWED)]
    assert all(answer.status_code in {403, 404, 429} for answer in answers)
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    problem(refused[-1], 429, "request.rate_limited")
    assert 0 < int(refused[-1].headers["retry-after"]) <= 60
    assert _ask(url, calm).status_code in {403, 404}


def test_a_forged_signature_uses_up_nobodys_limit(
    url: str, firestore_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = _claimed("robot-victim", monkeypatch, firestore_host)
    forger = Device("robot-forger")
    for _ in range(3 * _ALLOWED):
        problem(_ask(url, victim, forger), 401, "signature.invalid")
    assert _ask(url, victim).status_code in {403, 404}
