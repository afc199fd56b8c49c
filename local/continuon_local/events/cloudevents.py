"""CloudEvents 1.0 over HTTP: binary mode out, as Eventarc sends; both modes in."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from continuon_local.events.outbox import OutboxEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AUTH_CONTEXT",
    "MalformedEventError",
    "binary_headers",
    "parse_event",
    "with_auth_context",
]

AUTH_CONTEXT = ".withAuthContext"
"""The end of the type of a Firestore event that says who made the change."""

_AUTH = {"authtype": "unknown", "authid": "fake-auth-id@gmail.com"}
"""What Google's Firestore emulator says of everyone, administrators and users alike; production
names the principal. A function that decides by it cannot be tested with either emulator."""

_ATTRIBUTES = ("id", "type", "source", "subject", "time")
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""What stays as it is in a header: printable ASCII but space, quote and percent (CloudEvents HTTP
binding, section 3.1.3.2)."""


class MalformedEventError(Exception):
    """The request is no CloudEvent."""


def binary_headers(event: OutboxEvent) -> list[tuple[bytes, bytes]]:
    """Return the headers that carry ``event`` beside its data as the body."""
    attributes = {
        "specversion": "1.0",
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "time": event.time,
        "dataschema": event.data_schema,
        **event.extensions,
    }
    headers = [
        (f"ce-{name}".encode(), quote(value, safe=_PRINTABLE).encode())
        for name, value in attributes.items()
        if value
    ]
    return [*headers, (b"content-type", event.data_content_type.encode())]


def with_auth_context(event: OutboxEvent) -> OutboxEvent:
    """Return the event for triggers that ask for the auth context; always the same for one event.

    It has an id of its own, as in production, where both are events side by side.
    """
    return replace(
        event,
        id=str(uuid.uuid5(uuid.NAMESPACE_OID, event.id)),
        type=event.type + AUTH_CONTEXT,
        extensions={**event.extensions, **_AUTH},
    )


def parse_event(headers: Mapping[str, str], body: bytes) -> OutboxEvent:
    """Read a CloudEvent from a request, in structured or in binary mode.

    A binary protobuf body may be base64 text: the Firestore emulator sends it so on the way to
    the functions emulator.

    Raises:
        MalformedEventError: A required attribute is missing or the body is not what it says.
    """
    content_type = headers.get("content-type", "")
    if content_type.startswith("application/cloudevents+json"):
        return _structured(body)
    attributes = {
        name.lower()[3:]: unquote(value)
        for name, value in headers.items()
        if name.lower().startswith("ce-")
    }
    if content_type.startswith("application/protobuf") or (
        attributes.get("datacontenttype", "").startswith("application/protobuf")
    ):
        content_type, body = "application/protobuf", _unwrapped(body)
    return _event(attributes, content_type or "application/json", body)


def _structured(body: bytes) -> OutboxEvent:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise MalformedEventError(f"the body is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise MalformedEventError("the body is no JSON object")
    encoded = document.pop("data_base64", None)
    data = document.pop("data", None)
    content = json.dumps(data).encode() if encoded is None else _base64(str(encoded).encode())
    attributes = {name: str(value) for name, value in document.items() if value is not None}
    return _event(attributes, attributes.get("datacontenttype", "application/json"), content)


def _event(attributes: dict[str, Any], content_type: str, data: bytes) -> OutboxEvent:
    missing = [name for name in ("id", "type", "source") if not attributes.get(name)]
    if missing:
        raise MalformedEventError(f"missing CloudEvents attributes: {', '.join(missing)}")
    known = {name: attributes.pop(name, "") for name in _ATTRIBUTES}
    schema = attributes.pop("dataschema", "")
    attributes.pop("specversion", None)
    attributes.pop("datacontenttype", None)
    return OutboxEvent(
        **known,
        data=data,
        data_content_type=content_type,
        data_schema=schema,
        extensions=attributes,
    )


def _unwrapped(body: bytes) -> bytes:
    try:
        return _base64(body)
    except MalformedEventError:
        return body


def _base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise MalformedEventError(f"not base64: {error}") from error
