"""A fine-tuning starts from a ready version of its owner's, looked at until its trainer has it."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from product import BUCKET, problem

if TYPE_CHECKING:
    from training_stage import Stage

DATA = b"weights"
PULL = {"type": "finetune", "backend": "pull", "backend_label": "lab"}


class Registry:
    """A model as the models functions store it, of which training reads some fields."""

    def __init__(self, stage: Stage, owner_id: str) -> None:
        self.stage, self.owner_id = stage, owner_id
        self.model_id = f"base-{secrets.token_hex(4)}"
        self.model = stage.product.firestore.document(f"models/{self.model_id}")

    def version(self, number: int, status: str = "ready") -> str:
        """Store a version and return its reference."""
        name = f"models/seed/{self.model_id}/{number}/model.npz"
        blob = self.stage.product.storage.bucket(BUCKET).blob(name)
        blob.upload_from_string(DATA)
        document = self.model.collection("versions").document(str(number))
        document.set(
            {
                "model_id": self.model_id,
                "version": number,
                "owner_id": self.owner_id,
                "status": status,
                "format": "npz",
                "size_bytes": len(DATA),
                "checksum": f"sha256:{hashlib.sha256(DATA).hexdigest()}",
                "storage_ref": name,
                "generation": blob.generation,
            }
        )
        return str(document.path)

    def point(self, alias: str, number: int | None) -> str:
        """Point an alias somewhere and return how a person names it."""
        fields = {"owner_id": self.owner_id, "version": number, "alias": alias}
        self.model.collection("aliases").document(alias).set(fields)
        return f"{self.model_id}@{alias}"

    def delete(self, number: int) -> None:
        """Take a version out of service."""
        self.model.collection("versions").document(str(number)).update({"status": "deleted"})


@pytest.fixture
def registry(stage: Stage) -> Registry:
    stage.episodes(1)
    return Registry(stage, stage.owner.uid)


def refused(stage: Stage, code: str, **request: Any) -> dict[str, Any]:
    body = problem(stage.create(**{**PULL, **request}), 422, code)
    assert [one["path"] for one in body["errors"]] == ["model_base"]
    return body


def test_a_version_is_named_in_three_ways_and_stored_in_one(
    stage: Stage, registry: Registry
) -> None:
    ref = registry.version(3)
    names = (ref, f"{registry.model_id}@3", registry.point("production", 3))

    stored = [stage.start(**PULL, model_base=name)["config"]["model_base"] for name in names]

    assert stored == [ref] * 3


def test_an_alias_is_followed_once_and_a_repetition_is_the_same_job(
    stage: Stage, registry: Registry
) -> None:
    first, _ = registry.version(1), registry.version(2)
    alias = registry.point("production", 1)
    job = stage.start(key="once-and-again", **PULL, model_base=alias)
    registry.point("production", 2)

    again = stage.start(key="once-and-again", **PULL, model_base=alias)

    assert (again["job_id"], again["config"]["model_base"]) == (job["job_id"], first)


def test_what_is_no_ready_version_of_the_owner_is_refused_by_field(
    stage: Stage, registry: Registry
) -> None:
    foreign = Registry(stage, stage.product.account().uid)
    not_found = [
        foreign.version(1),
        foreign.point("production", 1),
        f"models/{registry.model_id}/versions/9",
        f"{registry.model_id}@nowhere",
        registry.point("removed", None),
        registry.model_id,
        f"models/{registry.model_id}/versions/1/../2",
        f"models/{registry.model_id}/aliases/removed",
        f"training_jobs/{registry.model_id}",
    ]

    for name in not_found:
        refused(stage, "job.model_base_not_found", model_base=name)
    for number, status in enumerate(("pending", "deleted"), start=1):
        named = registry.version(number, status)
        assert status in refused(stage, "job.model_base_not_ready", model_base=named)["detail"]
    refused(stage, "job.model_base_required")


def test_the_trainer_is_given_exactly_the_registered_bytes(
    stage: Stage, registry: Registry
) -> None:
    ref = registry.version(1)
    job = stage.start(**PULL, model_base=ref)["job_id"]
    base = stage.trainer(stage.lease()["token"], "GET", f"/jobs/{job}/assignment").json()[
        "model_base"
    ]

    assert httpx.get(base.pop("url")).content == DATA
    assert base == {
        "ref": ref,
        "sha256": hashlib.sha256(DATA).hexdigest(),
        "size_bytes": len(DATA),
        "format": "npz",
    }


@pytest.mark.parametrize("backend", ["pull", "subprocess"])
def test_a_base_deleted_while_the_job_waits_fails_it_and_says_so(
    backend: str, stage: Stage, registry: Registry
) -> None:
    ref = registry.version(1)
    job = stage.start(**PULL, model_base=ref)["job_id"]
    registry.delete(1)

    if backend == "pull":
        asked = {"worker_id": "w1", "backend_label": "lab"}
        assert stage.call("POST", "/lease", json=asked).status_code == 204
    else:
        stage.change(job, {"config.backend": "subprocess", "config.backend_label": None})
        stage.publish("training-jobs", {"job_id": job, "attempt": 1})

    ended = stage.ended(job)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "job.model_base_not_ready")
    assert ref in ended["error"]["message"]
    assert stage.works_of(job) == 0
    problem(stage.call("POST", f"/jobs/{job}/retry"), 422, "job.model_base_not_ready")


def test_a_base_deleted_after_the_start_fails_the_job_when_its_trainer_asks(
    stage: Stage, registry: Registry
) -> None:
    job = stage.start(**PULL, model_base=registry.version(1))["job_id"]
    token = stage.lease()["token"]
    registry.delete(1)

    problem(stage.trainer(token, "GET", f"/jobs/{job}/assignment"), 409, "job.superseded")

    ended = stage.ended(job)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "job.model_base_not_ready")
