"""Signed metadata: published in order, renewed by the tick, served to be cached."""

from __future__ import annotations

import asyncio
import base64
import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud.storage import Client as StorageClient

from continuon.ota.trust import ceremony
from continuon.ota.trust.bundles import new_target
from continuon.ota.trust.signers import new_key_pem, signer_from_pem
from continuon_ota import settings
from ota_trust import MODEL, Keyring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ota_world import World


_NUMBERS = itertools.count(1)


class Publisher:
    """The people with the offline keys."""

    def __init__(self, world: World, online: bytes) -> None:
        self.keys = Keyring()
        self.keys._signers["online"] = signer_from_pem(online)
        root = ceremony.first_root(
            {
                "root": self.keys.role("root"),
                "targets": self.keys.role("targets"),
                "snapshot": self.keys.role("online"),
                "timestamp": self.keys.role("online"),
            },
            world.now,
        )
        targets = ceremony.first_targets({MODEL: self.keys.role("model")}, world.now)
        self.world = world
        self.first = {
            "1.root.json": self.signed(root, "root"),
            "1.targets.json": self.signed(targets, "targets"),
            f"1.{MODEL}.json": self.signed(ceremony.first_model(world.now), "model"),
        }

    def signed(self, data: bytes, name: str) -> bytes:
        return ceremony.sign(data, [self.keys(name)])

    async def publish(self, files: dict[str, bytes]) -> Any:
        encoded = {name: base64.b64encode(data).decode() for name, data in files.items()}
        return await self.world.http.post("/api/ota/metadata", json={"files": encoded})


