from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from continuon_local.storage.lifecycle import Sweeper, sweep
from continuon_local.storage.lifecycle_rules import Candidate, decide
from continuon_local.storage.records import ObjectRecord

if TYPE_CHECKING:
    from unit.local.storage.harness import Cloud

NOW = datetime.fromisoformat("2026-03-10T12:00:00Z")
BUCKET = "/storage/v1/b/episodes"


def record(**changes: Any) -> ObjectRecord:
    values: dict[str, Any] = {
        "bucket": "b",
        "name": "logs/a.txt",
        "generation": 1,
        "metageneration": 1,
        "size": 1,
        "md5": None,
        "crc32c": 0,
        "body_id": "0",
        "component_count": None,
        "fields": {"storageClass": "STANDARD", "customTime": "2026-03-01T00:00:00Z"},
        "created": "2026-03-05T12:00:00.000Z",
        "updated": "2026-03-05T12:00:00.000Z",
        "class_updated": "2026-03-05T12:00:00.000Z",
        "deleted": None,
    }
    return ObjectRecord(**{**values, **changes})


def outcome(condition: dict[str, Any], *, deleted: str | None = None, newer: int = 0) -> str | None:
    rule = {"action": {"type": "Delete"}, "condition": condition}
    return decide([rule], Candidate(record(deleted=deleted), newer, deleted), NOW)


@pytest.mark.parametrize(
    ("condition", "applies"),
    [
        ({"age": 5}, True),
        ({"age": 6}, False),
        ({"age": 0}, True),
        ({"createdBefore": "2026-03-06"}, True),
        ({"createdBefore": "2026-03-05"}, False),
        ({"customTimeBefore": "2026-03-02"}, True),
        ({"customTimeBefore": "2026-03-01"}, False),
        ({"daysSinceCustomTime": 9}, True),
        ({"daysSinceCustomTime": 10}, False),
        ({"matchesPrefix": ["x", "logs/"]}, True),
        ({"matchesPrefix": ["log_"]}, False),
        ({"matchesSuffix": [".txt"]}, True),
        ({"matchesSuffix": [".gz"]}, False),
        ({"matchesStorageClass": ["STANDARD"]}, True),
        ({"matchesStorageClass": ["ARCHIVE"]}, False),
        ({"isLive": True}, True),
        ({"isLive": False}, False),
        ({"numNewerVersions": 1}, False),
        ({"daysSinceNoncurrentTime": 0}, False),
        ({"age": 5, "isLive": False}, False),
    ],
)
def test_a_rule_applies_where_every_condition_holds(
    condition: dict[str, Any], *, applies: bool
) -> None:
    assert (outcome(condition) == "Delete") is applies


@pytest.mark.parametrize(
    ("condition", "applies"),
    [
        ({"isLive": False}, True),
        ({"numNewerVersions": 2}, True),
        ({"numNewerVersions": 3}, False),
        ({"daysSinceNoncurrentTime": 3}, True),
        ({"daysSinceNoncurrentTime": 4}, False),
        ({"noncurrentTimeBefore": "2026-03-08"}, True),
        ({"noncurrentTimeBefore": "2026-03-07"}, False),
    ],
)
def test_noncurrent_versions_have_conditions_of_their_own(
    condition: dict[str, Any], *, applies: bool
) -> None:
    found = outcome(condition, deleted="2026-03-07T12:00:00.000Z", newer=2)
    assert (found == "Delete") is applies


def test_of_several_rules_deletion_wins_and_then_the_coldest_class() -> None:
    def rule(kind: str, storage_class: str | None = None) -> dict[str, Any]:
        return {"action": {"type": kind, "storageClass": storage_class}, "condition": {"age": 0}}

    colder = [rule("SetStorageClass", name) for name in ("ARCHIVE", "NEARLINE")]
    candidate = Candidate(record(), 0, None)

    assert decide(colder, candidate, NOW) == "ARCHIVE"
    assert decide([*colder, rule("Delete")], candidate, NOW) == "Delete"
    archived = Candidate(record(fields={"storageClass": "ARCHIVE"}), 0, None)
    assert decide(colder, archived, NOW) is None


async def configure(cloud: Cloud, *rules: dict[str, Any], **fields: Any) -> None:
    answer = await cloud.http.patch(BUCKET, json={"lifecycle": {"rule": list(rules)}, **fields})
    assert answer.status_code == 200, answer.text


async def test_a_sweep_deletes_what_is_old_and_reports_it(cloud: Cloud) -> None:
    await configure(cloud, {"action": {"type": "Delete"}, "condition": {"age": 1}})
    await cloud.created("old")
    cloud.engine.context.clock.advance(timedelta(days=1))
    await cloud.created("new")

    await sweep(cloud.engine)

    assert await cloud.names() == ["new"]
    assert cloud.events()[-1] == ("deleted", "objects/old")
    assert len(cloud.body_files()) == 1


async def test_moving_the_clock_starts_a_sweep(cloud: Cloud) -> None:
    await configure(cloud, {"action": {"type": "Delete"}, "condition": {"age": 1}})
    await cloud.created("a")
    sweeper = Sweeper(cloud.engine)
    sweeper.start()
    try:
        await asyncio.sleep(0.05)
        assert await cloud.names() == ["a"]
        cloud.engine.context.clock.advance(timedelta(days=1))
        async with asyncio.timeout(5):
            while await cloud.names():  # noqa: ASYNC110 - the sweeper tells nobody
                await asyncio.sleep(0.05)
    finally:
        await sweeper.stop()


