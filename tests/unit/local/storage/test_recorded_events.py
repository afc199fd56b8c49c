"""Storage events beside those that the Firebase CLI's Storage emulator sends.

The CLI puts the object into ``source`` and sends no ``subject``; production, and we, name the
bucket in ``source`` and ``bucket`` and the object in ``subject``:
https://cloud.google.com/eventarc/docs/cloudevents#cloud-storage
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from cloud_events import EVENTS

if TYPE_CHECKING:
    from continuon_local.events.outbox import OutboxEvent
    from unit.local.storage.harness import Cloud

NAME = "episodes/raw/a b.json"
OBJECT = f"/storage/v1/b/episodes/o/{NAME.replace('/', '%2F').replace(' ', '%20')}"
CLI_ONLY = {"contentDisposition"}
"""The CLI's emulator gives every object a disposition; the service only where it was set."""

RECORDED = {
    event["type"]: event
    for event in json.loads(
        (EVENTS / "recorded" / "firebase_cli_storage.json").read_text(encoding="utf-8")
    )["events"]
}
TYPES = sorted(RECORDED)


@pytest.fixture
async def events(cloud: Cloud) -> dict[str, OutboxEvent]:
    """One event of each type, by type."""
    created = await cloud.upload(NAME, b"{}", contentEncoding="identity")
    assert created.status_code == 200, created.text
    await cloud.http.patch(OBJECT, json={"metadata": {"robot": "3a671f80"}})
    await cloud.http.delete(OBJECT)
    await cloud.http.patch("/storage/v1/b/episodes", json={"versioning": {"enabled": True}})
    await cloud.upload(NAME, b"{}")
    await cloud.http.delete(OBJECT)
    return {event.type: event for _, event in reversed(list(cloud.engine.outbox.pending()))}


def shape(value: Any) -> Any:
    """Return what kind of value it is: an instant, a number in a string, or its type."""
    if not isinstance(value, str):
        return type(value)
    if value.isdecimal():
        return "number"
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return str
    return (
        "instant" if value.endswith("Z") and len(value) == len("2026-01-04T12:00:01.301Z") else str
    )


@pytest.mark.parametrize("event_type", TYPES)
def test_an_event_has_what_the_firebase_cli_sends(
    events: dict[str, OutboxEvent], event_type: str
) -> None:
    ours, theirs = events[event_type], RECORDED[event_type]
    assert theirs["source"] == (
        "//storage.googleapis.com/projects/_/buckets/continuon-rlds/objects/episodes/raw/a b.json"
    )
    assert ours.source == "//storage.googleapis.com/projects/_/buckets/episodes"
    assert ours.subject == f"objects/{NAME}"
    assert ours.extensions == {"bucket": "episodes"}
    assert ours.data_content_type == "application/json"
    assert shape(ours.time) == shape(theirs["time"]) == "instant"


@pytest.mark.parametrize("event_type", TYPES)
def test_the_object_has_every_field_in_the_same_form(
    events: dict[str, OutboxEvent], event_type: str
) -> None:
    ours, theirs = json.loads(events[event_type].data), RECORDED[event_type]["data"]
    missing = set(theirs) - set(ours) - CLI_ONLY
    # Only the object that was patched has custom metadata, only the first one an encoding.
    assert missing <= {"metadata", "contentEncoding"}
    for field in set(theirs) & set(ours):
        assert shape(ours[field]) == shape(theirs[field]), field
    assert ours["id"].startswith(f"episodes/{NAME}/{ours['generation']}")
    # The CLI leaves the slashes of a name encoded, as the service does.
    assert ours["selfLink"].endswith("episodes%2Fraw%2Fa%20b.json")
    assert theirs["selfLink"].endswith("episodes%2Fraw%2Fa%20b.json")


def test_all_four_changes_are_compared() -> None:
    prefix = "google.cloud.storage.object.v1."
    assert {name.removeprefix(prefix) for name in RECORDED} == {
        "finalized",
        "deleted",
        "archived",
        "metadataUpdated",
    }