@pytest.fixture
def publisher(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    key = tmp_path / "online.pem"
    key.write_bytes(new_key_pem(b"secret"))
    key.chmod(0o600)
    bucket = f"metadata-{next(_NUMBERS)}"
    monkeypatch.setenv("CONTINUON_RLDS_BUCKET", bucket)
    monkeypatch.setenv("CONTINUON_OTA_SNAPSHOT_KEY", f"file2:{key}")
    monkeypatch.setenv("CONTINUON_OTA_KEY_PASSPHRASE", "secret")
    settings.settings.cache_clear()
    client: Any = StorageClient(project="demo-ota")
    client.create_bucket(bucket)
    client.close()
    online = signer_pem_without_passphrase(key.read_bytes())
    yield Publisher(world, online)
    settings.settings.cache_clear()


def signer_pem_without_passphrase(pem: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - here only

    key = serialization.load_pem_private_key(pem, b"secret")
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


async def served(world: World, name: str) -> Any:
    return await world.http.get(f"/api/ota/metadata/{name}")


async def version_of(world: World, name: str) -> int:
    version: int = (await served(world, name)).json()["signed"]["version"]
    return version


async def test_published_metadata_is_served_with_snapshot_and_timestamp(
    world: World, publisher: Publisher
) -> None:
    assert (await served(world, "timestamp.json")).status_code == 404
    published = (await publisher.publish(publisher.first)).json()
    assert published["files"][-1] == "timestamp.json"
    for name, data in publisher.first.items():
        answer = await served(world, name)
        assert answer.content == data
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert await version_of(world, "timestamp.json") == 1
    for name in ("timestamp.json", "root.json"):
        assert (await served(world, name)).headers["cache-control"] == "public, max-age=60"
    missing = await served(world, "2.root.json")
    assert (missing.status_code, missing.json()["code"]) == (404, "metadata.not_found")
    assert "immutable" not in missing.headers.get("cache-control", "")


async def test_publishing_the_same_again_changes_nothing(
    world: World, publisher: Publisher
) -> None:
    await publisher.publish(publisher.first)
    again = await publisher.publish(publisher.first)
    assert (again.status_code, again.json()) == (200, {"files": []})
    assert await version_of(world, "timestamp.json") == 1


async def test_metadata_that_a_robot_would_refuse_is_not_published(
    world: World, publisher: Publisher
) -> None:
    await publisher.publish(publisher.first)
    foreign = ceremony.sign(ceremony.first_model(world.now), [Keyring()("stranger")])
    refused = await publisher.publish({f"2.{MODEL}.json": foreign})
    assert refused.status_code in {409, 422}
    assert (await served(world, f"2.{MODEL}.json")).status_code == 404
    changed = await publisher.publish({f"1.{MODEL}.json": foreign})
    assert (changed.status_code, changed.json()["code"]) == (409, "metadata.conflict")
    assert await version_of(world, "timestamp.json") == 1


async def test_two_publications_at_once_both_arrive(world: World, publisher: Publisher) -> None:
    answers = await asyncio.gather(*(publisher.publish(publisher.first) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    stamp = (await served(world, "timestamp.json")).json()["signed"]
    snapshot = stamp["meta"]["snapshot.json"]["version"]
    assert (await served(world, f"{snapshot}.snapshot.json")).status_code == 200


async def test_the_tick_renews_what_would_expire(world: World, publisher: Publisher) -> None:
    await publisher.publish(publisher.first)
    before = (await served(world, "timestamp.json")).json()["signed"]
    await world.minutes(1)
    assert await version_of(world, "timestamp.json") == before["version"]
    world.now += timedelta(hours=13)
    outcomes = await world.minutes(1)
    after = (await served(world, "timestamp.json")).json()["signed"]
    assert outcomes[0]["metadata files"] == 1
    assert (after["version"], after["expires"] > before["expires"]) == (before["version"] + 1, True)


@pytest.mark.parametrize("name", ["..%2Fsecret.json", "a%2Fb.json", "root.txt", ".json"])
async def test_a_name_that_is_no_metadata_file_is_refused(
    world: World, publisher: Publisher, name: str
) -> None:
    await publisher.publish(publisher.first)
    assert (await served(world, name)).status_code in {404, 422}


async def test_without_online_keys_nothing_is_published(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONTINUON_OTA_SNAPSHOT_KEY")
    settings.settings.cache_clear()
    refused = await publisher.publish(publisher.first)
    assert (refused.status_code, refused.json()["code"]) == (503, "metadata.no_key")


async def test_what_is_not_base64_is_named(publisher: Publisher) -> None:
    body = {"files": {"1.root.json": "***"}}
    refused = await publisher.world.http.post("/api/ota/metadata", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "metadata.invalid")
    assert refused.json()["errors"][0]["path"] == "files.1.root.json"


async def test_a_bundle_that_no_metadata_lists_is_not_started(
    world: World, publisher: Publisher
) -> None:
    record = await world.bundle("1.0.0")
    await publisher.publish(publisher.first)
    refused = await world.act(record.bundle_id, "start")
    assert (refused.status_code, refused.json()["code"]) == (409, "bundle.not_signed")

    archive = record.archive
    target = new_target(MODEL, "1.0.0", "", size_bytes=archive.size_bytes, sha256=archive.sha256)
    newer = ceremony.add_bundle(publisher.first[f"1.{MODEL}.json"], target, world.now)
    await publisher.publish({f"2.{MODEL}.json": publisher.signed(newer, "model")})
    started = await world.act(record.bundle_id, "start")
    assert started.status_code == 200, started.text


# --- Targets ------------------------------------------------------------------------------------


async def test_a_target_is_a_redirect_for_robots_of_its_model(world: World) -> None:
    record = await world.bundle("1.0.0")
    robot = await world.robot()

    async def ask(path: str) -> Any:
        target = f"/api/ota/targets/{path}"
        headers = robot.device.headers("GET", target, now=world.now)
        return await world.http.get(target, headers=headers)

    for path in (record.target_path, f"{world.model}/{'a' * 64}.1.0.0.bundle"):
        answer = await ask(path)
        assert answer.status_code == 307
        assert "/bundles/ota/companion-v1/1.0.0.bundle" in answer.headers["location"]
        assert "X-Goog-Signature=" in answer.headers["location"]
    for path in ("arm/1.0.0.bundle", f"{world.model}/9.0.bundle", "x", f"{world.model}/a/b.bundle"):
        assert (await ask(path)).json()["code"] == "target.not_found"
    assert (await world.http.get(f"/api/ota/targets/{record.target_path}")).status_code == 401
