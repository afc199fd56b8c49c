"""Recorded CloudEvents through the real Functions Framework: what is acknowledged, what returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.cloud.storage import Client as StorageClient

from cloud_events import EVENTS, as_request, recorded
from conftest import local_services
from function_processes import function_process
from product import BUCKET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MALFORMED = sorted(path.stem for path in EVENTS.glob("malformed_*.json"))


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The event function, its stores real and empty."""
    data_dir: Path = tmp_path_factory.mktemp("events")
    with local_services("firestore", "storage", "pubsub", data_dir=data_dir) as ports:
        environment = {
            "GOOGLE_CLOUD_PROJECT": "demo-continuon",
            "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{ports['firestore']}",
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{ports['storage']}",
            "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{ports['pubsub']}",
            "GOOGLE_APPLICATION_CREDENTIALS": str(data_dir / "service-account.json"),
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", environment["STORAGE_EMULATOR_HOST"])
            objects: Any = StorageClient(project="demo-continuon")
        objects.create_bucket(BUCKET)
        objects.close()
        with function_process("rlds", "ingest_finalized", "cloudevent", environment) as url:
            yield url


def deliver(url: str, event: dict[str, Any]) -> httpx.Response:
    headers, body = as_request(event)
    return httpx.post(url, headers=headers, content=body, timeout=60)


@pytest.mark.parametrize(
    "name",
    [
        "storage_finalized_archive",
        "storage_finalized_blob",
        "storage_finalized_metadata",
        "storage_finalized_report",
        "storage_finalized_foreign",
    ],
)
def test_an_event_about_nothing_announced_is_acknowledged(name: str, function: str) -> None:
    assert deliver(function, recorded(name)).status_code == 200


@pytest.mark.parametrize("name", _MALFORMED)
def test_malformed_data_is_acknowledged_because_a_repetition_cannot_mend_it(
    name: str, function: str
) -> None:
    assert len(_MALFORMED) >= 4
    answer = deliver(function, recorded(name))
    # The framework itself refuses a body that is no JSON, which ends its retries as well.
    assert answer.status_code in {200, 400}, answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "name", ["", "\ud83e\udd16", "../../etc/passwd", "a" * 1024, "episodes/raw/"]
)
def test_any_object_name_is_acknowledged(name: str, function: str) -> None:
    event = recorded("storage_finalized_archive")
    event["data"] = {**event["data"], "name": name}
    assert deliver(function, event).status_code == 200


def test_a_request_that_is_no_event_is_refused(function: str) -> None:
    answer = httpx.post(function, json={"name": "x"}, timeout=60)
    assert answer.status_code == 400
    assert "Traceback" not in answer.text
