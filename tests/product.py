"""The product as its users see it: accounts and robots behind the gateway, and a look inside.

Requests go through the hosting gateway with real proofs. What is stored is read with Google's own
clients, which is how an operator would look at it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.cloud.storage import Client as StorageClient

from conftest import REPOSITORY
from devices import Device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from conftest import LocalCloudProcess

__all__ = ["Account", "Product", "Robot", "copied_project", "problem", "store", "wait_for"]

T = TypeVar("T")

BUCKET = "continuon-rlds"
TOPIC = "episode-validated"
_NUMBERS = itertools.count(1)
_TIMEOUT_S = 60.0
_QUIET_S = 0.5
"""A subscription that is silent for this long, in seconds, has nothing more to say."""


def wait_for(find: Callable[[], T | None], *, timeout_s: float = 30.0) -> T:
    """Return what ``find`` returns once it is no longer None."""
    deadline = time.monotonic() + timeout_s
    while (found := find()) is None:
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that ``response`` is the problem ``code`` and return it."""
    assert (response.status_code, response.headers["content-type"]) == (
        status,
        "application/problem+json",
    ), response.text
    body: dict[str, Any] = response.json()
    assert body["code"] == code, body
    return body


def copied_project(target: Path, *, codebases: Sequence[str], **rlds: str) -> Path:
    """Copy what is deployed to ``target``; ``rlds`` are local variables of that codebase."""
    target.mkdir()
    for pattern in ("firestore.*", "storage.rules", "continuon-local.toml"):
        for path in REPOSITORY.glob(pattern):
            shutil.copy(path, target)
    config = json.loads((REPOSITORY / "firebase.json").read_text(encoding="utf-8"))
    kept = [entry for entry in config["functions"] if entry["codebase"] in codebases]
    (target / "firebase.json").write_text(json.dumps({**config, "functions": kept}))
    (target / config["hosting"]["public"]).mkdir()
    for entry in kept:
        ignored = shutil.ignore_patterns("__pycache__", "venv", "vendor")
        shutil.copytree(REPOSITORY / entry["source"], target / entry["source"], ignore=ignored)
    lines = [f"{name.upper()}={value}\n" for name, value in rlds.items()]
    with (target / "functions/rlds/.env.local").open("a", encoding="utf-8") as file:
        file.write("\n" + "".join(lines))
    return target


