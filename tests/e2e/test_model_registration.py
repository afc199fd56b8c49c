"""A finished job becomes exactly one version, on good days and bad ones."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from conftest import run_local_cloud
from model_registry import OwnedModel, TrainedJob, new_model
from product import BUCKET, Product, copied_project, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from product import Account

_POINTS = (
    "register.model",
    "register.checked",
    "register.numbered",
    "register.copied",
    "register.ready",
    "register.told",
)
_NUMBERS = itertools.count(1)


def registered(job: TrainedJob) -> dict[str, Any]:
    """Announce a job until something has become of it."""
    job.announce()
    return wait_for(job.registration, timeout_s=60)


def versions(product: Product, model_id: str) -> dict[str, Any]:
    """Return every version document of a model."""
    found = product.firestore.collection(f"models/{model_id}/versions").stream()
    return {one.id: one.to_dict() for one in found}


def test_a_completed_job_is_registered_with_all_that_it_was_made_of(
    product: Product, owner: Account
) -> None:
    job = TrainedJob(product, owner.uid)
    job.finish()
    job.card(b"# A small policy\r\n\x1b[2Jtrained on two episodes\n")
    assert registered(job)["status"] == "registered"
    found = owner.call("GET", f"/api/v1/{job.output()['model_ref']}").json()
    assert found["training_job_id"] == job.job_id
    assert found["lineage"]["episode_ids"] == ["ep_1", "ep_2"]
    assert (found["status"], found["stage"], found["created_by"]) == ("ready", "seed", "training")
    assert found["metrics"] == {"loss": 0.5, "eval/mse": 1.0}
    assert found["release_notes"] == "# A small policy\n[2Jtrained on two episodes"
    stored = product.storage.bucket(BUCKET).blob(found["storage_ref"]).download_as_bytes()
    assert stored == job.data
    assert found["storage_ref"].startswith("models/seed/companion-v1-")


def test_a_job_that_names_a_model_makes_its_next_version(product: Product, owner: Account) -> None:
    model = new_model(owner)
    model.release(b"by hand")
    job = TrainedJob(product, owner.uid)
    job.finish(type="slow_loop", config={"model_id": model.id, "model_base": "models/x/versions/1"})
    assert registered(job)["version"] == 2
    assert job.output()["model_ref"] == f"models/{model.id}/versions/2"
    assert model.call("GET", "/versions/2").json()["lineage"]["model_base"] == "models/x/versions/1"


def test_a_message_that_comes_again_and_again_makes_one_version(
    product: Product, owner: Account
) -> None:
    model = new_model(owner)
    jobs = [TrainedJob(product, owner.uid, data=f"{n}".encode()) for n in range(4)]
    for job in jobs:
        job.finish(config={"model_id": model.id})
    for job in [*jobs, *reversed(jobs), *jobs]:
        job.announce()
    for job in jobs:
        wait_for(job.registration, timeout_s=60)
    # What is still on its way finds everything done.
    late = TrainedJob(product, owner.uid)
    late.finish(config={"model_id": model.id})
    registered(late)
    found = versions(product, model.id)
    assert sorted(found) == ["1", "2", "3", "4", "5"]
    assert {one["training_job_id"] for one in found.values()} == {
        job.job_id for job in [*jobs, late]
    }
    assert {one["status"] for one in found.values()} == {"ready"}


def test_a_lineage_of_ten_thousand_episodes_is_kept_and_found(
    product: Product, owner: Account
) -> None:
    episodes = [f"ep_{1704384000000 + number}_{number:08x}" for number in range(10_000)]
    job = TrainedJob(product, owner.uid)
    job.finish(config={"episode_ids": episodes})
    registered(job)
    model_ref = job.output()["model_ref"]
    found = owner.call("GET", f"/api/v1/{model_ref}").json()
    assert found["lineage"]["episode_ids"] == episodes
    query = {"episode_id": episodes[-1]}
    used = owner.call("GET", "/api/v1/models/versions", params=query).json()["versions"]
    assert [(one["model_ref"], one["episode_count"]) for one in used] == [(model_ref, 10_000)]


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("no artifact", "model.artifact_missing"),
        ("not uploaded", "model.artifact_missing"),
        ("other size", "model.artifact_unsuitable"),
        ("other bytes", "model.artifact_unsuitable"),
    ],
)
def test_a_bad_artifact_is_refused_with_its_reason_and_makes_no_version(
    case: str, code: str, product: Product, owner: Account
) -> None:
    model = new_model(owner)
    job = TrainedJob(product, owner.uid, data=b"weights")
    outputs: dict[str, Any] = {"no artifact": {"artifact": None}}
    if case in {"other size", "other bytes"}:
        job.finish(config={"model_id": model.id})
        other = b"other weights" if case == "other size" else b"WEIGHTS"
        product.storage.bucket(BUCKET).blob(job.ref).upload_from_string(other)
    else:
        job.finish(
            upload=False, config={"model_id": model.id}, output=outputs.get(case, {"metrics": {}})
        )
    refused = registered(job)
    assert (refused["status"], refused["code"]) == ("refused", code)
    assert refused["message"]
    assert job.output().get("model_ref") is None
    assert versions(product, model.id) == {}
    assert model.call("GET", "").json()["latest_version"] == 0


def test_a_model_of_another_account_takes_no_result(product: Product, owner: Account) -> None:
    theirs = new_model(product.account())
    job = TrainedJob(product, owner.uid)
    job.finish(config={"model_id": theirs.id})
    assert registered(job)["code"] == "model.id_taken"
    assert versions(product, theirs.id) == {}


def test_a_model_of_another_robot_model_takes_no_result(product: Product, owner: Account) -> None:
    model = new_model(owner, robot_model="arm-two")
    job = TrainedJob(product, owner.uid)
    job.finish(config={"model_id": model.id})
    assert registered(job)["code"] == "model.robot_model_mismatch"


def test_what_is_no_completed_job_is_left_alone(product: Product, owner: Account) -> None:
    failed, empty, unknown = (TrainedJob(product, owner.uid) for _ in range(3))
    failed.finish(status="failed")
    empty.finish(status="cancelled", output=None)
    before = failed.output()
    for job in (failed, empty, unknown):
        job.announce()
    for data in (b"", b"not json", b"[]", b'{"job_id": 7}', b'{"job_id": "../x"}', b"[" * 10_000):
        failed.announce(data)
    # The messages after them are handled: none of these is in the way.
    good = TrainedJob(product, owner.uid)
    good.finish()
    registered(good)
    assert failed.output() == before


# --- A worker that dies ---------------------------------------------------------------------------


class _Stage:
    """A local cloud whose registration dies at an armed point, once."""

    def __init__(self, product: Product, markers: Path) -> None:
        self.product = product
        self.owner = product.account()
        self._markers = markers

    def arm(self, point: str) -> Path:
        """Have the next worker that reaches ``point`` die there."""
        marker = self._markers / point
        marker.unlink()
        return marker

    def run(self, job: TrainedJob, model: OwnedModel) -> dict[str, Any]:
        """Announce ``job`` and return what there is at the end, without what names it."""
        job.announce()
        wait_for(lambda: job.output().get("model_ref"), timeout_s=90)
        documents = versions(self.product, model.id)
        objects = self.product.objects(f"models/seed/{model.id}/", versions=True)
        text = json.dumps([documents, job.output()], sort_keys=True, default=_shape)
        text = text.replace(job.job_id, "JOB").replace(model.id, "MODEL")
        stored = {name.replace(model.id, "MODEL"): crc for name, (_, crc) in objects.items()}
        return {"documents": text, "objects": stored}


def _shape(value: Any) -> str:
    return type(value).__name__


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Stage]:
    folder = tmp_path_factory.mktemp("registrations")
    markers = folder / "markers"
    markers.mkdir()
    for point in _POINTS:
        (markers / point).touch()
    root = copied_project(folder / "project", codebases=("rlds", "models"))
    plan = ",".join(f"{point}@once:{markers / point}" for point in _POINTS)
    with (root / "functions/models/.env.local").open("a", encoding="utf-8") as file:
        file.write(f"\nCONTINUON_FAULT={plan}\n")
    with run_local_cloud(root) as cloud:
        product = Product(cloud)
        bucket = product.storage.bucket(BUCKET)
        bucket.versioning_enabled = True
        bucket.patch()
        yield _Stage(product, markers)
        product.close()


def _job(stage: _Stage) -> tuple[TrainedJob, OwnedModel]:
    model = new_model(stage.owner)
    job = TrainedJob(stage.product, stage.owner.uid)
    job.finish(config={"model_id": model.id})
    return job, model


@pytest.fixture(scope="module")
def undisturbed(stage: _Stage) -> dict[str, Any]:
    """What a registration leaves behind when nothing is killed."""
    return _without_generation(stage.run(*_job(stage)))


def _without_generation(end: dict[str, Any]) -> dict[str, Any]:
    [documents, output] = json.loads(end["documents"])
    for one in documents.values():
        assert one.pop("generation") > 0
    return {**end, "documents": [documents, output]}


@pytest.mark.slow
@pytest.mark.parametrize("point", _POINTS)
def test_a_killed_registration_ends_as_if_nothing_had_happened(
    point: str, stage: _Stage, undisturbed: dict[str, Any]
) -> None:
    marker = stage.arm(point)
    job, model = _job(stage)
    end = stage.run(job, model)
    wait_for(lambda: marker.exists() or None)
    assert _without_generation(end) == undisturbed


@pytest.mark.slow
def test_a_registration_killed_again_and_again_still_makes_one_version(
    stage: _Stage, undisturbed: dict[str, Any]
) -> None:
    # Each death doubles the pause before the next delivery, so not all six.
    markers = [stage.arm(point) for point in ("register.model", "register.numbered")]
    assert _without_generation(stage.run(*_job(stage))) == undisturbed
    assert all(marker.exists() for marker in markers)


@pytest.mark.slow
def test_a_version_that_was_served_stays_when_its_source_is_gone(
    stage: _Stage, undisturbed: dict[str, Any]
) -> None:
    # Killed when the version was ready and the job was not told; then the checkpoint was removed.
    job, model = _job(stage)
    original = job.output()
    end = stage.run(job, model)
    stage.product.storage.bucket(BUCKET).blob(job.ref).delete()
    document = stage.product.firestore.document(f"training_jobs/{job.job_id}")
    document.update({"output": original})
    assert stage.run(job, model) == end
    assert _without_generation(end) == undisturbed
