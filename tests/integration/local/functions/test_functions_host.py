"""Functions run in processes of their own, with the platform's limits."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cloud_project import CloudProject, wait_until
from conftest import LocalCloudProcess, run_local_cloud

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> CloudProject:
    return CloudProject(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def cloud(project: CloudProject) -> Iterator[LocalCloudProcess]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/developers/own/key.json")
        patch.setenv("FIRESTORE_EMULATOR_HOST", "elsewhere:1")
        patch.setenv("OWN_SETTING", "kept")
        with run_local_cloud(project.root) as running:
            yield running


@pytest.fixture
def web(cloud: LocalCloudProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cloud.url, timeout=60) as client:
        yield client


def test_concurrent_first_requests_share_one_start(cloud: LocalCloudProcess) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: httpx.get(cloud.url + "/api/x"), range(8)))
    assert len({answer.json()["pid"] for answer in answers}) == 1


def test_the_environment_is_the_platforms_and_not_the_developers(
    cloud: LocalCloudProcess, web: httpx.Client
) -> None:
    env: dict[str, str] = web.get("/api/x").json()["env"]
    for name in (
        "FIRESTORE_EMULATOR_HOST",
        "STORAGE_EMULATOR_HOST",
        "PUBSUB_EMULATOR_HOST",
        "FIREBASE_AUTH_EMULATOR_HOST",
        "GOOGLE_CLOUD_PROJECT",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ):
        assert env[name] == cloud.env[name]
    assert env["CONTINUON_PUBLIC_URL"] == cloud.url
    assert (env["K_SERVICE"], env["FUNCTION_TARGET"]) == ("web", "web")
    assert env["FUNCTION_SIGNATURE_TYPE"] == "http"
    assert env["OWN_SETTING"] == "kept"
    assert env["JOURNAL"].endswith("journal.jsonl")


def test_the_local_cloud_does_not_leak_into_the_functions_modules(web: httpx.Client) -> None:
    modules = web.get("/api/x").json()["modules"]
    assert not [name for name in modules if name.startswith("continuon_local")]


def test_a_direct_call_strips_project_region_and_name(cloud: LocalCloudProcess) -> None:
    base = cloud.urls["functions"] + "/demo-continuon/us-central1"
    assert httpx.get(f"{base}/web/a%20b/?q=1").json()["raw_path"] == "/a%20b/"
    assert httpx.get(f"{base}/web").json()["path"] == "/"
    assert httpx.get(f"{base}/nothing").status_code == 404
    assert httpx.get(f"{base}/on_object").status_code == 403
    assert httpx.get(f"{cloud.urls['functions']}/other/us-central1/web").status_code == 404


def test_a_request_over_32_mib_is_refused_declared_or_not(web: httpx.Client) -> None:
    assert web.post("/api/x", content=bytes(32 * MIB)).json()["size"] == 32 * MIB
    assert web.post("/api/x", content=bytes(32 * MIB + 1)).status_code == 413
    assert web.post("/api/x", content=(bytes(MIB) for _ in range(33))).status_code == 413


def test_a_function_over_its_timeout_answers_504(web: httpx.Client) -> None:
    answer = web.get("/api/slow")
    assert (answer.status_code, answer.text) == (504, "upstream request timeout")
    assert web.get("/api/x").status_code == 200


def test_a_request_on_a_dying_process_fails_and_the_next_starts_another(
    web: httpx.Client,
) -> None:
    before = web.get("/api/x").json()["pid"]
    assert web.get("/api/die").status_code == 502
    after = web.get("/api/x").json()["pid"]
    assert before != after
    os.kill(after, signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f"/proc/{after}"))  # noqa: PTH110 - procfs
    assert web.get("/api/x").json()["pid"] not in {before, after}


def test_an_event_posted_as_an_emulator_does_reaches_its_function(
    cloud: LocalCloudProcess, project: CloudProject
) -> None:
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": "e1",
        "type": "google.cloud.storage.object.v1.finalized",
        "source": "//storage.googleapis.com/projects/_/buckets/continuon-rlds",
        "subject": "objects/a",
        "time": "2026-01-01T00:00:00Z",
        "data": {"name": "a"},
    }
    base = f"{cloud.urls['functions']}/functions/projects/demo-continuon"
    headers = {"Content-Type": "application/cloudevents+json; charset=UTF-8"}
    for _ in range(2):  # stored once: the same id for the same function
        answer = httpx.post(f"{base}/trigger_multicast", json=event, headers=headers)
        assert answer.status_code == 200
    assert project.wait_for_calls("on_object", 1)[0]["data"] == {"name": "a"}
    key = f"{base}/triggers/us-central1-on_object-0"
    assert httpx.post(key, json=event, headers=headers).status_code == 200
    assert len(project.wait_for_calls("on_object", 2)) == 2
    assert httpx.post(key, json={"id": "e"}, headers=headers).status_code == 400
    assert httpx.post(f"{base}/triggers/us-central1-web-0", json=event).status_code == 404


def test_the_backends_are_listed(cloud: LocalCloudProcess) -> None:
    backend = httpx.get(cloud.urls["functions"] + "/backends").json()["backends"][0]
    triggers = {trigger["name"]: trigger for trigger in backend["functionTriggers"]}
    assert set(triggers) == {
        "web",
        "on_object",
        "on_object_once",
        "on_change_by",
        "on_document",
        "on_message",
        "tick",
    }
    assert triggers["on_document"]["eventTrigger"]["eventFilterPathPatterns"] == {
        "document": "bundles/{bundle}"
    }


def test_a_function_that_does_not_start_answers_500_with_its_last_words(tmp_path: Path) -> None:
    project = CloudProject(tmp_path)
    (project.root / "functions" / "demo" / "main.py").write_text("raise ValueError('no luck')")
    with run_local_cloud(project.root) as cloud:
        answer = httpx.get(cloud.url + "/api/x", timeout=30)
        assert (answer.status_code, "no luck" in answer.text) == (500, True)


def test_stopping_ends_the_functions_and_keeps_their_output(tmp_path: Path) -> None:
    project = CloudProject(tmp_path / "project")
    data_dir = tmp_path / "data"
    with run_local_cloud(project.root, "--data-dir", str(data_dir)) as cloud:
        pid = httpx.get(cloud.url + "/api/x", timeout=30).json()["pid"]
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))  # noqa: PTH110 - procfs
    assert (data_dir / "logs" / "web.log").exists()
    assert not (data_dir / "running.json").exists()
