"""What a function's unmodified Google clients do is metered in its name and its request's."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.cloud import firestore

from cloud_project import CloudProject
from conftest import LocalCloudProcess, run_local_cloud

if TYPE_CHECKING:
    from collections.abc import Iterator

MAIN = """
import asyncio, os
import functions_framework.aio
from starlette.responses import Response

async def firestore_async():
    from google.cloud import firestore
    client = firestore.AsyncClient()
    await client.document("a/async").set({"n": 1})
    return [one async for one in client.collection("none").stream()]

def firestore_sync():
    from google.cloud import firestore
    client = firestore.Client()
    client.document("a/sync").set({"n": 1})
    client.document("a/sync").get()

def storage():
    from google.cloud.storage import Client
    client = Client()
    blob = client.bucket("continuon-rlds").blob("x")
    blob.upload_from_string(b"12345")
    blob.download_as_bytes()

def pubsub():
    from google.cloud.pubsub_v1 import PublisherClient
    client = PublisherClient()
    topic = client.topic_path(os.environ["GOOGLE_CLOUD_PROJECT"], "jobs")
    client.publish(topic, b"12345").result(20)

@functions_framework.aio.http
async def web(request):
    work = request.url.path.rpartition("/")[2]
    if work == "firestore_async":
        await firestore_async()
    elif work in {"firestore_sync", "storage", "pubsub"}:
        await asyncio.to_thread(globals()[work])
    return Response("done")
"""
MANIFEST = """
specVersion: v1alpha1
requiredAPIs: []
endpoints:
  web:
    platform: gcfv2
    entryPoint: web
    region: [us-central1]
    httpsTrigger: {}
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloudProcess]:
    project = CloudProject(tmp_path_factory.mktemp("project"))
    codebase = project.root / "functions" / "demo"
    (codebase / "main.py").write_text(MAIN)
    (codebase / "functions.yaml").write_text(MANIFEST)
    (project.root / "continuon-local.toml").write_text(
        'buckets = ["continuon-rlds"]\ntopics = ["jobs"]\n'
    )
    with run_local_cloud(project.root) as running:
        yield running


def metered(cloud: LocalCloudProcess, work: str) -> dict[str, Any]:
    """Let the function do one thing and return what the meter counted."""
    httpx.post(cloud.urls["hub"] + "/meter/reset").raise_for_status()
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    answer = httpx.get(f"{cloud.url}/api/{work}", headers=headers, timeout=60)
    assert answer.text == "done"
    document: dict[str, Any] = httpx.get(cloud.urls["hub"] + "/meter").json()
    return document


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        ("firestore_async", {"firestore.write": 1, "firestore.read": 1}),
        ("firestore_sync", {"firestore.write": 1, "firestore.read": 1}),
        (
            "storage",
            {"storage.class_a": 1, "storage.class_b": 1, "storage.egress_bytes": 5},
        ),
    ],
)
def test_a_call_is_counted_for_its_function_and_request(
    cloud: LocalCloudProcess, work: str, expected: dict[str, int]
) -> None:
    document = metered(cloud, work)
    [request] = document["requests"]
    assert (request["function"], request["request"]) == ("web", TRACE)
    assert "" not in document["by_caller"]
    for operations in (request["operations"], document["by_caller"]["web"]):
        assert Counter(operations) >= Counter({"functions.invocation": 1, **expected})


def test_what_a_clients_own_thread_does_later_is_counted_for_the_function(
    cloud: LocalCloudProcess,
) -> None:
    document = metered(cloud, "pubsub")
    # The publisher sends its batches from a thread that serves no request.
    assert document["by_caller"]["web"]["pubsub.bytes"] == 1000
    assert "" not in document["by_caller"]


def test_a_call_from_outside_belongs_to_no_function(
    cloud: LocalCloudProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", cloud.env["FIRESTORE_EMULATOR_HOST"])
    httpx.post(cloud.urls["hub"] + "/meter/reset").raise_for_status()
    client = firestore.Client(project="demo-continuon")
    client.document("a/outside").set({"n": 1})
    client.close()  # type: ignore[no-untyped-call] # upstream has no types
    document = httpx.get(cloud.urls["hub"] + "/meter").json()
    assert document["by_caller"] == {"": {"firestore.write": 1}}
    assert document["requests"] == []
