"""Firestore events through the real Functions Framework: what is acknowledged, what returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from function_processes import ServiceProcess, function_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCUMENT = "ota_bundles/companion-v1-1.0.0"


def event(document: str | None = DOCUMENT, **attributes: str) -> tuple[dict[str, str], bytes]:
    """Return an event as Eventarc sends it; its payload is protobuf, which nobody reads."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-type": "google.cloud.firestore.document.v1.written",
        "ce-source": "//firestore.googleapis.com/projects/p/databases/(default)",
        "ce-subject": f"documents/{document}",
        "content-type": "application/protobuf",
        **attributes,
    }
    if document is not None:
        headers["ce-document"] = document
    return headers, b"\x0a\x00"


@pytest.fixture(scope="module")
def firestore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    data_dir: Path = tmp_path_factory.mktemp("firestore")
    service = ServiceProcess("firestore", data_dir)
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def function(firestore: ServiceProcess) -> Iterator[str]:
    environment = {
        "GOOGLE_CLOUD_PROJECT": "demo-continuon",
        "FIRESTORE_EMULATOR_HOST": firestore.address,
    }
    with function_process("ota", "ota_rollout", "cloudevent", environment) as url:
        yield url


def deliver(url: str, sent: tuple[dict[str, str], bytes]) -> httpx.Response:
    headers, body = sent
    return httpx.post(url, headers=headers, content=body, timeout=100)


def test_an_event_about_a_document_that_is_gone_is_acknowledged(function: str) -> None:
    assert deliver(function, event()).status_code == 200


@pytest.mark.parametrize(
    "document",
    [
        None,
        "",
        "ota_bundles",
        "ota_bundles/",
        "robots/r-1",
        "ota_bundles/b/deployments/r",
        "ota_bundles/" + "x" * 2000,
        "ota_bundles/__reserved__",
        "ota_bundles/..",
        "../../etc/passwd",
    ],
)
def test_any_document_is_acknowledged(document: str | None, function: str) -> None:
    answer = deliver(function, event(document))
    assert answer.status_code == 200, answer.text


def test_a_body_that_is_no_protobuf_does_not_matter(function: str) -> None:
    headers, _ = event()
    answer = deliver(function, (headers, b"not a message"))
    assert answer.status_code == 200, answer.text


def test_a_store_that_is_away_has_the_event_delivered_again(
    function: str, firestore: ServiceProcess
) -> None:
    firestore.stop()
    refused: Any = deliver(function, event())
    assert refused.status_code == 500
    firestore.start()
    for _ in range(20):
        if deliver(function, event()).status_code == 200:
            return
    raise AssertionError("the function does not recover")
