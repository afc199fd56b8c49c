"""Documents of a rollout that is under way, written into a running local cloud."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from google.cloud import firestore

from continuon.contracts.ota import Archive, ManifestSummary
from continuon.contracts.rollouts import RolloutAction, RolloutPlan
from continuon_ota import service
from continuon_ota.cohorts import position
from continuon_ota.records import BundleRecord, DeploymentRecord, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BUNDLE_ID", "check", "clear", "fail_one_when_counted", "fill", "status"]

MODEL = "bench"
BUNDLE_ID = "bench-1.0.0"
_BATCH = 400
_COUNTED_TIMEOUT_S = 30.0


@contextmanager
def _client(cloud: dict[str, Any]) -> Iterator[Any]:
    os.environ["FIRESTORE_EMULATOR_HOST"] = cloud["env"]["FIRESTORE_EMULATOR_HOST"]
    client: Any = firestore.Client(project=cloud["env"]["GOOGLE_CLOUD_PROJECT"])
    try:
        yield client
    finally:
        client.close()
        del os.environ["FIRESTORE_EMULATOR_HOST"]


def fill(cloud: dict[str, Any], size: int) -> None:
    """Write a bundle in production, and ``size`` robots that have installed it."""
    now = datetime.now(UTC)
    plan = RolloutPlan.model_validate({"stages": [{"percentage": 100}]})
    rollout = service.act(service.staged(now), RolloutAction.START, now=now, plan=plan)
    record = BundleRecord(
        bundle_id=BUNDLE_ID,
        version="1.0.0",
        robot_model=MODEL,
        owner_id="bench",
        created_at=now,
        storage_ref="bundles/ota/bench/1.0.0.bundle",
        target_path="bench/1.0.0.bundle",
        manifest=ManifestSummary(checksum="sha256:" + "0" * 64, size_bytes=1),
        archive=Archive(size_bytes=1, sha256="0" * 64),
        rollout=rollout,
    )
    with _client(cloud) as client:
        _write_fleet(client, size, now)
        # Last, so that the first count sees everything.
        client.collection("ota_bundles").document(BUNDLE_ID).set(record.model_dump())


def _write_fleet(client: Any, size: int, now: datetime) -> None:
    bundle = client.collection("ota_bundles").document(BUNDLE_ID)
    for first in range(0, size, _BATCH):
        batch = client.batch()
        for number in range(first, min(size, first + _BATCH)):
            robot_id = f"bench-{number}"
            deployment = DeploymentRecord(
                robot_id=robot_id,
                bundle_id=BUNDLE_ID,
                position=position(BUNDLE_ID, robot_id),
                outcome=Outcome.SUCCEEDED,
                offered_at=now - timedelta(hours=1),
                updated_at=now,
            )
            batch.set(bundle.collection("deployments").document(robot_id), deployment.model_dump())
            robot = {"robot_id": robot_id, "model": MODEL, "status": "claimed"}
            batch.set(client.collection("robots").document(robot_id), robot)
        batch.commit()


def fail_one_when_counted(cloud: dict[str, Any]) -> None:
    """Wait until the event of the bundle's write was handled; then let one robot fail.

    So that the next step has a count to write, and is the only one that has.
    """
    deadline = time.monotonic() + _COUNTED_TIMEOUT_S
    with _client(cloud) as client:
        bundle = client.collection("ota_bundles").document(BUNDLE_ID)
        while bundle.get().to_dict()["rollout"]["counted_at"] is None:
            if time.monotonic() > deadline:
                raise RuntimeError("the rollout was not counted in time")
            time.sleep(0.1)
        first = bundle.collection("deployments").document("bench-0")
        first.update({"outcome": Outcome.FAILED.value})


def clear(cloud: dict[str, Any]) -> None:
    """Remove the bundle and everything below it; the robots stay nobody's."""
    with _client(cloud) as client:
        client.recursive_delete(client.collection("ota_bundles").document(BUNDLE_ID))


def status(cloud: dict[str, Any]) -> str:
    """Return the status of the rollout."""
    with _client(cloud) as client:
        found = client.collection("ota_bundles").document(BUNDLE_ID).get().to_dict()
    state: str = found["rollout"]["status"]
    return state


def check(version: str | None) -> dict[str, Any]:
    """Return the body of a check of a robot that is ready."""
    state = {"idle": True, "battery_percent": 90, "in_remote_session": False}
    return {"version": version, "software_version": "1.0.0", "state": state}
