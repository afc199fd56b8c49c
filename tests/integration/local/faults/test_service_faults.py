"""Google's own clients meet injected faults: they see the errors, and recover."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.cloud.storage import Client as StorageClient
from google.cloud.storage.retry import DEFAULT_RETRY

from conftest import local_services

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROJECT = "demo-faults"
PLAN = {
    "seed": 5,
    "rules": [
        {"kind": "error", "service": "firestore", "method": "Commit", "times": 2},
        {"kind": "error", "service": "firestore", "method": "RunQuery", "code": 403},
        {
            "kind": "error",
            "service": "firestore",
            "method": "POST */documents:batchWrite",
            "code": 429,
        },
        {
            "kind": "error",
            "service": "storage",
            "method": "storage.objects.insert",
            "when": "after",
            "code": 503,
            "times": 1,
        },
        {"kind": "error", "service": "storage", "method": "GET /faulty/*", "code": 429},
        {
            "kind": "error",
            "service": "pubsub",
            "method": "Publish",
            "when": "after",
            "times": 1,
        },
        {"kind": "error", "service": "auth", "method": "accounts.signUp", "code": 503, "times": 1},
        {"kind": "latency", "service": "auth", "method": "GET", "wait_ms": 300},
    ],
}


@contextmanager
def services(tmp_path: Path, *names: str) -> Iterator[dict[str, int]]:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(PLAN))
    with local_services(*names, faults=file) as ports:
        yield ports


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    folder = tmp_path_factory.mktemp("faults")
    with services(folder, "firestore", "storage", "pubsub", "auth") as ports:
        yield ports


@pytest.fixture
def documents(ports: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{ports['firestore']}")
    client: Any = firestore.Client(project=PROJECT)
    yield client
    client.close()


def test_a_commit_refused_twice_is_repeated_by_the_client(documents: Any) -> None:
    documents.document("a/before").set({"n": 1})
    assert documents.document("a/before").get().to_dict() == {"n": 1}


def test_a_stream_ends_with_the_code(documents: Any) -> None:
    with pytest.raises(exceptions.PermissionDenied, match="fault plan"):
        documents.collection("a").get()


def test_an_answer_over_rest_has_googles_shape(ports: dict[str, int]) -> None:
    root = f"http://127.0.0.1:{ports['firestore']}/v1/projects/{PROJECT}/databases/(default)"
    answer = httpx.post(f"{root}/documents:batchWrite", json={"writes": []})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert answer.json()["error"]["status"] == "RESOURCE_EXHAUSTED"


def test_a_create_whose_answer_is_lost_has_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tmp_path / "plan.json"
    rule = {"kind": "error", "service": "firestore", "method": "Commit", "when": "after"}
    plan.write_text(json.dumps({"rules": [{**rule, "times": 1}]}))
    with local_services("firestore", faults=plan) as ports:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{ports['firestore']}")
        client: Any = firestore.Client(project=PROJECT)
        # The client repeats what it heard no answer to, and finds its own document.
        with pytest.raises(exceptions.AlreadyExists):
            client.document("a/after").create({"n": 1})
        assert client.document("a/after").get().to_dict() == {"n": 1}
        client.close()


def test_an_upload_whose_answer_is_lost_has_happened(ports: dict[str, int]) -> None:
    client = StorageClient(
        project=PROJECT,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call] # no types
        client_options={"api_endpoint": f"http://127.0.0.1:{ports['storage']}"},
    )
    bucket = client.create_bucket("faulty")
    blob = bucket.blob("a")
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string(b"once", if_generation_match=0, retry=DEFAULT_RETRY)
    assert bucket.blob("a").download_as_bytes() == b"once"
    assert len(list(client.list_blobs("faulty", versions=True))) == 1

    xml = httpx.get(f"http://127.0.0.1:{ports['storage']}/faulty/a")
    assert (xml.status_code, xml.headers["retry-after"]) == (429, "1")
    assert "<Code>SlowDown</Code>" in xml.text


def test_a_refused_upload_is_read_to_its_end_and_answered_in_shape(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    rule = {"kind": "error", "service": "storage", "method": "*.insert", "code": 503}
    plan.write_text(json.dumps({"rules": [{**rule, "probability": 1}]}))
    with local_services("storage", faults=plan) as ports, httpx.Client() as http:
        base = f"http://127.0.0.1:{ports['storage']}"
        for _ in range(2):
            answer = http.post(f"{base}/upload/storage/v1/b/b/o?name=x", content=bytes(3 << 20))
            assert answer.status_code == 503
            assert answer.json()["error"]["errors"][0]["reason"] == "backendError"


def test_a_publish_whose_answer_is_lost_is_published_again(
    ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{ports['pubsub']}")
    publisher, subscriber = PublisherClient(), SubscriberClient()
    topic, name = f"projects/{PROJECT}/topics/full", f"projects/{PROJECT}/subscriptions/full"
    publisher.create_topic(name=topic)
    subscriber.create_subscription(name=name, topic=topic)
    publisher.publish(topic, b"once").result(timeout=30)
    received = subscriber.pull(subscription=name, max_messages=10).received_messages
    assert [one.message.data for one in received] == [b"once", b"once"]
    publisher.stop()
    publisher.transport.close()
    subscriber.close()


def test_auth_answers_in_its_shape_and_then_as_always(ports: dict[str, int]) -> None:
    base = f"http://127.0.0.1:{ports['auth']}"
    url = f"{base}/identitytoolkit.googleapis.com/v1/accounts:signUp?key=k"
    refused, accepted = httpx.post(url, json={}), httpx.post(url, json={})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["error"]["status"] == "UNAVAILABLE"
    assert accepted.status_code == 200
    started = time.monotonic()
    assert httpx.get(base).status_code == 200
    assert time.monotonic() - started >= 0.3
