"""A store that is down: the client is told when to come back, the event is not lost."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.cloud import firestore
from google.cloud.pubsub_v1 import PublisherClient
from google.cloud.storage import Client as StorageClient

from cloud_events import as_request, finalized
from continuon.auth.keys import public_jwk
from devices import Device
from function_processes import ServiceProcess, function_process
from product import BUCKET, TOPIC, problem, store
from small_episodes import SmallEpisode

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

PROJECT = "demo-continuon"
_DEVICE = Device("robot-in-the-dark")
_PATH = "/api/rlds/signed-url"
_PATIENCE_S = 30.0
"""A robot's client waits longer than this, in seconds, for an answer."""


@dataclass
class _Stage:
    services: dict[str, ServiceProcess]
    signed_url: str
    ingest_finalized: str
    documents: Any

    def ask(self, **request: Any) -> httpx.Response:
        body, headers = _DEVICE.json("POST", _PATH, request)
        return httpx.post(self.signed_url + _PATH, content=body, headers=headers, timeout=60)

    def deliver(self, grant: dict[str, Any]) -> int:
        headers, body = as_request(finalized(f"{grant['episode_ref']}/episode.tar.gz"))
        answer = httpx.post(self.ingest_finalized, headers=headers, content=body, timeout=60)
        return answer.status_code

    @contextlib.contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Run the block while a service is down, and bring it up again with its data."""
        self.services[name].stop()
        try:
            yield
        finally:
            self.services[name].start()

    def status(self, episode_id: str) -> str:
        snapshot = self.documents.collection("rlds_episodes").document(episode_id).get()
        return str(snapshot.get("status"))


def _environment(services: dict[str, ServiceProcess], key_file: str) -> dict[str, str]:
    return {
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "FIRESTORE_EMULATOR_HOST": services["firestore"].address,
        "STORAGE_EMULATOR_HOST": f"http://{services['storage'].address}",
        "PUBSUB_EMULATOR_HOST": services["pubsub"].address,
        "GOOGLE_APPLICATION_CREDENTIALS": key_file,
        "CONTINUON_INGEST_LEASE_S": "2",
    }


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Stage]:
    data_dir = tmp_path_factory.mktemp("outages")
    names = ("firestore", "storage", "pubsub")
    # A data folder belongs to one process.
    services = {name: ServiceProcess(name, data_dir / name) for name in names}
    with contextlib.ExitStack() as running:
        for service in services.values():
            service.start()
            running.callback(service.stop)
        environment = _environment(services, str(data_dir / "storage" / "service-account.json"))
        documents = running.enter_context(_prepared(environment))
        urls = [
            running.enter_context(function_process("rlds", target, kind, environment))
            for target, kind in (("signed_url", "http"), ("ingest_finalized", "cloudevent"))
        ]
        yield _Stage(services, urls[0], urls[1], documents)


@contextlib.contextmanager
def _prepared(environment: dict[str, str]) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        documents: Any = firestore.Client(project=PROJECT)
        objects: Any = StorageClient(project=PROJECT)
        publisher: Any = PublisherClient()
    objects.create_bucket(BUCKET)
    publisher.create_topic(name=f"projects/{PROJECT}/topics/{TOPIC}")
    robot = {
        "owner_id": "owner-1",
        "status": "claimed",
        "model": "arm",
        "public_key": public_jwk(_DEVICE.key.public_key()),
    }
    documents.collection("robots").document(_DEVICE.robot_id).set(robot)
    publisher.stop()
    publisher.transport.close()
    objects.close()
    yield documents
    documents.close()


def _uploaded(stage: _Stage, episode_id: str) -> dict[str, Any]:
    data = SmallEpisode().archive()
    answer = stage.ask(episode_id=episode_id, size_bytes=len(data))
    assert answer.status_code == 200, answer.text
    grant: dict[str, Any] = answer.json()
    store(grant["uploads"][0], data).raise_for_status()
    return grant


def _is_told_to_come_back(response: httpx.Response) -> None:
    body = problem(response, 503, "service.unavailable")
    assert int(response.headers["retry-after"]) > 0
    assert "unavailable" in body["detail"]
    assert response.elapsed.total_seconds() < _PATIENCE_S


def test_without_firestore_the_client_waits_and_the_event_is_retried(stage: _Stage) -> None:
    grant = _uploaded(stage, "ep_dark_documents")
    with stage.without("firestore"):
        _is_told_to_come_back(stage.ask(episode_id="ep_dark_new"))
        began = time.monotonic()
        assert stage.deliver(grant) >= 500
        assert time.monotonic() - began < _PATIENCE_S
    assert _eventually(stage, grant)
    assert stage.status("ep_dark_documents") == "validated"
    assert _answered(stage, episode_id="ep_dark_new")


def test_without_storage_a_renewal_waits_and_the_event_is_retried(stage: _Stage) -> None:
    grant = _uploaded(stage, "ep_dark_objects")
    size = len(SmallEpisode().archive())
    with stage.without("storage"):
        # A first request needs no object: it is answered.
        assert stage.ask(episode_id="ep_dark_unseen", size_bytes=size).status_code == 200
        _is_told_to_come_back(stage.ask(episode_id="ep_dark_objects", size_bytes=size))
        assert stage.deliver(grant) >= 500
        assert stage.status("ep_dark_objects") == "raw"
    assert _eventually(stage, grant)
    assert stage.status("ep_dark_objects") == "validated"


def test_without_pubsub_the_verdict_stands_and_its_message_follows(stage: _Stage) -> None:
    grant = _uploaded(stage, "ep_dark_messages")
    with stage.without("pubsub"):
        assert stage.deliver(grant) >= 500
        assert stage.status("ep_dark_messages") == "validated"
    assert _eventually(stage, grant)
    document = stage.documents.collection("rlds_episodes").document("ep_dark_messages").get()
    assert document.get("announced") is True


def _answered(stage: _Stage, **request: Any) -> bool:
    """Ask as a client does: a 503 says when to come back, and coming back helps."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = stage.ask(**request)
        if answer.status_code == 200:
            return True
        _is_told_to_come_back(answer)
        time.sleep(0.2)
    return False


def _eventually(stage: _Stage, grant: dict[str, Any]) -> bool:
    """Deliver as Eventarc does, until it is acknowledged."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if stage.deliver(grant) < 300:
            return True
        time.sleep(0.2)
    return False
