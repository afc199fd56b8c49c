"""Changes made through the unmodified Google clients reach the functions that ask for them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.cloud import firestore
from google.cloud.pubsub_v1 import PublisherClient
from google.cloud.storage import Client
from google.events.cloud.firestore_v1 import DocumentEventData

from cloud_project import CloudProject, anonymous, wait_until
from conftest import LocalCloudProcess, run_local_cloud

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = "demo-continuon"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> CloudProject:
    return CloudProject(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def cloud(project: CloudProject) -> Iterator[LocalCloudProcess]:
    with run_local_cloud(project.root) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.env.items():
            patch.setenv(name, value)
        yield running


def bucket() -> Any:
    client = Client(project=PROJECT, credentials=anonymous())
    return client.bucket("continuon-rlds")


def deliveries(cloud: LocalCloudProcess, **query: str) -> list[dict[str, Any]]:
    answer = httpx.get(cloud.urls["hub"] + "/deliveries", params=query)
    rows: list[dict[str, Any]] = answer.json()["deliveries"]
    return rows


def test_a_finalized_object_reaches_its_function(
    cloud: LocalCloudProcess, project: CloudProject
) -> None:
    bucket().blob("episodes/raw/a b.json").upload_from_string("{}", "application/json")
    call = project.wait_for_calls("on_object", 1)[0]
    assert call["attributes"]["type"] == "google.cloud.storage.object.v1.finalized"
    assert call["attributes"]["source"] == (
        "//storage.googleapis.com/projects/_/buckets/continuon-rlds"
    )
    # The CloudEvents HTTP binding encodes a space; the Python SDK leaves it so.
    assert call["attributes"]["subject"] == "objects/episodes/raw/a%20b.json"
    assert call["data"]["name"] == "episodes/raw/a b.json"
    wait_until(lambda: deliveries(cloud)[0]["state"] == "acknowledged")


def test_an_event_without_retry_is_dropped_after_one_failure_and_recorded(
    cloud: LocalCloudProcess, project: CloudProject
) -> None:
    blob = bucket().blob("doomed")
    blob.upload_from_string("x")
    blob.delete()
    project.wait_for_calls("on_object_once", 1)
    wait_until(lambda: bool(deliveries(cloud, state="failed")))
    failed = deliveries(cloud, state="failed")[0]
    assert (failed["function"], failed["attempts"], failed["last_status"]) == (
        "on_object_once",
        1,
        500,
    )


@pytest.mark.usefixtures("cloud")
def test_a_written_document_arrives_as_raw_protobuf(project: CloudProject) -> None:
    client = firestore.Client(project=PROJECT, credentials=anonymous())
    client.document("elsewhere/x").set({"n": 1})
    client.document("bundles/b1").set({"version": "1.2.0"})
    call = project.wait_for_calls("on_document", 1)[0]
    assert call["attributes"]["document"] == "bundles/b1"
    assert call["attributes"]["type"] == "google.cloud.firestore.document.v1.written"
    payload = DocumentEventData.deserialize(base64.b64decode(call["data"]))
    assert payload.value.fields["version"].string_value == "1.2.0"
    assert len(project.calls("on_document")) == 1


@pytest.mark.usefixtures("cloud")
def test_a_function_that_asks_for_the_auth_context_gets_it(project: CloudProject) -> None:
    client = firestore.Client(project=PROJECT, credentials=anonymous())
    client.document("owned/x").set({"n": 1})
    call = project.wait_for_calls("on_change_by", 1)[0]
    assert call["attributes"]["type"].endswith(".created.withAuthContext")
    assert call["attributes"]["authtype"] == "unknown"
    assert call["attributes"]["authid"] == "fake-auth-id@gmail.com"


@pytest.mark.usefixtures("cloud")
def test_a_published_message_reaches_its_function(project: CloudProject) -> None:
    publisher = PublisherClient()
    topic = publisher.topic_path(PROJECT, "jobs")
    publisher.publish(topic, b"train", kind="seed").result(timeout=10)
    call = project.wait_for_calls("on_message", 1)[0]
    assert call["attributes"]["source"] == f"//pubsub.googleapis.com/projects/{PROJECT}/topics/jobs"
    message = call["data"]["message"]
    assert (message["data"], message["attributes"]) == ("dHJhaW4=", {"kind": "seed"})


def test_a_schedule_fires_once_when_the_clock_is_moved_past_it(
    cloud: LocalCloudProcess, project: CloudProject
) -> None:
    httpx.post(cloud.urls["hub"] + "/clock/advance", json={"seconds": 3600}).raise_for_status()
    call = project.wait_for_calls("tick", 1)[0]
    assert call["headers"]["x-cloudscheduler"] == "true"
    assert call["headers"]["user-agent"] == "Google-Cloud-Scheduler"
    assert call["body"] == ""
    assert len(project.calls("tick")) == 1
