"""Pub/Sub events beside those that the Firebase CLI's functions receive."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

import pytest

from cloud_events import EVENTS
from continuon_local.pubsub.envelope import published_event
from continuon_local.pubsub.messages import new

TOPIC = "projects/demo-continuon/topics/jobs"
RECORDED: list[dict[str, Any]] = json.loads(
    (EVENTS / "recorded" / "firebase_cli_pubsub.json").read_text(encoding="utf-8")
)["events"]


def republished(recorded: dict[str, Any]) -> Any:
    """Return the recorded message as our service keeps it."""
    given = recorded["data"]["message"]
    message = new(
        "PubsubMessage",
        data=base64.b64decode(given["data"]),
        attributes=given["attributes"],
        message_id=given["messageId"],
        ordering_key=given["orderingKey"],
    )
    message.publish_time.FromDatetime(datetime.fromisoformat(given["publishTime"]))
    return message


@pytest.mark.parametrize("recorded", RECORDED, ids=["full", "empty"])
def test_a_message_arrives_field_by_field_as_the_cli_sends_it(recorded: dict[str, Any]) -> None:
    event = published_event(TOPIC, republished(recorded))
    data = json.loads(event.data)
    theirs = dict(recorded["data"]["message"])
    # The CLI sends an empty ordering key where production, and we, leave it out.
    if not theirs["orderingKey"]:
        del theirs["orderingKey"]
    assert data["message"] == theirs
    assert (event.type, event.source, event.time, event.subject) == (
        recorded["type"],
        recorded["source"],
        recorded["time"],
        "",
    )
    # The subscription is the CLI's own in one case, the one Eventarc would make in the other.
    assert recorded["data"]["subscription"].endswith("/subscriptions/emulator-sub-jobs")
    assert data["subscription"] == "projects/demo-continuon/subscriptions/eventarc-jobs"


def test_an_event_is_recognized_by_its_message() -> None:
    # The CLI makes a new id for each delivery; production's is the message's, the same each time.
    event = published_event(TOPIC, republished(RECORDED[0]))
    assert event.id == "1"
    assert RECORDED[0]["id"] != "1"
