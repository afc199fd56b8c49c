"""The emulator's REST extras: clear, export and import, rules, triggers of the Firebase CLI."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.events.cloud.firestore_v1 import DocumentEventData

from continuon_local.firestore.service import FirestoreService
from continuon_local.http_server import HttpServer
from continuon_local.service import ServiceContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

OWNER = {"authorization": "Bearer owner"}


@pytest.fixture
def project() -> str:
    return f"p-{uuid.uuid4().hex}"


@pytest.fixture
def http(firestore_host: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{firestore_host}", headers=OWNER, timeout=10) as http:
        yield http


def documents(project: str, database: str = "(default)") -> str:
    return f"/v1/projects/{project}/databases/{database}/documents"


def put(http: httpx.Client, path: str, number: int) -> None:
    body = {"fields": {"n": {"integerValue": str(number)}}}
    http.patch(path, json=body).raise_for_status()


def test_clearing_empties_one_database_and_no_other(http: httpx.Client, project: str) -> None:
    put(http, f"{documents(project)}/c/a", 1)
    put(http, f"{documents(project)}/c/a/sub/b", 1)
    put(http, f"{documents(project, 'other')}/c/a", 1)
    cleared = http.delete(f"/emulator/v1/projects/{project}/databases/(default)/documents")
    assert cleared.json() == {}
    assert http.get(f"{documents(project)}/c").json() == {}
    assert http.get(f"{documents(project)}/c/a/sub/b").status_code == 404
    assert http.get(f"{documents(project, 'other')}/c/a").status_code == 200


def test_an_export_is_imported_into_an_empty_database(
    http: httpx.Client, project: str, tmp_path: Path
) -> None:
    put(http, f"{documents(project)}/c/a", 1)
    put(http, f"{documents(project)}/c/a/sub/b", 2)
    body = {"export_directory": str(tmp_path), "export_name": "one"}
    exported = http.post(f"/emulator/v1/projects/{project}:export", json=body)
    assert exported.json() == {"documents": 2}
    other = f"{project}-2"
    imported = http.post(f"/emulator/v1/projects/{other}:import", json=body)
    assert imported.json() == {"documents": 2}
    read = http.get(f"{documents(other)}/c/a/sub/b").json()
    assert read["fields"] == {"n": {"integerValue": "2"}}


def test_a_damaged_export_is_refused_and_changes_nothing(
    http: httpx.Client, project: str, tmp_path: Path
) -> None:
    address = f"/emulator/v1/projects/{project}:import"
    body = {"export_directory": str(tmp_path)}
    assert http.post(address, json=body).json()["error"]["status"] == "NOT_FOUND"
    metadata = {"format": "continuon-local-firestore/1"}
    (tmp_path / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    (tmp_path / "documents.jsonl").write_text('{"name": "projects/', encoding="utf-8")
    assert http.post(address, json=body).json()["error"]["status"] == "INVALID_ARGUMENT"
    page = http.post(address, json=body, headers={"origin": "http://evil.example"})
    assert page.json()["error"]["status"] == "PERMISSION_DENIED"
    assert http.post(address, json={}).json()["error"]["status"] == "INVALID_ARGUMENT"
    assert http.get(f"{documents(project)}/c").json() == {}


def test_unknown_and_malformed_calls_have_googles_shape(http: httpx.Client, project: str) -> None:
    base = f"/emulator/v1/projects/{project}"
    assert http.get(f"{base}:nothing").json()["error"]["status"] == "NOT_FOUND"
    assert http.get(f"{base}:ruleCoverage").json()["error"]["status"] == "UNIMPLEMENTED"
    rules = http.put(f"{base}:securityRules", json={"rules": {}})
    assert rules.json()["error"]["status"] == "INVALID_ARGUMENT"
    trigger = http.put(f"{base}/triggers/k", json={"eventTrigger": {"eventType": "x"}})
    assert trigger.json()["error"]["status"] == "INVALID_ARGUMENT"


class Recorder:
    """Stands in for the functions emulator of the Firebase CLI, which is not ours."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.arrived = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.requests.append((scope["path"], headers, message["body"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        self.arrived.set()

    async def next(self) -> tuple[str, dict[str, str], bytes]:
        await asyncio.wait_for(self.arrived.wait(), 10)
        self.arrived.clear()
        return self.requests.pop()


