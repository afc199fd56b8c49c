"""A message as JSON: Google's push envelope, and the CloudEvent that a function receives."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from continuon_local.events.outbox import OutboxEvent
from continuon_local.pubsub.names import project_of, short_name

if TYPE_CHECKING:
    from continuon_local.pubsub.messages import Message

__all__ = ["published_event", "push_body"]


def push_body(message: Message, subscription: str, delivery_attempt: int | None) -> bytes:
    """Return the body of a push request.

    ``delivery_attempt`` is there only where a dead-letter policy makes Google count.
    """
    envelope: dict[str, Any] = {"message": _message_json(message), "subscription": subscription}
    if delivery_attempt is not None:
        envelope["deliveryAttempt"] = delivery_attempt
    return json.dumps(envelope).encode()


def published_event(topic: str, message: Message) -> OutboxEvent:
    """Return the event for functions that are triggered by ``topic``.

    Production names the subscription that Eventarc made for the trigger; which trigger it is, only
    the router knows, so the key ends in the topic's own short name here.
    """
    subscription = f"projects/{project_of(topic)}/subscriptions/eventarc-{short_name(topic)}"
    payload = {"message": _message_json(message), "subscription": subscription}
    return OutboxEvent(
        id=message.message_id,
        type="google.cloud.pubsub.topic.v1.messagePublished",
        source=f"//pubsub.googleapis.com/{topic}",
        subject="",
        time=_publish_time(message),
        data=json.dumps(payload).encode(),
    )


def _message_json(message: Message) -> dict[str, Any]:
    published = _publish_time(message)
    value: dict[str, Any] = {
        "data": base64.b64encode(message.data).decode(),
        "attributes": dict(message.attributes),
        # Google sends both spellings.
        "messageId": message.message_id,
        "message_id": message.message_id,
        "publishTime": published,
        "publish_time": published,
    }
    if message.ordering_key:
        value["orderingKey"] = message.ordering_key
    return value


def _publish_time(message: Message) -> str:
    stamp = message.publish_time
    moment = datetime.fromtimestamp(stamp.seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{stamp.nanos // 1_000_000:03d}Z"
