"""Firestore and Storage fail, and lose answers, while episodes arrive: each ends validated once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from conftest import run_local_cloud
from product import BUCKET, Product, copied_project, store, wait_for
from small_episodes import SmallEpisode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from product import Robot

_UPLOADS = 6
_TIMEOUT_S = 90.0


def _error(service: str, method: str, **rule: Any) -> dict[str, Any]:
    return {"kind": "error", "service": service, "method": method, **rule}


_PLAN = {
    "seed": 11,
    "rules": [
        # Google's clients repeat what is UNAVAILABLE themselves; what is INTERNAL comes through.
        _error("firestore", "Commit", when="after", probability=0.2, times=6),
        _error("firestore", "Commit", when="before", probability=0.2, times=6),
        _error("firestore", "Commit", when="after", code="INTERNAL", probability=0.15, times=5),
        _error("storage", "storage.objects.rewrite", when="after", code=503, times=3),
        _error("storage", "storage.objects.insert", when="after", code=503, times=2),
        _error("storage", "storage.objects.get", probability=0.2, code=503, times=4),
    ],
}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    root = copied_project(
        tmp_path_factory.mktemp("faults") / "project",
        codebases=("rlds", "fleet"),
        continuon_ingest_lease_s="1",
    )
    with run_local_cloud(root) as cloud:
        opened = Product(cloud)
        yield opened
        opened.close()


def _set_faults(product: Product, plan: dict[str, Any]) -> dict[str, Any]:
    answer = httpx.post(product.cloud.urls["hub"] + "/faults", json=plan, timeout=10)
    shown: dict[str, Any] = answer.raise_for_status().json()
    return shown


def _granted(robot: Robot, data: bytes, episode_id: str) -> dict[str, Any]:
    """Ask for a grant as the robot client does: again, with a new signature, while it may."""
    request = {
        "episode_id": episode_id,
        "content_type": "application/gzip",
        "size_bytes": len(data),
    }

    def ask() -> dict[str, Any] | None:
        answer = robot.call("POST", "/api/rlds/signed-url", request)
        if answer.status_code == 200:
            granted: dict[str, Any] = answer.json()
            return granted
        code = answer.json()["code"]
        # The proof was spent by a commit whose answer was lost: also a reason to sign anew.
        assert answer.status_code == 503 or (answer.status_code, code) == (
            401,
            "signature.replayed",
        ), answer.text
        return None

    return wait_for(ask, timeout_s=_TIMEOUT_S)


@pytest.mark.slow
def test_uploads_among_lost_answers_end_validated_exactly_once(product: Product) -> None:
    robot = product.account().robot()
    bucket = product.storage.bucket(BUCKET)
    bucket.versioning_enabled = True
    bucket.patch()
    messages = product.messages()
    shown = _set_faults(product, _PLAN)
    assert len(shown["rules"]) == len(_PLAN["rules"])  # type: ignore[arg-type]
    data = SmallEpisode().archive()
    names = [f"ep_faulty_{number}" for number in range(_UPLOADS)]
    for name in names:
        grant = _granted(robot, data, name)
        stored = store(grant["uploads"][0], data)
        assert stored.status_code in {200, 412, 503}, stored.text
    for name in names:
        assert product.settled(name, timeout_s=_TIMEOUT_S)["status"] == "validated"
    _set_faults(product, {})
    versions = [blob.name for blob in product.storage.list_blobs(BUCKET, versions=True)]
    for name in names:
        validated = f"episodes/validated/{robot.id}/{name}"
        kept = sorted(path for path in versions if path.startswith(f"{validated}/"))
        assert kept == [f"{validated}/episode.tar.gz", f"{validated}/report.json"]
        assert len(set(messages.of(name))) == 1
    stored_ids = [one.id for one in product.firestore.collection("rlds_episodes").stream()]
    assert sorted(stored_ids) == names
    deliveries = httpx.get(product.cloud.urls["hub"] + "/deliveries", timeout=10).json()
    repeated = [row for row in deliveries["deliveries"] if row["attempts"] > 1]
    assert repeated, json.dumps(deliveries["counts"])
