"""Which events a trigger takes: its type, its filters, its path patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.errors import ConfigurationError
from continuon_local.events.cloudevents import AUTH_CONTEXT
from continuon_local.events.manifest import EventTrigger
from continuon_local.events.patterns import check_pattern, match_path

if TYPE_CHECKING:
    from continuon_local.events.manifest import FunctionSpec
    from continuon_local.events.outbox import OutboxEvent

__all__ = ["check_trigger", "matches", "wants_auth_context"]

_STORAGE = frozenset({"bucket"})
_PUBSUB = frozenset({"topic"})
_FIRESTORE = frozenset({"database", "namespace", "document"})

_FILTERS = {
    "google.cloud.storage.object.v1.finalized": _STORAGE,
    "google.cloud.storage.object.v1.deleted": _STORAGE,
    "google.cloud.storage.object.v1.archived": _STORAGE,
    "google.cloud.storage.object.v1.metadataUpdated": _STORAGE,
    "google.cloud.pubsub.topic.v1.messagePublished": _PUBSUB,
    **{
        f"google.cloud.firestore.document.v1.{kind}{suffix}": _FIRESTORE
        for kind in ("created", "updated", "deleted", "written")
        for suffix in ("", AUTH_CONTEXT)
    },
}
"""The event types that the local cloud raises, and what each may be filtered by."""

_DEFAULTS = {"database": "(default)", "namespace": "(default)"}
"""Firestore filters that production fills in where a trigger leaves them out."""


def check_trigger(spec: FunctionSpec) -> None:
    """Refuse a trigger that could never fire here.

    Raises:
        ConfigurationError: An unknown event type or filter, a missing one, a malformed pattern.
    """
    trigger = spec.trigger
    if not isinstance(trigger, EventTrigger):
        return
    where = f"{spec.source / 'functions.yaml'}: endpoints.{spec.id}.eventTrigger"
    allowed = _FILTERS.get(trigger.event_type)
    if allowed is None:
        raise ConfigurationError(
            f"{where}.eventType: the local cloud raises no {trigger.event_type!r}"
        )
    given = {**trigger.event_filters, **trigger.event_filter_path_patterns}
    for name in given:
        if name not in allowed:
            raise ConfigurationError(f"{where}: {trigger.event_type} has no filter {name!r}")
    for name in allowed - _DEFAULTS.keys() - given.keys():
        raise ConfigurationError(f"{where}: the filter {name!r} is missing")
    for pattern in trigger.event_filter_path_patterns.values():
        try:
            check_pattern(pattern)
        except ValueError as error:
            raise ConfigurationError(f"{where}.eventFilterPathPatterns: {error}") from error


def wants_auth_context(spec: FunctionSpec, event: OutboxEvent) -> bool:
    """Whether the function asks for ``event`` with the auth context that it does not have yet."""
    trigger = spec.trigger
    return isinstance(trigger, EventTrigger) and trigger.event_type == event.type + AUTH_CONTEXT


def matches(spec: FunctionSpec, event: OutboxEvent) -> bool:
    """Whether ``event`` is one that the function's trigger takes, with auth context or without."""
    trigger = spec.trigger
    if not isinstance(trigger, EventTrigger):
        return False
    if trigger.event_type != event.type and not wants_auth_context(spec, event):
        return False
    exact = dict(trigger.event_filters)
    if _FILTERS.get(event.type) is _FIRESTORE:
        exact = {**_DEFAULTS, **exact}
        for name in trigger.event_filter_path_patterns:
            exact.pop(name, None)
    return all(_equal(name, value, event) for name, value in exact.items()) and all(
        match_path(pattern, _attribute(event, name)) is not None
        for name, pattern in trigger.event_filter_path_patterns.items()
    )


def _equal(name: str, wanted: str, event: OutboxEvent) -> bool:
    if name == "topic":
        # The Firebase CLI takes a bare topic and "projects/P/topics/T" alike.
        wanted = wanted.rpartition("/")[2]
    return _attribute(event, name) == wanted.strip("/")


def _attribute(event: OutboxEvent, name: str) -> str:
    """Return an attribute to filter by; production keeps some of them in source and subject."""
    if name == "topic":
        return event.source.rpartition("/topics/")[2]
    value = event.extensions.get(name)
    if value is not None:
        return value.strip("/")
    if name == "bucket":
        return event.source.rpartition("/buckets/")[2]
    if name == "document":
        return event.subject.removeprefix("documents/")
    return _DEFAULTS.get(name, "")
