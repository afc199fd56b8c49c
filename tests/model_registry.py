"""Models through the gateway: registering, uploading, completing; jobs as training leaves them."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import google_crc32c

from product import BUCKET, store

if TYPE_CHECKING:
    import httpx

    from product import Account, Product

__all__ = ["MODELS", "OwnedModel", "TrainedJob", "crc32c", "new_model", "sha256"]

MODELS = "/api/v1/models"
FINISHED = "training-finished"
_NUMBERS = itertools.count(1)


def sha256(data: bytes) -> str:
    """Return the digest in hex."""
    return hashlib.sha256(data).hexdigest()


def crc32c(data: bytes) -> str:
    """Return the checksum as the store writes it."""
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


@dataclass(frozen=True)
class OwnedModel:
    """A model and the account that made it."""

    owner: Account = field(repr=False)
    id: str

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request below the model."""
        return self.owner.call(method, f"{MODELS}/{self.id}{path}", **options)

    def announce(self, data: bytes, **changes: Any) -> dict[str, Any]:
        """Register a version for ``data`` and return it, pending."""
        response = self.call("POST", "/versions", json=self.request(data, **changes))
        assert response.status_code == 201, response.text
        version: dict[str, Any] = response.json()
        return version

    @staticmethod
    def request(data: bytes, **changes: Any) -> dict[str, Any]:
        """Return the request that registers ``data``."""
        request = {
            "file_name": "policy.npz",
            "format": "npz",
            "size_bytes": len(data),
            "checksum": f"sha256:{sha256(data)}",
        }
        return request | changes

    def grant(self, version: int, **changes: Any) -> dict[str, Any]:
        """Ask for the upload of a version."""
        response = self.call("POST", "/upload", json={"version": version, **changes})
        assert response.status_code == 200, response.text
        granted: dict[str, Any] = response.json()
        return granted

    def complete(self, version: int) -> httpx.Response:
        """Say that a version is uploaded."""
        return self.call("POST", f"/versions/{version}/complete")

    def release(self, data: bytes, **changes: Any) -> dict[str, Any]:
        """Register, upload and complete a version."""
        version = self.announce(data, **changes)["version"]
        store(self.grant(version), data).raise_for_status()
        response = self.complete(version)
        assert response.status_code == 200, response.text
        ready: dict[str, Any] = response.json()
        return ready

    def point(self, alias: str, version: int, **changes: Any) -> httpx.Response:
        """Point an alias at a version."""
        request = {"version": version, "reason": f"try {version}", **changes}
        return self.call("PUT", f"/aliases/{alias}", json=request)


def new_model(owner: Account, **changes: Any) -> OwnedModel:
    """Make a model with an id that no other test has."""
    model_id = changes.pop("model_id", f"model-{next(_NUMBERS)}-{secrets.token_hex(3)}")
    request = {"model_id": model_id, "robot_model": "companion-v1", **changes}
    response = owner.call("POST", MODELS, json=request)
    assert response.status_code == 201, response.text
    return OwnedModel(owner, model_id)


@dataclass
class TrainedJob:
    """A completed job with its artifact, as the training service leaves them."""

    product: Product = field(repr=False)
    owner_id: str
    data: bytes = b"weights"
    job_id: str = field(default_factory=lambda: f"job_{secrets.token_hex(10)}")

    @property
    def ref(self) -> str:
        """The name of the artifact."""
        return f"training/{self.job_id}/1/model/policy.npz"

    def finish(self, *, upload: bool = True, **changes: Any) -> None:
        """Store artifact and document; ``changes`` replace parts of the document."""
        if upload:
            self.product.storage.bucket(BUCKET).blob(self.ref).upload_from_string(self.data)
        artifact = {"ref": self.ref, "sha256": sha256(self.data), "size_bytes": len(self.data)}
        document: dict[str, Any] = {
            "job_id": self.job_id,
            "owner_id": self.owner_id,
            "type": "seed",
            "status": "completed",
            "created_at": datetime.now(UTC),
            "config": {
                "robot_model": "companion-v1",
                "episode_ids": ["ep_1", "ep_2"],
                "episodes_digest": "d1",
                "model_base": None,
                "backend": "subprocess",
            },
            "output": {"artifact": artifact, "metrics": {"loss": 0.5, "eval/mse": 1}},
        }
        for name, value in changes.items():
            merged = {**(document.get(name) or {}), **value} if isinstance(value, dict) else value
            document[name] = merged
        self._document.set(document)

    @property
    def _document(self) -> Any:
        return self.product.firestore.collection("training_jobs").document(self.job_id)

    def card(self, text: bytes) -> None:
        """Store a model card beside the artifact, as a trainer does."""
        ref = f"{self.ref.rpartition('/')[0]}/model_card.md"
        self.product.storage.bucket(BUCKET).blob(ref).upload_from_string(text)
        announced = {"ref": ref, "kind": "model_card", "attempt": 1}
        self._document.collection("artifacts").document("card").set(announced)

    def announce(self, data: bytes | None = None) -> None:
        """Publish that the job has finished."""
        body = {"job_id": self.job_id, "status": "completed", "owner_id": self.owner_id}
        topic = f"projects/{self.product.project}/topics/{FINISHED}"
        self.product.publisher.publish(
            topic,
            data if data is not None else json.dumps(body).encode(),
            event_id=f"{self.job_id}:completed",
            type="training-finished",
        ).result(timeout=30)

    def output(self) -> dict[str, Any]:
        """Return what the job's document says of its result."""
        output: dict[str, Any] = self._document.get().to_dict()["output"]
        return output

    def registration(self) -> dict[str, Any] | None:
        """Return what became of the registration, or None while nothing has."""
        found: dict[str, Any] | None = self.output().get("registration")
        return found
