from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx

    from unit.local.storage.harness import Cloud

BUCKET = "/storage/v1/b/episodes"
OBJECT = f"{BUCKET}/o/a"


def reason(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["errors"][0]["reason"]


async def configure(cloud: Cloud, **fields: Any) -> dict[str, Any]:
    answer = await cloud.http.patch(BUCKET, json=fields)
    assert answer.status_code == 200, answer.text
    resource: dict[str, Any] = answer.json()
    return resource


async def change(cloud: Cloud, body: dict[str, Any], **parameters: str) -> httpx.Response:
    return await cloud.http.patch(OBJECT, json=body, params=parameters)


async def ends(cloud: Cloud) -> list[tuple[int, str]]:
    """Try every way to end the object; return how each was refused."""
    other = await cloud.created("other")
    assert other["name"] == "other"
    generation = (await cloud.http.get(OBJECT)).json()["generation"]
    return [
        reason(await cloud.http.delete(OBJECT)),
        reason(await cloud.http.delete(OBJECT, params={"generation": generation})),
        reason(await cloud.upload("a", b"evil")),
        reason(await cloud.http.post(f"{OBJECT}/moveTo/o/b")),
        reason(await cloud.http.post(f"{BUCKET}/o/other/copyTo/b/episodes/o/a")),
    ]


@pytest.mark.parametrize("hold", ["temporaryHold", "eventBasedHold"])
async def test_a_held_object_stays_as_it_is(hold: str, cloud: Cloud) -> None:
    await cloud.created("a")
    assert (await change(cloud, {hold: True})).json()[hold] is True

    assert set(await ends(cloud)) == {(403, "objectUnderActiveHold")}

    assert (await cloud.read("a")).content == b"hello"
    await change(cloud, {hold: False})
    assert (await cloud.http.delete(OBJECT)).status_code == 204


async def test_a_retained_object_stays_until_its_time(cloud: Cloud) -> None:
    policy = (await configure(cloud, retentionPolicy={"retentionPeriod": "3600"}))[
        "retentionPolicy"
    ]
    assert policy["retentionPeriod"] == "3600"
    assert "isLocked" not in policy
    created = await cloud.created("a")
    assert created["retentionExpirationTime"] > created["timeCreated"]

    assert set(await ends(cloud)) == {(403, "retentionPolicyNotMet")}
    assert (await change(cloud, {"metadata": {"k": "v"}})).status_code == 200

    cloud.engine.context.clock.advance(timedelta(hours=1))
    assert (await cloud.http.delete(OBJECT)).status_code == 204


async def test_a_retained_version_may_be_archived_but_not_deleted(cloud: Cloud) -> None:
    await configure(cloud, retentionPolicy={"retentionPeriod": "60"}, versioning={"enabled": True})
    first = await cloud.created("a")

    assert (await cloud.upload("a", b"two")).status_code == 200
    gone = await cloud.http.delete(OBJECT, params={"generation": first["generation"]})
    assert reason(gone) == (403, "retentionPolicyNotMet")


async def test_the_period_begins_when_an_event_based_hold_ends(cloud: Cloud) -> None:
    await configure(cloud, retentionPolicy={"retentionPeriod": "60"}, defaultEventBasedHold=True)
    created = await cloud.created("a")
    assert created["eventBasedHold"] is True
    assert "retentionExpirationTime" not in created
    cloud.engine.context.clock.advance(timedelta(minutes=2))

    released = (await change(cloud, {"eventBasedHold": False})).json()

    assert released["retentionExpirationTime"] > released["updated"]
    assert reason(await cloud.http.delete(OBJECT)) == (403, "retentionPolicyNotMet")
    cloud.engine.context.clock.advance(timedelta(minutes=1))
    assert (await cloud.http.delete(OBJECT)).status_code == 204


async def test_a_locked_policy_only_grows(cloud: Cloud) -> None:
    lock = f"{BUCKET}/lockRetentionPolicy"
    assert (await cloud.http.post(lock, params={"ifMetagenerationMatch": "1"})).status_code == 400
    bucket = await configure(cloud, retentionPolicy={"retentionPeriod": "60"})
    assert reason(await cloud.http.post(lock)) == (400, "required")
    assert reason(await cloud.http.post(lock, params={"ifMetagenerationMatch": "1"})) == (
        412,
        "conditionNotMet",
    )
    known = {"ifMetagenerationMatch": bucket["metageneration"]}
    assert (await cloud.http.post(lock, params=known)).json()["retentionPolicy"]["isLocked"] is True

    for period in ({"retentionPeriod": "59"}, None):
        refused = await cloud.http.patch(BUCKET, json={"retentionPolicy": period})
        assert reason(refused) == (403, "forbidden")
    longer = await configure(cloud, retentionPolicy={"retentionPeriod": "61"})
    assert longer["retentionPolicy"]["isLocked"] is True


@pytest.mark.parametrize("mode", ["Locked", "Unlocked"])
async def test_object_retention_is_extended_freely_and_reduced_hardly(
    mode: str, cloud: Cloud
) -> None:
    await cloud.http.post(
        "/storage/v1/b", params={"enableObjectRetention": "true"}, json={"name": "kept"}
    )
    await cloud.http.post(
        "/upload/storage/v1/b/kept/o", params={"uploadType": "media", "name": "a"}, content=b"x"
    )
    path = "/storage/v1/b/kept/o/a"
    now = cloud.engine.context.clock.now()

    def until(hours: int) -> dict[str, Any]:
        moment = (now + timedelta(hours=hours)).isoformat()
        return {"retention": {"mode": mode, "retainUntilTime": moment}}

    assert (await cloud.http.patch(path, json=until(2))).status_code == 200
    assert (await cloud.http.patch(path, json=until(3))).status_code == 200
    assert reason(await cloud.http.delete(path)) == (403, "retentionPolicyNotMet")
    for less in (until(1), {"retention": None}):
        assert reason(await cloud.http.patch(path, json=less)) == (403, "forbidden")
    override = {"overrideUnlockedRetention": "true"}
    last = await cloud.http.patch(path, json={"retention": None}, params=override)
    assert last.status_code == (200 if mode == "Unlocked" else 403)


async def test_object_retention_needs_a_bucket_that_has_it(cloud: Cloud) -> None:
    await cloud.created("a")
    retention = {"mode": "Unlocked", "retainUntilTime": "2099-01-01T00:00:00Z"}

    assert (await change(cloud, {"retention": retention})).status_code == 400
    assert "retention" not in (await cloud.http.get(OBJECT)).json()


def key_headers(key: bytes, prefix: str = "x-goog-encryption-") -> dict[str, str]:
    digest = hashlib.sha256(key).digest()
    return {
        f"{prefix}algorithm": "AES256",
        f"{prefix}key": base64.b64encode(key).decode(),
        f"{prefix}key-sha256": base64.b64encode(digest).decode(),
    }


KEY, OTHER = key_headers(b"k" * 32), key_headers(b"o" * 32)


async def encrypted(cloud: Cloud) -> dict[str, Any]:
    answer = await cloud.http.post(
        "/upload/storage/v1/b/episodes/o",
        params={"uploadType": "media", "name": "a"},
        content=b"secret",
        headers=KEY,
    )
    assert answer.status_code == 200, answer.text
    resource: dict[str, Any] = answer.json()
    return resource


async def test_an_encrypted_object_is_read_with_its_key_only(cloud: Cloud) -> None:
    stored = await encrypted(cloud)
    assert stored["customerEncryption"]["keySha256"] == KEY["x-goog-encryption-key-sha256"]
    media = {"alt": "media"}

    async def read(headers: dict[str, str]) -> httpx.Response:
        return await cloud.http.get(OBJECT, params=media, headers=headers)

    good = await read(KEY)
    assert good.content == b"secret"
    assert good.headers["x-goog-encryption-algorithm"] == "AES256"
    assert reason(await read({})) == (400, "resourceIsEncryptedWithCustomerEncryptionKey")
    assert reason(await read(OTHER)) == (400, "customerEncryptionKeyIsIncorrect")
    await cloud.created("plain")
    unwanted = await cloud.http.get(f"{BUCKET}/o/plain", params=media, headers=KEY)
    assert reason(unwanted) == (400, "resourceNotEncryptedWithCustomerEncryptionKey")


async def test_checksums_are_shown_to_who_has_the_key(cloud: Cloud) -> None:
    await encrypted(cloud)

    assert "md5Hash" in (await cloud.http.get(OBJECT, headers=KEY)).json()
    without = (await cloud.http.get(OBJECT)).json()
    assert {"md5Hash", "crc32c"} & without.keys() == set()
    assert without["customerEncryption"]["encryptionAlgorithm"] == "AES256"


async def test_a_rewrite_rotates_the_key(cloud: Cloud) -> None:
    await encrypted(cloud)
    path = f"{OBJECT}/rewriteTo/b/episodes/o/a"
    source = key_headers(b"k" * 32, "x-goog-copy-source-encryption-")

    refused = await cloud.http.post(path, headers=OTHER)
    assert reason(refused) == (400, "resourceIsEncryptedWithCustomerEncryptionKey")
    assert (await cloud.http.post(path, headers={**OTHER, **source})).status_code == 200
    read = await cloud.http.get(OBJECT, params={"alt": "media"}, headers=OTHER)
    assert read.content == b"secret"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"x-goog-encryption-algorithm": "DES"}, "customerEncryptionAlgorithmIsInvalid"),
        ({"x-goog-encryption-key": "short"}, "customerEncryptionKeyFormatIsInvalid"),
        ({"x-goog-encryption-key-sha256": "AAAA"}, "customerEncryptionKeySha256IsInvalid"),
    ],
)
async def test_malformed_keys_are_named(
    changed: dict[str, str], expected: str, cloud: Cloud
) -> None:
    answer = await cloud.http.post(
        "/upload/storage/v1/b/episodes/o",
        params={"uploadType": "media", "name": "a"},
        content=b"x",
        headers={**KEY, **changed},
    )

    assert reason(answer) == (400, expected)
    assert await cloud.names() == []