@contextlib.asynccontextmanager
async def wired() -> AsyncIterator[tuple[Recorder, httpx.AsyncClient]]:
    recorder = Recorder()
    functions = HttpServer(recorder, host="127.0.0.1", port=0)
    await functions.start()
    context = ServiceContext(data_dir=None)
    address = f"127.0.0.1:{functions.port}"
    service = FirestoreService(context, port=0, functions_emulator=address)
    await service.start()
    url = f"http://127.0.0.1:{service.port}"
    async with httpx.AsyncClient(base_url=url, headers=OWNER) as http:
        yield recorder, http
    await service.stop()
    await functions.stop()


async def write(http: httpx.AsyncClient, path: str, number: int) -> None:
    body = {"fields": {"n": {"integerValue": str(number)}}}
    (await http.patch(f"{documents('p')}/{path}", json=body)).raise_for_status()


async def test_a_registered_trigger_is_delivered_as_the_official_emulator_does() -> None:
    async with wired() as (recorder, http):
        body = {
            "eventType": "google.cloud.firestore.document.v1.created",
            "database": "(default)",
            "namespace": "(default)",
            "document": {"value": "users/{uid}", "matchType": "PATH_PATTERN"},
        }
        registered = await http.post(
            "/emulator/v1/projects/p/eventarcTrigger",
            params={"eventarcTriggerId": "us-central1-hello-0"},
            json=body,
        )
        assert registered.json() == body
        await write(http, "other/x", 1)
        await write(http, "users/x", 1)
        path, headers, payload = await recorder.next()
        await write(http, "users/x", 2)
        await asyncio.sleep(0.1)
        assert recorder.requests == []
    assert path == "/functions/projects/p/triggers/us-central1-hello-0"
    assert headers["ce-type"] == "google.cloud.firestore.document.v1.created"
    assert headers["ce-source"] == "//firestore.googleapis.com/projects/p/databases/(default)"
    assert headers["ce-subject"] == "documents/users/x"
    assert headers["ce-document"] == "users/x"
    assert headers["ce-datacontenttype"] == headers["content-type"] == "application/protobuf"
    data: Any = DocumentEventData.pb().FromString(base64.b64decode(payload, validate=True))
    assert data.value.fields["n"].integer_value == 1


async def test_a_first_generation_trigger_gets_the_legacy_form() -> None:
    async with wired() as (recorder, http):
        resource = "projects/p/databases/(default)/documents/users/{uid}"
        kind = "providers/cloud.firestore/eventTypes/document.write"
        event = {"resource": resource, "eventType": kind, "service": "firestore.googleapis.com"}
        address = "/emulator/v1/projects/p/triggers/us-central1-old-0"
        (await http.put(address, json={"eventTrigger": event})).raise_for_status()
        await write(http, "users/x", 1)
        await recorder.next()
        await write(http, "users/x", 2)
        _, _, payload = await recorder.next()
        (await http.delete(address)).raise_for_status()
        await write(http, "users/x", 3)
        await asyncio.sleep(0.1)
        assert recorder.requests == []
    document = json.loads(payload)
    assert document["context"]["eventType"] == kind
    assert document["context"]["resource"]["name"].endswith("/documents/users/x")
    assert document["data"]["oldValue"]["fields"] == {"n": {"integerValue": "1"}}
    assert document["data"]["value"]["fields"] == {"n": {"integerValue": "2"}}
    assert document["data"]["updateMask"] == {"fieldPaths": ["n"]}


def test_a_trigger_that_could_not_be_delivered_is_refused(http: httpx.Client, project: str) -> None:
    refused = http.post(
        f"/emulator/v1/projects/{project}/eventarcTrigger",
        params={"eventarcTriggerId": "k"},
        json={
            "eventType": "google.cloud.firestore.document.v1.written",
            "document": {"value": "users/{uid}"},
        },
    )
    assert refused.json()["error"]["status"] == "FAILED_PRECONDITION"
