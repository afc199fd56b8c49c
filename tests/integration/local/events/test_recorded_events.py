"""Firestore events are those that Google's emulator sent for the same changes.

``tests/events/recorded`` says how the recordings were made. Where ours differ on purpose, the
difference is named here, so that a new one is noticed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.events.cloud.firestore_v1 import DocumentEventData

from cloud_events import EVENTS
from continuon_local.firestore.service import FirestoreService
from continuon_local.http_server import HttpServer
from continuon_local.service import ServiceContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

PROJECT = "demo-continuon"
TRIGGERS = [
    (f"us-central1-{kind}{key}-0", f"google.cloud.firestore.document.v1.{kind}{suffix}")
    for kind in ("created", "updated", "deleted", "written")
    for key, suffix in (("", ""), ("-auth", ".withAuthContext"))
]

MALFORMED_SOURCE = "//firestore.googleapis.com/projects/projects/"
"""The emulator repeats "projects/"; production and we do not."""

DELIBERATE = {"ce-source", "ce-location", "ce-id", "ce-time"}
"""Compared by form: ids and times are each run's own; the emulator names ``us-central1`` as the
location of its database, production names ``nam5`` for its default, as we do."""

RECORDED: dict[str, Any] = json.loads(
    (EVENTS / "recorded" / "firestore_emulator.json").read_text(encoding="utf-8")
)
STEPS: dict[str, Any] = {step["step"]: step for step in RECORDED["steps"]}


class Recorder:
    """Stands in for the functions emulator of the Firebase CLI, which is not ours."""

    def __init__(self) -> None:
        self.requests: dict[str, tuple[dict[str, str], str]] = {}
        self.arrived = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.requests[scope["path"]] = headers, body.decode()
        self.arrived.set()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def take(self, count: int) -> dict[str, tuple[dict[str, str], str]]:
        """Return what arrived, ``count`` requests at least."""
        async with asyncio.timeout(10):
            while len(self.requests) < count:
                await self.arrived.wait()
                self.arrived.clear()
        await asyncio.sleep(0.1)
        taken, self.requests = self.requests, {}
        return taken


@contextlib.asynccontextmanager
async def wired() -> AsyncIterator[tuple[Recorder, httpx.AsyncClient]]:
    recorder = Recorder()
    functions = HttpServer(recorder, host="127.0.0.1", port=0)
    await functions.start()
    address = f"127.0.0.1:{functions.port}"
    service = FirestoreService(ServiceContext(data_dir=None), port=0, functions_emulator=address)
    await service.start()
    url, owner = f"http://127.0.0.1:{service.port}", {"authorization": "Bearer owner"}
    async with httpx.AsyncClient(base_url=url, headers=owner) as http:
        await register(http)
        yield recorder, http
    await service.stop()
    await functions.stop()


async def register(http: httpx.AsyncClient) -> None:
    for key, event_type in TRIGGERS:
        body = {
            "eventType": event_type,
            "database": "(default)",
            "namespace": "(default)",
            "document": {"value": "users/{uid}", "matchType": "PATH_PATTERN"},
        }
        address = f"/emulator/v1/projects/{PROJECT}/eventarcTrigger"
        answer = await http.post(address, params={"eventarcTriggerId": key}, json=body)
        answer.raise_for_status()


async def replay(
    names: list[str],
) -> dict[str, dict[str, tuple[dict[str, str], str]]]:
    """Make the recorded changes ``names`` in order; return what each of them delivered."""
    delivered = {}
    async with wired() as (recorder, http):
        for name in names:
            step = STEPS[name]
            answer = await http.request(step["method"], step["path"], json=step["body"])
            answer.raise_for_status()
            expected = 0 if name == "same" else len(step["deliveries"])
            delivered[name] = await recorder.take(expected)
    return delivered


def decoded(body: str) -> Any:
    """Return the payload with the times of this run removed."""
    payload = DocumentEventData.pb().FromString(base64.b64decode(body, validate=True))
    for state in ("value", "old_value"):
        if payload.HasField(state):
            for name in ("create_time", "update_time"):
                assert getattr(payload, state).HasField(name)
                getattr(payload, state).ClearField(name)
    # The emulator leaves the mask empty whatever changed; production names the fields, as we do.
    assert payload.HasField("update_mask")
    payload.update_mask.Clear()
    return payload


def mask(body: str) -> list[str]:
    payload = DocumentEventData.pb().FromString(base64.b64decode(body, validate=True))
    return list(payload.update_mask.field_paths)


def attributes(headers: dict[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name.startswith("ce-") or name == "content-type"
    }


async def test_every_change_arrives_with_the_emulators_headers_and_body() -> None:
    delivered = await replay(["create", "update", "masked", "delete"])
    for name, ours in delivered.items():
        recorded = {one["path"]: one for one in STEPS[name]["deliveries"]}
        assert set(ours) == set(recorded)
        for path, (headers, body) in ours.items():
            theirs = recorded[path]["headers"]
            mine = attributes(headers)
            assert set(mine) == set(theirs), path
            for header in set(theirs) - DELIBERATE:
                assert mine[header] == theirs[header], (path, header)
            assert decoded(body) == decoded(recorded[path]["body"]), path


async def test_what_differs_from_the_emulator_has_the_same_form() -> None:
    delivered = await replay(["create"])
    for headers, _ in delivered["create"].values():
        theirs = STEPS["create"]["deliveries"][0]["headers"]
        assert theirs["ce-source"].startswith(MALFORMED_SOURCE)
        assert headers["ce-source"] == (
            f"//firestore.googleapis.com/projects/{PROJECT}/databases/(default)"
        )
        assert (theirs["ce-location"], headers["ce-location"]) == ("us-central1", "nam5")
        assert str(uuid.UUID(headers["ce-id"])) == headers["ce-id"]
        assert re.fullmatch(r"[\dT:-]{19}(\.\d+)?Z", headers["ce-time"])
        assert datetime.fromisoformat(headers["ce-time"]).utcoffset() is not None
    ids = [headers["ce-id"] for headers, _ in delivered["create"].values()]
    assert len(set(ids)) == len(ids)


async def test_the_mask_names_the_fields_that_changed_where_the_emulators_is_empty() -> None:
    delivered = await replay(["create", "update", "masked", "delete"])
    masks = {name: [mask(body) for _, body in ours.values()] for name, ours in delivered.items()}
    changed = ["gone", "list", "n", "nested.`a b`", "nested.y", "`new\\`field`"]
    assert masks == {
        "create": [[]] * 4,
        "update": [changed] * 4,
        "masked": [["n"]] * 4,
        "delete": [[]] * 4,
    }
    assert {mask(one["body"]) == [] for step in STEPS.values() for one in step["deliveries"]} == {
        True
    }


async def test_a_write_that_changes_nothing_is_no_event_as_in_production() -> None:
    # The emulator reports an update with an empty mask; production reports nothing.
    delivered = await replay(["create", "update", "same"])
    assert len(STEPS["same"]["deliveries"]) == 4
    assert delivered["same"] == {}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_the_recording_is_what_it_says(step: dict[str, Any]) -> None:
    for one in step["deliveries"]:
        kind = one["headers"]["ce-type"].removesuffix(".withAuthContext").rpartition(".")[2]
        assert kind in one["path"]
        assert ("ce-authtype" in one["headers"]) == ("-auth-" in one["path"])
