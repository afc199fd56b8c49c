"""Which events reach which trigger, how they are encoded, when they are repeated."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest

from continuon_local.events.cloudevents import (
    MalformedEventError,
    binary_headers,
    parse_event,
    with_auth_context,
)
from continuon_local.events.manifest import (
    EventTrigger,
    FunctionSpec,
    RetryConfig,
    ScheduleTrigger,
)
from continuon_local.events.outbox import OutboxEvent
from continuon_local.events.patterns import match_path
from continuon_local.events.retry import RetryPolicy
from continuon_local.events.schedules import parse_schedule
from continuon_local.events.triggers import check_trigger, matches, wants_auth_context

STORAGE = "google.cloud.storage.object.v1.finalized"
PUBSUB = "google.cloud.pubsub.topic.v1.messagePublished"
WRITTEN = "google.cloud.firestore.document.v1.written"


def spec(trigger: EventTrigger | ScheduleTrigger) -> FunctionSpec:
    return FunctionSpec(
        id="fn",
        codebase="cb",
        source=Path("/cb"),
        entry_point="fn",
        region="us-central1",
        trigger=trigger,
        environment={},
    )


def on(
    event_type: str, patterns: dict[str, str] | None = None, *, retry: bool = True, **filters: str
) -> FunctionSpec:
    return spec(
        EventTrigger(
            event_type=event_type,
            event_filters=filters,
            event_filter_path_patterns=patterns or {},
            retry=retry,
        )
    )


def event(event_type: str, source: str = "//x", **extensions: str) -> OutboxEvent:
    return OutboxEvent(
        id="e1",
        type=event_type,
        source=source,
        subject="s",
        time="2026-01-01T00:00:00Z",
        data=b"{}",
        extensions=extensions,
    )


@pytest.mark.parametrize(
    ("pattern", "path", "captures"),
    [
        ("users/{uid}", "users/u1", {"uid": "u1"}),
        ("users/{uid}", "users/u1/posts/p1", None),
        ("users/{uid}/posts/{post}", "users/u1/posts/p1", {"uid": "u1", "post": "p1"}),
        ("users/*", "users/u1", {}),
        ("users/**", "users/u1/posts/p1", {}),
        ("users/{rest=**}", "users/u1/posts/p1", {"rest": "u1/posts/p1"}),
        ("users/u1/{rest=**}", "users/u1", {"rest": ""}),
        ("users/{uid=*}", "users/u1", {"uid": "u1"}),
        ("logs/day-{day}", "logs/day-7", {"day": "7"}),
        ("logs/day-{day}", "logs/night-7", None),
        ("a.b/{x}", "axb/1", None),
        ("/users/{uid}", "users/u1", {"uid": "u1"}),
    ],
)
def test_path_patterns(pattern: str, path: str, captures: dict[str, str] | None) -> None:
    assert match_path(pattern, path) == captures


def test_a_trigger_takes_its_type_and_bucket_only() -> None:
    function = on(STORAGE, bucket="mine")
    assert matches(function, event(STORAGE, bucket="mine"))
    assert not matches(function, event(STORAGE, bucket="other"))
    assert not matches(function, event(STORAGE.replace("finalized", "deleted"), bucket="mine"))


@pytest.mark.parametrize("topic", ["jobs", "projects/p/topics/jobs"])
def test_a_topic_is_named_short_or_in_full(topic: str) -> None:
    function = on(PUBSUB, topic=topic)
    assert matches(function, event(PUBSUB, "//pubsub.googleapis.com/projects/p/topics/jobs"))
    assert not matches(function, event(PUBSUB, "//pubsub.googleapis.com/projects/p/topics/jobs2"))


def test_a_document_trigger_is_about_the_default_database_unless_it_says_otherwise() -> None:
    function = on(WRITTEN, {"document": "bundles/{bundle}"})
    here = {"document": "bundles/b1", "database": "(default)", "namespace": "(default)"}
    assert matches(function, event(WRITTEN, **here))
    assert not matches(function, event(WRITTEN, **{**here, "database": "other"}))
    assert not matches(function, event(WRITTEN, **{**here, "document": "bundles/b1/d/r"}))


def test_binary_mode_carries_every_attribute_and_encodes_what_headers_cannot() -> None:
    headers = dict(binary_headers(event(STORAGE, bucket='büro "1" 5%')))
    assert headers[b"ce-specversion"] == b"1.0"
    assert headers[b"ce-bucket"] == b"b%C3%BCro%20%221%22%205%25"
    assert headers[b"content-type"] == b"application/json"
    assert b"ce-dataschema" not in headers


def test_an_event_survives_the_way_out_and_in() -> None:
    sent = event(STORAGE, bucket="büro 1%")
    headers = {name.decode(): value.decode() for name, value in binary_headers(sent)}
    assert parse_event(headers, sent.data) == sent


def test_a_protobuf_body_is_taken_raw_or_as_base64_text() -> None:
    headers = {
        "content-type": "application/protobuf",
        "ce-id": "1",
        "ce-type": WRITTEN,
        "ce-source": "//x",
    }
    raw = b"\x0a\x03abc"
    assert parse_event(headers, raw).data == raw
    assert parse_event(headers, base64.b64encode(raw)).data == raw


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b"{}", b'{"id": "1", "type": "t"}'])
def test_a_body_that_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedEventError):
        parse_event({"content-type": "application/cloudevents+json"}, body)


def test_back_off_doubles_to_the_cap_and_ends_after_a_day() -> None:
    policy = RetryPolicy(base_s=1, cap_s=60)
    function = on(STORAGE, bucket="b")
    delays = [
        policy.delay_s(function, attempts=attempts, age_s=0, jitter=1)
        for attempts in (1, 2, 3, 7, 500)
    ]
    assert delays == [1, 2, 4, 60, 60]
    assert policy.delay_s(function, attempts=1, age_s=0, jitter=0) == 0.5
    assert policy.delay_s(function, attempts=9, age_s=24 * 3600, jitter=1) is None


def test_without_retry_the_first_failure_is_the_last() -> None:
    policy = RetryPolicy(base_s=1, cap_s=60)
    function = on(STORAGE, retry=False, bucket="b")
    assert policy.delay_s(function, attempts=1, age_s=0, jitter=1) is None


def test_a_schedule_is_repeated_only_as_its_retry_config_says() -> None:
    policy = RetryPolicy(base_s=1, cap_s=60)
    plain = spec(ScheduleTrigger(schedule="every 5 minutes"))
    assert policy.delay_s(plain, attempts=1, age_s=0, jitter=1) is None
    config = RetryConfig(retry_count=2, min_backoff_seconds=7)
    patient = spec(ScheduleTrigger(schedule="every 5 minutes", retry_config=config))
    delays = [
        policy.delay_s(patient, attempts=attempts, age_s=0, jitter=1) for attempts in (1, 2, 3)
    ]
    assert delays == [7, 14, None]


@pytest.mark.parametrize(
    ("text", "zone", "after", "expected"),
    [
        ("every 5 minutes", "UTC", "2026-01-01T00:02:10", "2026-01-01T00:05:00"),
        ("every 5 minutes", "UTC", "2026-01-01T00:05:00", "2026-01-01T00:10:00"),
        ("every 7 minutes", "UTC", "2026-01-01T23:59:00", "2026-01-02T00:00:00"),
        ("every 24 hours", "UTC", "2026-01-01T00:02:10", "2026-01-02T00:00:00"),
        ("every day 09:30", "Europe/Berlin", "2026-07-01T00:00:00", "2026-07-01T07:30:00"),
        ("every monday 09:00", "UTC", "2026-01-01T00:00:00", "2026-01-05T09:00:00"),
        ("*/10 * * * *", "UTC", "2026-01-01T00:10:00", "2026-01-01T00:20:00"),
        ("0 3 * * *", None, "2026-01-01T00:00:00", "2026-01-01T11:00:00"),
    ],
)
def test_schedules_name_the_next_time(
    text: str, zone: str | None, after: str, expected: str
) -> None:
    schedule = parse_schedule(spec(ScheduleTrigger(schedule=text, time_zone=zone)))
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC)
    assert schedule.after(moment) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_a_trigger_may_ask_for_the_auth_context() -> None:
    wanting = on(WRITTEN + ".withAuthContext", {"document": "users/{uid}"})
    check_trigger(wanting)
    written = event(WRITTEN, database="(default)", namespace="(default)", document="users/u1")
    assert matches(wanting, written)
    assert wants_auth_context(wanting, written)
    assert not wants_auth_context(on(WRITTEN, {"document": "users/{uid}"}), written)
    assert not matches(wanting, event(WRITTEN, document="others/u1"))
    enriched = with_auth_context(written)
    assert enriched == with_auth_context(written)
    assert enriched.id != written.id
    headers = dict(binary_headers(enriched))
    assert headers[b"ce-type"] == WRITTEN.encode() + b".withAuthContext"
    assert headers[b"ce-authtype"] == b"unknown"
    # One that already has it, as the emulator sends it, is not given another.
    assert matches(wanting, enriched)
    assert not wants_auth_context(wanting, enriched)
