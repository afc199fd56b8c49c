"""The claim policy of production: only devices that their maker registered."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.cloud import firestore

from conftest import local_services
from continuon.auth.keys import public_jwk, thumbprint
from devices import Device
from function_processes import function_process
from product import problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLAIM = "/api/v1/robots/claim"


class _Stage:
    def __init__(self, url: str, auth: str, documents: Any) -> None:
        self._url = url
        self.documents = documents
        answer = httpx.post(
            f"{auth}/identitytoolkit.googleapis.com/v1/accounts:signUp?key=k",
            json={"email": "a@example.com", "password": "correct horse", "returnSecureToken": True},
            timeout=30,
        ).raise_for_status()
        self._account = answer.json()

    def claim(self, device: Device) -> httpx.Response:
        return httpx.post(
            self._url + _CLAIM,
            json={"proof": device.claim(self._account["localId"])},
            headers={"authorization": f"Bearer {self._account['idToken']}"},
            timeout=30,
        )

    def register(self, device: Device) -> None:
        jwk = public_jwk(device.key.public_key())
        reference = self.documents.collection("provisioned_devices").document(device.robot_id)
        reference.set({"key_thumbprint": thumbprint(jwk)})

    def stored(self) -> set[str]:
        return {
            snapshot.reference.path
            for collection in self.documents.collections()
            for snapshot in collection.stream()
            if collection.id != "provisioned_devices"
        }


@pytest.fixture(scope="module")
def stage() -> Iterator[_Stage]:
    with contextlib.ExitStack() as running:
        ports = running.enter_context(local_services("firestore", "auth"))
        environment = {
            "GOOGLE_CLOUD_PROJECT": "demo-continuon",
            "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{ports['firestore']}",
            "FIREBASE_AUTH_EMULATOR_HOST": f"127.0.0.1:{ports['auth']}",
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FIRESTORE_EMULATOR_HOST", environment["FIRESTORE_EMULATOR_HOST"])
            documents: Any = firestore.Client(project="demo-continuon")
        running.callback(documents.close)
        url = running.enter_context(function_process("fleet", "fleet_api", "http", environment))
        yield _Stage(url, f"http://127.0.0.1:{ports['auth']}", documents)


def test_an_unregistered_device_is_not_claimable_and_nothing_is_written(stage: _Stage) -> None:
    before = stage.stored()
    problem(stage.claim(Device("unknown-device")), 403, "claim.device_not_provisioned")
    assert stage.stored() == before


def test_a_registered_device_with_another_key_is_not_claimable(stage: _Stage) -> None:
    stage.register(Device("registered-1"))
    before = stage.stored()
    problem(stage.claim(Device("registered-1")), 403, "claim.device_not_provisioned")
    assert stage.stored() == before


def test_a_registered_device_with_its_key_is_claimed(stage: _Stage) -> None:
    device = Device("registered-2")
    stage.register(device)
    answer = stage.claim(device)
    assert answer.status_code == 201, answer.text
    assert answer.json()["robot_id"] == "registered-2"
