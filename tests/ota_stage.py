"""Over the air on a local cloud: an operator, bundles that are uploaded, robots that ask."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from continuon.ota.bundle import write_bundle
from continuon.ota.manifest import BundleFile, FileRole, new_manifest
from product import Account, Product, Robot, problem, store, wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from continuon.ota.manifest import BundleManifest

__all__ = ["IDLE", "PASSWORD", "PLAN", "OtaStage", "Updater", "operator", "sample_bundle"]

_NUMBERS = itertools.count(1)

IDLE = {
    "idle": True,
    "docked": True,
    "battery_percent": 80,
    "in_remote_session": False,
    "free_bytes": 10**9,
}
PLAN = {
    "stages": [
        {"percentage": 50, "soak": 0, "min_sample": 1},
        {"percentage": 100, "soak": 0, "min_sample": 1},
    ]
}
"""Two stages that do not wait."""


def sample_bundle(
    robot_model: str, version: str, weights: bytes = b"weights"
) -> tuple[BundleManifest, bytes]:
    """Return a manifest and its archive."""
    digest = hashlib.sha256(weights).hexdigest()
    file = BundleFile(path="model.npz", size_bytes=len(weights), sha256=digest, role=FileRole.MODEL)
    manifest = new_manifest(
        version=version, robot_model=robot_model, files=[file], requires_version=">=1.0"
    )
    out = io.BytesIO()
    write_bundle(manifest, lambda _path: io.BytesIO(weights), out)
    return manifest, out.getvalue()


PASSWORD = "correct horse"


def operator(product: Product, email: str | None = None) -> Account:
    """Sign up a person, give the claim, and sign in again so that the token carries it."""
    who = {"email": email or f"operator-{next(_NUMBERS)}@example.com", "password": PASSWORD}
    auth = f"{product.cloud.urls['auth']}/identitytoolkit.googleapis.com/v1/accounts"

    def call(method: str, body: Mapping[str, Any], **headers: str) -> dict[str, Any]:
        answer = httpx.post(f"{auth}:{method}?key=k", json=body, headers=headers, timeout=60)
        document: dict[str, Any] = answer.raise_for_status().json()
        return document

    uid = call("signUp", {**who, "returnSecureToken": True})["localId"]
    claims = json.dumps({"operator": True})
    call("update", {"localId": uid, "customAttributes": claims}, authorization="Bearer owner")
    signed_in = call("signInWithPassword", {**who, "returnSecureToken": True})
    return Account(product, uid, signed_in["idToken"])


@dataclass
class Updater:
    """A robot that checks and reports, with its own sequence."""

    robot: Robot
    version: str | None = None
    bundle_id: str | None = None
    sequence: int = 0

    def check(self, **changes: Any) -> dict[str, Any]:
        """Ask whether there is something to install."""
        document = {
            "version": self.version,
            "bundle_id": self.bundle_id,
            "software_version": "1.2.0",
            "state": IDLE,
            **changes,
        }
        response = self.robot.call("POST", "/api/ota/check", document)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def report(self, bundle_id: str, phase: str, **changes: Any) -> httpx.Response:
        """Say how it goes."""
        self.sequence += 1
        document = {
            "bundle_id": bundle_id,
            "sequence": self.sequence,
            "phase": phase,
            "version": self.version,
            **changes,
        }
        return self.robot.call("POST", "/api/ota/report", document)

    def install(self, offered: Mapping[str, Any]) -> bytes:
        """Download and install an offered bundle, and report each phase; return its bytes."""
        archive = httpx.get(offered["url"], timeout=60).raise_for_status().content
        assert hashlib.sha256(archive).hexdigest() == offered["sha256"]
        for phase in ("downloading", "verified", "installed"):
            assert self.report(offered["bundle_id"], phase).json()["applied"]
        self.version, self.bundle_id = offered["version"], offered["bundle_id"]
        assert self.report(offered["bundle_id"], "healthy").json()["applied"]
        return archive


@dataclass
class OtaStage:
    """One robot model of its own on a running product."""

    product: Product
    operator: Account
    tick_url: str
    model: str = field(default_factory=lambda: f"companion-{next(_NUMBERS)}")

    def publish(self, version: str) -> str:
        """Announce a bundle and upload its archive; return its id."""
        manifest, archive = sample_bundle(self.model, version)
        sha256 = hashlib.sha256(archive).hexdigest()
        body = {
            "manifest": manifest.model_dump(mode="json"),
            "archive": {"size_bytes": len(archive), "sha256": sha256},
        }
        created = self.operator.call("POST", "/api/ota/bundles", json=body)
        assert created.status_code == 201, created.text
        store(created.json()["upload"], archive).raise_for_status()
        bundle_id: str = created.json()["bundle"]["bundle_id"]
        return bundle_id

    def act(self, bundle_id: str, action: str, **request: Any) -> httpx.Response:
        """Ask for a change of a rollout."""
        path = f"/api/ota/bundles/{bundle_id}/rollout"
        return self.operator.call("POST", path, json={"action": action, **request})

    def start(self, bundle_id: str, **plan: Any) -> dict[str, Any]:
        """Start a rollout; return the bundle."""
        response = self.act(bundle_id, "start", plan={**PLAN, **plan})
        assert response.status_code == 200, response.text
        bundle: dict[str, Any] = response.json()
        return bundle

    def rollout(self, bundle_id: str) -> dict[str, Any]:
        """Return a rollout as it stands."""
        response = self.operator.call("GET", f"/api/ota/bundles/{bundle_id}/rollout")
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()
        return document

    def until(self, bundle_id: str, status: str) -> dict[str, Any]:
        """Let ticks pass until the rollout is in ``status``, and return it."""

        def find() -> dict[str, Any] | None:
            found = self.rollout(bundle_id)
            if found["rollout"]["status"] == status:
                return found
            self.tick()
            return None

        return wait_for(find, timeout_s=60)

    def tick(self) -> dict[str, int]:
        """Do what the schedule does each minute."""
        done = httpx.post(self.tick_url, timeout=60).raise_for_status()
        outcomes: dict[str, int] = done.json()
        return outcomes

    def updater(self, robot_id: str | None = None) -> Updater:
        """Return a new robot of this model."""
        account = self.product.account()
        return Updater(account.robot(robot_id, model=self.model))

    def refused(self, response: httpx.Response, status: int, code: str) -> dict[str, Any]:
        """Check that a response is a problem and return it."""
        return problem(response, status, code)
