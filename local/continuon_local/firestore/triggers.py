"""Triggers that the Firebase CLI registers here, and their delivery to its functions emulator.

This is the wiring of ``firebase emulators:start``: a function's key is registered with a document
pattern, and every matching change is posted to ``/functions/projects/P/triggers/KEY``. The own
functions of the project are served by the event router instead, from the outbox.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from continuon_local.events.cloudevents import AUTH_CONTEXT, binary_headers, with_auth_context
from continuon_local.firestore.errors import failed_precondition, invalid_argument
from continuon_local.firestore.events import (
    change_kind,
    changed_paths,
    cloud_event,
    pattern_to_regex,
)
from continuon_local.firestore.paths import parse_document_name
from continuon_local.firestore.times import to_rfc3339

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

    import httpx

    from continuon_local.firestore.engine import Engine
    from continuon_local.firestore.transactions import Change

__all__ = ["Trigger", "TriggerDelivery", "parse_eventarc_trigger", "parse_legacy_trigger"]

_LOG = logging.getLogger(__name__)
_EVENTARC = "google.cloud.firestore.document.v1."
_LEGACY = "providers/cloud.firestore/eventTypes/document."
_LEGACY_KINDS = {
    "create": "created",
    "update": "updated",
    "delete": "deleted",
    "write": "written",
}
_KINDS = frozenset(_LEGACY_KINDS.values())
_TIMEOUT_S = 60.0
_ATTEMPTS = 3
"""Only a connection that fails is tried again; an answer, whatever it is, ends a delivery."""

_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Trigger:
    """One registered trigger.

    Attributes:
        project_id: The project of the function.
        key: What the CLI calls it.
        database: ``projects/P/databases/D``.
        kind: ``created``, ``updated``, ``deleted`` or ``written``.
        pattern: Matches paths of documents.
        legacy: Whether the function is of the first generation.
        with_auth: Whether it asks for the auth context.
    """

    project_id: str
    key: str
    database: str
    kind: str
    pattern: re.Pattern[str]
    legacy: bool
    with_auth: bool = False


def _text(body: Mapping[str, Any], name: str, default: str = "") -> str:
    value = body.get(name, default)
    if not isinstance(value, str):
        raise invalid_argument(f"{name} must be text.")
    return value


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if not isinstance(value, dict):
        raise invalid_argument(f"{name} must be an object.")
    return value


def parse_eventarc_trigger(project_id: str, key: str, body: Mapping[str, Any]) -> Trigger:
    """Read the registration of a second-generation function.

    Raises:
        StatusError: INVALID_ARGUMENT when it is not one that could fire.
    """
    kind = _text(body, "eventType").removeprefix(_EVENTARC)
    change = kind.removesuffix(AUTH_CONTEXT)
    if change not in _KINDS or not key:
        raise invalid_argument(f'There is no event type "{body.get("eventType")}".')
    document = _object(body, "document")
    database = _text(body, "database", "(default)").rpartition("/")[2]
    return Trigger(
        project_id,
        key,
        f"projects/{project_id}/databases/{database}",
        change,
        pattern_to_regex(_text(document, "value")),
        legacy=False,
        with_auth=kind != change,
    )


def parse_legacy_trigger(project_id: str, key: str, body: Mapping[str, Any]) -> Trigger:
    """Read the registration of a first-generation function.

    Raises:
        StatusError: INVALID_ARGUMENT when it is not one that could fire.
    """
    event = _object(body, "eventTrigger")
    kind = _LEGACY_KINDS.get(_text(event, "eventType").removeprefix(_LEGACY))
    database, separator, pattern = _text(event, "resource").partition("/documents/")
    if kind is None or not separator:
        raise invalid_argument("eventTrigger needs an eventType and the resource of documents.")
    return Trigger(project_id, key, database, kind, pattern_to_regex(pattern), legacy=True)


def _legacy_body(trigger: Trigger, change: Change, commit_time: int) -> dict[str, Any]:
    data: dict[str, Any] = {
        name: json_format.MessageToDict(state) if state is not None else {}
        for name, state in (("value", change.new), ("oldValue", change.old))
    }
    if change.new is not None and change.old is not None:
        data["updateMask"] = {
            "fieldPaths": list(changed_paths(change.old.fields, change.new.fields))
        }
    kind = next(name for name, known in _LEGACY_KINDS.items() if known == trigger.kind)
    context = {
        "eventId": str(uuid.uuid4()),
        "eventType": _LEGACY + kind,
        "timestamp": to_rfc3339(commit_time),
        "resource": {"service": "firestore.googleapis.com", "name": change.name},
    }
    return {"context": context, "data": data}


class TriggerDelivery:
    """The registered triggers, and the deliveries under way.

    Args:
        engine: Whose commits fire them.
        functions_emulator: ``HOST:PORT`` of the functions emulator, or None for none.
    """

    def __init__(self, engine: Engine, functions_emulator: str | None) -> None:
        self._engine = engine
        self._address = functions_emulator
        self._triggers: dict[tuple[str, str], Trigger] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: httpx.AsyncClient | None = None

    def register(self, trigger: Trigger) -> None:
        """Deliver what matches from now on, in place of an earlier trigger with the key.

        Raises:
            StatusError: FAILED_PRECONDITION when it is not known where to deliver to.
        """
        if self._address is None:
            raise failed_precondition(
                "There is no functions emulator to deliver to: start with --functions-emulator."
            )
        if self._client is None:
            import httpx  # noqa: PLC0415 - 6 MB that hardly anybody needs

            self._client = httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False)
            self._engine.subscribe(self._committed)
        self._triggers[trigger.project_id, trigger.key] = trigger

    def remove(self, project_id: str, key: str) -> None:
        """Forget a trigger; nothing happens where there is none."""
        self._triggers.pop((project_id, key), None)

    def _committed(self, version: int, changes: Mapping[str, Change]) -> None:
        for change in changes.values():
            name = parse_document_name(change.name)
            kinds = {change_kind(change), "written"}
            for trigger in self._triggers.values():
                if (
                    trigger.database == name.collection.database
                    and trigger.kind in kinds
                    and trigger.pattern.fullmatch(name.path)
                ):
                    task = asyncio.ensure_future(self._deliver(trigger, change, version))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    async def _deliver(self, trigger: Trigger, change: Change, version: int) -> None:
        import httpx  # noqa: PLC0415 - as in register

        url = (
            f"http://{self._address}/functions/projects/{trigger.project_id}/triggers/{trigger.key}"
        )
        for attempt in range(_ATTEMPTS):
            await asyncio.sleep(_RETRY_S * attempt)
            try:
                response = await self._post(url, trigger, change, version)
            except httpx.TransportError as error:
                _LOG.warning("the trigger %s could not be delivered: %r", trigger.key, error)
                continue
            if response.is_error:
                _LOG.warning("the trigger %s answered %s", trigger.key, response.status_code)
            return

    async def _post(
        self, url: str, trigger: Trigger, change: Change, version: int
    ) -> httpx.Response:
        assert self._client is not None  # noqa: S101 - made before the first trigger
        if trigger.legacy:
            return await self._client.post(url, json=_legacy_body(trigger, change, version))
        event = cloud_event(change, trigger.kind, version)
        if trigger.with_auth:
            event = with_auth_context(event)
        headers = [
            *binary_headers(event),
            (b"ce-datacontenttype", event.data_content_type.encode()),
        ]
        # On this hop the body is the text of base64; the functions emulator decodes it.
        return await self._client.post(url, content=base64.b64encode(event.data), headers=headers)

    async def stop(self) -> None:
        """Give up what is under way."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            self._engine.unsubscribe(self._committed)
            await self._client.aclose()
            self._client = None