@dataclass(frozen=True)
class Account:
    """A signed-in person."""

    product: Product = field(repr=False)
    uid: str
    token: str

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request with the ID token."""
        headers = {"authorization": f"Bearer {self.token}"}
        return self.product.http.request(method, path, headers=headers, **options)

    def robot(self, robot_id: str | None = None, *, model: str = "arm") -> Robot:
        """Claim a new robot."""
        device = Device(robot_id or f"robot-{next(_NUMBERS)}", model)
        response = self.claim(device)
        assert response.status_code == 201, response.text
        return Robot(self.product, device, self)

    def claim(self, device: Device) -> httpx.Response:
        """Ask to claim ``device`` with a fresh proof."""
        proof = device.claim(self.uid)
        return self.call("POST", "/api/v1/robots/claim", json={"proof": proof})


@dataclass(frozen=True)
class Robot:
    """A claimed robot with its key."""

    product: Product = field(repr=False)
    device: Device
    owner: Account

    @property
    def id(self) -> str:
        """The robot id."""
        return self.device.robot_id

    def call(self, method: str, path: str, document: Any = None) -> httpx.Response:
        """Send a signed request."""
        if document is None:
            headers = self.device.headers(method, path)
            return self.product.http.request(method, path, headers=headers)
        body, headers = self.device.json(method, path, document)
        return self.product.http.request(method, path, headers=headers, content=body)

    def grant(self, **request: Any) -> dict[str, Any]:
        """Ask for upload URLs."""
        response = self.call("POST", "/api/rlds/signed-url", request)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def upload_archive(self, data: bytes, **request: Any) -> dict[str, Any]:
        """Announce and upload one object."""
        grant = self.grant(
            **{"content_type": "application/gzip", "size_bytes": len(data)} | request
        )
        store(grant["uploads"][0], data).raise_for_status()
        return grant

    def upload_files(self, files: Mapping[str, bytes], episode_id: str) -> dict[str, Any]:
        """Announce a folder and upload its files in the order of ``files``."""
        listed = [{"path": path, "size_bytes": len(data)} for path, data in files.items()]
        grant = self.grant(episode_id=episode_id, files=listed)
        for upload in grant["uploads"]:
            store(upload, files[upload["path"]]).raise_for_status()
        return grant

    def ingest(self, grant: Mapping[str, Any], **request: Any) -> httpx.Response:
        """Ask for the verdict now."""
        document = {"episode_ref": grant["episode_ref"], **request}
        return self.call("POST", "/api/rlds/ingest", document)


def store(upload: Mapping[str, Any], data: bytes, **changes: Any) -> httpx.Response:
    """Send ``data`` as a granted upload says; ``changes`` replace parts of the request."""
    request = {
        "method": upload["method"],
        "url": upload["url"],
        "headers": upload["headers"],
        "content": data,
        **changes,
    }
    if request["method"] != "POST":
        return httpx.request(**request, timeout=_TIMEOUT_S)
    started = httpx.request(**{**request, "content": b""}, timeout=_TIMEOUT_S)
    if started.status_code != 201:
        return started
    return httpx.put(started.headers["location"], content=data, timeout=_TIMEOUT_S)


class Product:
    """One running local cloud, seen from outside and from inside."""

    def __init__(self, cloud: LocalCloudProcess) -> None:
        self.cloud = cloud
        self.http = httpx.Client(base_url=cloud.url, timeout=_TIMEOUT_S)
        with pytest.MonkeyPatch.context() as environment:
            for name, value in cloud.env.items():
                environment.setenv(name, value)
            project = cloud.env["GOOGLE_CLOUD_PROJECT"]
            self.firestore: Any = firestore.Client(project=project)
            self.storage: Any = StorageClient(project=project)
            self.publisher: Any = PublisherClient()
            self.subscriber: Any = SubscriberClient()
        self.project = project
        self.topic = f"projects/{project}/topics/{TOPIC}"
        with contextlib.suppress(exceptions.AlreadyExists):
            self.publisher.create_topic(name=self.topic)

    def close(self) -> None:
        """Close every connection."""
        self.http.close()
        self.firestore.close()
        self.storage.close()
        self.publisher.stop()
        self.publisher.transport.close()
        self.subscriber.close()

    def account(self) -> Account:
        """Sign up a new person."""
        number = next(_NUMBERS)
        answer = httpx.post(
            f"{self.cloud.urls['auth']}/identitytoolkit.googleapis.com/v1/accounts:signUp?key=k",
            json={
                "email": f"person-{number}@example.com",
                "password": "correct horse",
                "returnSecureToken": True,
            },
            timeout=_TIMEOUT_S,
        ).raise_for_status()
        return Account(self, answer.json()["localId"], answer.json()["idToken"])

    # --- A look inside --------------------------------------------------------------------------

    def episode(self, episode_id: str) -> dict[str, Any] | None:
        """Return an episode's document."""
        found: dict[str, Any] | None = (
            self.firestore.collection("rlds_episodes").document(episode_id).get().to_dict()
        )
        return found

    def settled(self, episode_id: str, *, timeout_s: float = 30.0) -> dict[str, Any]:
        """Wait until the ingest of an episode is completed, and return its document."""

        def find() -> dict[str, Any] | None:
            data = self.episode(episode_id)
            return data if data and data.get("announced") else None

        return wait_for(find, timeout_s=timeout_s)

    def documents(self, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Return every document by path, except those of the collections in ``without``."""
        return {
            snapshot.reference.path: snapshot.to_dict()
            for collection in self.firestore.collections()
            if collection.id not in without
            for snapshot in collection.stream()
        }

    def objects(self, prefix: str = "", *, versions: bool = False) -> dict[str, tuple[int, str]]:
        """Return generation and checksum of every object by name."""
        blobs = self.storage.list_blobs(BUCKET, prefix=prefix, versions=versions)
        return {blob.name: (blob.generation, blob.crc32c) for blob in blobs}

    def contents(self, episode_id: str) -> dict[str, str]:
        """Return the checksum of everything stored for an episode, by name."""
        return {
            name: checksum
            for name, (_, checksum) in self.objects("episodes/").items()
            if f"/{episode_id}/" in name
        }

    def everything(self, *, without: frozenset[str] = frozenset()) -> tuple[Any, Any]:
        """Return all documents and objects, to compare a before with an after."""
        return self.documents(without=without), self.objects()

    def messages(self) -> Messages:
        """Subscribe to what is announced from now on."""
        name = f"projects/{self.project}/subscriptions/test-{next(_NUMBERS)}"
        self.subscriber.create_subscription(name=name, topic=self.topic)
        return Messages(self, name)


@dataclass
class Messages:
    """What was announced since the subscription."""

    product: Product
    subscription: str
    _seen: dict[str, list[str]] = field(default_factory=dict)

    def of(self, episode_id: str) -> list[str]:
        """Return the ``event_id`` of every message about an episode that has arrived."""
        for received in self._pull():
            event_id = received.message.attributes["event_id"]
            self._seen.setdefault(event_id.partition(":")[0], []).append(event_id)
        return self._seen.get(episode_id, [])

    def _pull(self) -> Iterator[Any]:
        subscriber, name = self.product.subscriber, self.subscription
        while True:
            try:
                answer = subscriber.pull(
                    subscription=name, max_messages=100, timeout=_QUIET_S, retry=None
                )
            except exceptions.DeadlineExceeded:
                return
            ids = [received.ack_id for received in answer.received_messages]
            if ids:
                subscriber.acknowledge(subscription=name, ack_ids=ids)
            yield from answer.received_messages
