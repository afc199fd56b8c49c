"""Firestore and Storage lose answers while models are registered and aliases are moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from conftest import run_local_cloud
from model_registry import MODELS, OwnedModel, TrainedJob, new_model
from product import BUCKET, Product, copied_project, store, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TIMEOUT_S = 90.0


def _error(service: str, method: str, **rule: Any) -> dict[str, Any]:
    return {"kind": "error", "service": service, "method": method, **rule}


_PLAN = {
    "seed": 5,
    "rules": [
        _error("firestore", "Commit", when="after", probability=0.25, times=8),
        _error("firestore", "Commit", when="before", probability=0.2, times=6),
        _error("firestore", "Commit", when="after", code="INTERNAL", probability=0.15, times=5),
        _error("firestore", "Commit", when="before", code="ABORTED", probability=0.15, times=5),
        _error("storage", "storage.objects.rewrite", when="after", code=503, times=3),
        _error("storage", "storage.objects.get", probability=0.2, code=503, times=4),
    ],
}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("model-faults") / "project"
    with run_local_cloud(copied_project(folder, codebases=("rlds", "models"))) as cloud:
        opened = Product(cloud)
        yield opened
        opened.close()


def _set_faults(product: Product, plan: dict[str, Any]) -> None:
    httpx.post(product.cloud.urls["hub"] + "/faults", json=plan, timeout=10).raise_for_status()


def _until_answered(call: Callable[[], httpx.Response]) -> dict[str, Any]:
    """Send a request as a client does: again while it is told that a service is unavailable."""

    def answer() -> dict[str, Any] | None:
        response = call()
        assert response.status_code in {200, 201, 503}, response.text
        body: dict[str, Any] = response.json()
        return body if response.is_success else None

    return wait_for(answer, timeout_s=_TIMEOUT_S)


def _release(model: OwnedModel, number: int) -> int:
    data = f"weights {number}".encode()
    headers = {
        "authorization": f"Bearer {model.owner.token}",
        "idempotency-key": f"release-{number:08d}",
    }

    def announce() -> httpx.Response:
        path, request = f"{MODELS}/{model.id}/versions", model.request(data)
        return model.owner.product.http.post(path, json=request, headers=headers)

    version: int = _until_answered(announce)["version"]
    grant = _until_answered(lambda: model.call("POST", "/upload", json={"version": version}))
    stored = store(grant, data)
    assert stored.status_code == 200, stored.text
    assert _until_answered(lambda: model.complete(version))["status"] == "ready"
    return version


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_among_lost_answers_nothing_is_made_twice_and_nothing_is_lost(product: Product) -> None:
    owner = product.account()
    model = new_model(owner)
    jobs = [TrainedJob(product, owner.uid, data=f"job {n}".encode()) for n in range(3)]
    for job in jobs:
        job.finish(config={"model_id": model.id})
    _set_faults(product, _PLAN)
    released = [_release(model, number) for number in range(4)]
    moves = [released[number % 4] for number in range(6)]
    for version in moves:
        _until_answered(lambda v=version: model.point("production", v))  # type: ignore[misc]
    for job in jobs:
        job.announce()
    trained = [
        wait_for(lambda j=job: j.output().get("model_ref"), timeout_s=_TIMEOUT_S)  # type: ignore[misc]
        for job in jobs
    ]
    _set_faults(product, {})
    found = product.firestore.collection(f"models/{model.id}/versions").stream()
    statuses = {one.id: one.to_dict()["status"] for one in found}
    assert statuses == {str(number): "ready" for number in range(1, 8)}
    assert released == [1, 2, 3, 4]
    assert sorted(trained) == [f"models/{model.id}/versions/{n}" for n in (5, 6, 7)]
    changes = model.call("GET", "/aliases/production/history").json()["changes"]
    assert [change["version"] for change in reversed(changes)] == moves
    assert [change["revision"] for change in changes] == [6, 5, 4, 3, 2, 1]
    objects = [blob.name for blob in product.storage.list_blobs(BUCKET, prefix="models/")]
    assert len(objects) == 7