async def test_versions_beyond_a_number_go(cloud: Cloud) -> None:
    rule = {"action": {"type": "Delete"}, "condition": {"numNewerVersions": 2}}
    await configure(cloud, rule, versioning={"enabled": True})
    for body in (b"1", b"2", b"3", b"4"):
        await cloud.created("a", body)

    await sweep(cloud.engine)

    listed = (await cloud.http.get(f"{BUCKET}/o", params={"versions": "true"})).json()["items"]
    assert len(listed) == 2
    assert (await cloud.read("a")).content == b"4"


async def test_a_held_object_outlives_its_rule(cloud: Cloud) -> None:
    await configure(cloud, {"action": {"type": "Delete"}, "condition": {"age": 0}})
    await cloud.created("a")
    await cloud.http.patch(f"{BUCKET}/o/a", json={"temporaryHold": True})

    await sweep(cloud.engine)
    assert await cloud.names() == ["a"]

    await cloud.http.patch(f"{BUCKET}/o/a", json={"temporaryHold": False})
    await sweep(cloud.engine)
    assert await cloud.names() == []


async def test_a_storage_class_changes_in_place(cloud: Cloud) -> None:
    rule = {"action": {"type": "SetStorageClass", "storageClass": "COLDLINE"}}
    await configure(cloud, {**rule, "condition": {"age": 30}})
    before = await cloud.created("a")
    cloud.engine.context.clock.advance(timedelta(days=30))

    await sweep(cloud.engine)
    await sweep(cloud.engine)

    after = (await cloud.http.get(f"{BUCKET}/o/a")).json()
    assert after["storageClass"] == "COLDLINE"
    assert after["generation"] == before["generation"]
    assert after["timeStorageClassUpdated"] > before["timeStorageClassUpdated"]
    assert cloud.events() == [("finalized", "objects/a"), ("metadataUpdated", "objects/a")]


async def test_forgotten_uploads_are_aborted(cloud: Cloud) -> None:
    rule = {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 7}}
    await configure(cloud, rule)
    owner = {"authorization": "Bearer owner"}
    begun = await cloud.http.post("/episodes/a?uploads", headers=owner)
    upload = begun.text.partition("<UploadId>")[2].partition("<")[0]
    part = f"/episodes/a?partNumber=1&uploadId={upload}"
    assert (await cloud.http.put(part, content=b"x", headers=owner)).status_code == 200
    cloud.engine.context.clock.advance(timedelta(days=7))

    await sweep(cloud.engine)

    assert (await cloud.http.put(part, content=b"x", headers=owner)).status_code == 404
    assert cloud.body_files() == []


async def test_soft_deleted_objects_come_back_until_their_time(cloud: Cloud) -> None:
    week = {"retentionDurationSeconds": "604800"}
    await configure(cloud, softDeletePolicy=week)
    first = await cloud.created("a")
    second = await cloud.created("b")
    for name in ("a", "b"):
        await cloud.http.delete(f"{BUCKET}/o/{name}")
    number = {"generation": first["generation"]}

    listed = (await cloud.http.get(f"{BUCKET}/o", params={"softDeleted": "true"})).json()["items"]
    assert [item["name"] for item in listed] == ["a", "b"]
    assert listed[0]["hardDeleteTime"] > listed[0]["softDeleteTime"]
    restored = await cloud.http.post(f"{BUCKET}/o/a/restore", params=number)
    assert restored.status_code == 200, restored.text
    assert (await cloud.read("a")).content == b"hello"
    assert (await cloud.http.post(f"{BUCKET}/o/a/restore", params=number)).status_code == 404

    cloud.engine.context.clock.advance(timedelta(days=7, seconds=1))
    await sweep(cloud.engine)

    number = {"generation": second["generation"]}
    assert (await cloud.http.post(f"{BUCKET}/o/b/restore", params=number)).status_code == 404
    assert len(cloud.body_files()) == 1


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"action": {"type": "Delete"}},
        {"action": {"type": "Delete"}, "condition": {}},
        {"action": {"type": "Burn"}, "condition": {"age": 1}},
        {"action": {"type": "SetStorageClass"}, "condition": {"age": 1}},
        {"action": {"type": "Delete"}, "condition": {"age": -1}},
        {"action": {"type": "Delete"}, "condition": {"age": "1"}},
        {"action": {"type": "Delete"}, "condition": {"createdBefore": "yesterday"}},
        {"action": {"type": "Delete"}, "condition": {"matchesPrefix": "a"}},
        {"action": {"type": "Delete"}, "condition": {"phase": "full moon"}},
        {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"isLive": True}},
    ],
)
async def test_malformed_rules_are_refused(rule: dict[str, Any], cloud: Cloud) -> None:
    answer = await cloud.http.patch(BUCKET, json={"lifecycle": {"rule": [rule]}})

    assert answer.status_code == 400
    assert "lifecycle" not in (await cloud.http.get(BUCKET)).json()