async def test_a_bucket_may_take_only_objects_with_customer_keys(cloud: Cloud) -> None:
    rule = {"googleManagedEncryptionEnforcementConfig": {"restrictionMode": "FullyRestricted"}}
    bucket = await configure(cloud, encryption=rule)
    config = bucket["encryption"]["googleManagedEncryptionEnforcementConfig"]
    assert config["effectiveTime"]

    assert (await cloud.upload("plain")).status_code == 412
    await encrypted(cloud)


async def test_contexts_are_merged_and_filter_listings(cloud: Cloud) -> None:
    for name in ("a", "b"):
        await cloud.created(name)
    both = {"contexts": {"custom": {"k": {"value": "v"}, "l": {"value": "w"}}}}
    first = (await change(cloud, both)).json()["contexts"]["custom"]
    second = await change(cloud, {"contexts": {"custom": {"k": {"value": "x"}, "l": None}}})

    custom = second.json()["contexts"]["custom"]
    assert set(custom) == {"k"}
    assert custom["k"]["value"] == "x"
    assert custom["k"]["createTime"] == first["k"]["createTime"]

    async def listed(text: str) -> list[str]:
        answer = await cloud.http.get(f"{BUCKET}/o", params={"filter": text})
        return [item["name"] for item in answer.json().get("items", [])]

    assert await listed('contexts."k"="x"') == ["a"]
    assert await listed('contexts."k"="v"') == []
    assert await listed('-contexts."k":*') == ["b"]
    malformed = await cloud.http.get(f"{BUCKET}/o", params={"filter": "size > 5"})
    assert malformed.status_code == 400
    copied = await cloud.http.post(f"{OBJECT}/copyTo/b/episodes/o/c", json={})
    assert copied.json()["contexts"]["custom"]["k"]["value"] == "x"
    assert "contexts" not in (await change(cloud, {"contexts": None})).json()
