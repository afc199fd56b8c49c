"""Every attack that the TUF specification names (section 1.5.2), against the real agent.

The attacker owns the mirror, and where it says so some keys. Each test ends the same way: the robot
runs what it ran, and after the attack it takes the honest update.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tuf.api.metadata import Metadata, MetaFile

from continuon.ota.manifest import target_path
from continuon.ota.trust import ceremony
from continuon.ota.trust.bundles import new_target
from continuon.ota.trust.metadata import encode, read_snapshot, read_targets, read_timestamp
from ota_mirror import BUNDLES, METADATA, Lie
from ota_robot import PATIENT
from ota_trust import MODEL, TrustBench, bundle_bytes

if TYPE_CHECKING:
    from ota_mirror import Mirror
    from ota_robot import TestRobot

BUNDLE = f"{BUNDLES}{MODEL}/1.1.0.bundle"
EVIL = bundle_bytes("1.1.0", content=b"evil")


def refused(robot: TestRobot, *codes: str) -> None:
    """Check that the robot refuses with one of ``codes`` and runs what it ran."""
    before = robot.running()
    done = robot.round()
    assert done.outcome == "failed", done
    assert done.detail.split(":")[0] in codes, done
    assert robot.running() == before


def recovers(robot: TestRobot, mirror: Mirror) -> None:
    """Check that the honest update still works."""
    mirror.lies.clear()
    done = robot.round()
    assert done.outcome == "installed", done
    assert robot.running() == "1.1.0"


class Thief:
    """Signs with stolen keys and writes past every check of the cloud."""

    def __init__(self, bench: TrustBench) -> None:
        self.bench = bench

    def vouch(self, roles: dict[str, bytes], *, by: int = 1) -> None:
        """Serve ``roles`` with a snapshot and timestamp of the stolen online keys."""
        files = self.bench.files
        stamp = read_timestamp(files["timestamp.json"])
        snapshot = read_snapshot(files[f"{stamp.signed.snapshot_meta.version}.snapshot.json"])
        for role, data in roles.items():
            version = read_targets(data).signed.version
            files[f"{version}.{role}.json"] = data
            snapshot.signed.meta[f"{role}.json"] = MetaFile.from_data(version, data, ["sha256"])
        snapshot.signed.version += by
        content = self._signed(snapshot, "snapshot")
        files[f"{snapshot.signed.version}.snapshot.json"] = content
        stamp.signed.version += by
        meta = MetaFile.from_data(snapshot.signed.version, content, ["sha256"])
        stamp.signed.snapshot_meta = meta
        files["timestamp.json"] = self._signed(stamp, "timestamp")

    def role_with(self, data: bytes, *, key: str, version: str = "1.1.0") -> bytes:
        """Return the model's role listing ``data`` under ``version``, signed with ``key``."""
        _, current = self.bench.latest(MODEL)
        metadata = read_targets(current)
        target = new_target(
            MODEL, version, "", size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
        )
        metadata.signed.targets[target.path] = target
        metadata.signed.version += 1
        return self._signed(metadata, key)

    def _signed(self, metadata: Metadata[Any], key: str) -> bytes:
        metadata.signatures.clear()
        return self.bench.signed(encode(metadata), key)


@pytest.fixture
def thief(bench: TrustBench) -> Thief:
    return Thief(bench)


# --- Arbitrary installation ---------------------------------------------------------------------


def test_arbitrary_installation_of_another_file(running: TestRobot, mirror: Mirror) -> None:
    mirror.lies[BUNDLE] = Lie(data=EVIL[:2048].ljust(len(mirror.bench.bundles[BUNDLE[9:]]), b"x"))
    refused(running, "ota.corrupt")
    recovers(running, mirror)


def test_arbitrary_installation_by_metadata_of_foreign_keys(
    running: TestRobot, mirror: Mirror, bench: TrustBench
) -> None:
    foreign = TrustBench(bench.now)
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        foreign.release(version, content=b"evil")
    mirror.bench, honest = foreign, mirror.bench
    refused(running, "trust.unsigned")
    mirror.bench = honest
    recovers(running, mirror)


def test_arbitrary_installation_by_what_the_offer_claims(
    running: TestRobot, mirror: Mirror
) -> None:
    sha256 = hashlib.sha256(EVIL).hexdigest()
    mirror.changes = {"sha256": sha256, "size_bytes": len(EVIL)}
    mirror.lies[BUNDLE] = Lie(data=EVIL)
    refused(running, "ota.corrupt", "ota.too_long")
    mirror.changes = {}
    recovers(running, mirror)


def test_arbitrary_installation_on_a_robot_without_a_root(
    running: TestRobot, mirror: Mirror
) -> None:
    root = (running.folder / "root.json").read_bytes()
    (running.folder / "root.json").unlink()
    refused(running, "trust.no_root")
    recovers(running.pin(root), mirror)


@pytest.mark.parametrize("role", ["timestamp", "2.snapshot", f"3.{MODEL}"])
def test_arbitrary_installation_by_metadata_without_signatures(
    running: TestRobot, mirror: Mirror, bench: TrustBench, role: str
) -> None:
    bench.refresh()
    name = role if role != "2.snapshot" else "3.snapshot"
    document = json.loads(bench.files[f"{name}.json"])
    document["signatures"] = []
    mirror.lies[f"{METADATA}{name}.json"] = Lie(data=json.dumps(document).encode())
    refused(running, "trust.unsigned", "trust.mismatch")
    recovers(running, mirror)


# --- Endless data -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["timestamp.json", "3.snapshot.json", f"3.{MODEL}.json", "2.root"])
def test_endless_data_as_metadata(running: TestRobot, mirror: Mirror, name: str) -> None:
    mirror.lies[METADATA + name] = Lie(data=b" " * 65536, endless=True)
    refused(running, "trust.too_long")
    recovers(running, mirror)


def test_endless_data_as_a_bundle(running: TestRobot, mirror: Mirror) -> None:
    mirror.lies[BUNDLE] = Lie(data=bytes(65536), endless=True)
    refused(running, "ota.too_long")
    assert list((running.folder / "downloads").iterdir()) == []
    recovers(running, mirror)


def test_endless_data_unpacked_from_little(running: TestRobot, mirror: Mirror) -> None:
    mirror.lies[f"{METADATA}timestamp.json"] = Lie(
        data=b"\x1f\x8b", headers={"content-encoding": "gzip"}
    )
    refused(running, "trust.unreachable")
    recovers(running, mirror)


def test_endless_chain_of_roots(running: TestRobot, mirror: Mirror, bench: TrustBench) -> None:
    for _ in range(70):
        _, current = bench.latest("root")
        version = json.loads(current)["signed"]["version"] + 1
        root = bench.signed(ceremony.next_root(current, {}, bench.now), *bench.root_signers)
        bench.files[f"{version}.root.json"] = root
    # Only the holders of the root keys could do this; it is not endless, but goes in steps of 64.
    recovers(running, mirror)
    assert len(mirror.fetched(f"{METADATA}")) < 80


# --- Extraneous dependencies --------------------------------------------------------------------


def with_extra_file(data: bytes) -> bytes:
    """Return the bundle with a program in it that nobody signed for as part of the manifest."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as source,
        tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for info in source.getmembers():
            archive.addfile(info, source.extractfile(info))
        extra = tarfile.TarInfo("zz_dependency.so")
        extra.size = 4
        archive.addfile(extra, io.BytesIO(b"evil"))
    return out.getvalue()


def test_extraneous_dependency_added_by_the_mirror(running: TestRobot, mirror: Mirror) -> None:
    mirror.lies[BUNDLE] = Lie(data=with_extra_file(mirror.bench.bundles[BUNDLE[9:]]))
    refused(running, "ota.too_long", "ota.corrupt")
    recovers(running, mirror)


def test_extraneous_dependency_in_an_archive_that_was_signed_carelessly(
    running: TestRobot, mirror: Mirror, thief: Thief, bench: TrustBench
) -> None:
    data = with_extra_file(bundle_bytes("1.2.0"))
    bench.publish({f"4.{MODEL}.json": thief.role_with(data, key="model", version="1.2.0")})
    bench.bundles[target_path(MODEL, "1.2.0")] = data
    mirror.offer = "1.2.0"
    refused(running, "bundle.member_unexpected")
    assert not list((running.folder / "slots").glob("*/zz*"))
    mirror.offer = "1.1.0"
    recovers(running, mirror)


# --- Fast-forward -------------------------------------------------------------------------------


def test_fast_forward_with_stolen_online_keys_is_undone_by_a_new_root(
    running: TestRobot, mirror: Mirror, bench: TrustBench, thief: Thief
) -> None:
    honest = dict(bench.files)
    thief.vouch({}, by=2**31)
    mirror.offer = "1.0.0"
    assert running.round().outcome == "up_to_date"
    mirror.offer = "1.1.0"
    running.round()
    assert running.running() == "1.1.0"
    bench.release("1.2.0")
    # The thief's numbers are gone from the store, and the robot has seen them.
    bench.files = honest
    bench.release("1.2.0")
    mirror.offer = "1.2.0"
    refused(running, "trust.rollback")
    bench.online = ("snapshot-2", "timestamp-2")
    bench.rotate(
        {"snapshot": bench.keys.role("snapshot-2"), "timestamp": bench.keys.role("timestamp-2")}
    )
    assert running.round().outcome == "installed"
    assert running.running() == "1.2.0"


def test_fast_forward_of_time_is_undone_by_a_new_root(
    running: TestRobot, mirror: Mirror, bench: TrustBench
) -> None:
    stamp = read_timestamp(bench.files["timestamp.json"])
    stamp.signed.version += 1
    stamp.signed.expires += timedelta(days=4000)
    stamp.signed.unrecognized_fields["x-continuon-issued"] = "2036-01-01T00:00:00Z"
    stamp.signatures.clear()
    bench.files["timestamp.json"] = bench.signed(encode(stamp), "timestamp")
    refused(running, "trust.expired")
    bench.online = ("snapshot", "timestamp-2")
    bench.rotate({"timestamp": bench.keys.role("timestamp-2")})
    recovers(running, mirror)


# --- Indefinite freeze --------------------------------------------------------------------------


def test_indefinite_freeze_ends_when_the_timestamp_does(
    running: TestRobot, mirror: Mirror, bench: TrustBench
) -> None:
    frozen = dict(bench.files)
    bench.wait(timedelta(days=2))
    bench.refresh()
    honest, bench.files = bench.files, frozen
    refused(running.at(bench.now), "trust.expired")
    bench.files = honest
    recovers(running.at(bench.now), mirror)


def test_indefinite_freeze_of_a_robot_whose_clock_stands_still(
    running: TestRobot, mirror: Mirror, bench: TrustBench
) -> None:
    frozen = dict(bench.files)
    bench.wait(timedelta(days=2))
    bench.refresh()
    # It hears of the newer timestamp once, and its own clock never moves.
    mirror.offer = "1.0.0"
    running.round()
    mirror.offer = "1.1.0"
    honest, bench.files = bench.files, frozen
    mirror.date = bench.now - timedelta(days=2)
    refused(running, "trust.expired", "trust.rollback")
    bench.files, mirror.date = honest, None
    recovers(running, mirror)


# --- Malicious mirrors --------------------------------------------------------------------------


@pytest.mark.parametrize("status", [302, 404, 410, 500])
@pytest.mark.parametrize("path", [f"{METADATA}timestamp.json", BUNDLE])
def test_malicious_mirror_that_withholds_delays_and_does_no_more(
    running: TestRobot, mirror: Mirror, path: str, status: int
) -> None:
    mirror.lies[path] = Lie(status=status, headers={"location": "http://127.0.0.1:9/evil"})
    refused(running, "trust.unreachable", "ota.download_broke")
    assert mirror.error_codes() == []
    recovers(running, mirror)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"null", b"[" * 90_000, b'{"signed":1,"signatures":[]}', b"\xff\xfe"]
)
@pytest.mark.parametrize("name", ["timestamp.json", "2.root.json"])
def test_malicious_mirror_that_sends_nonsense(
    running: TestRobot, mirror: Mirror, name: str, data: bytes
) -> None:
    mirror.lies[METADATA + name] = Lie(data=data[:16_000])
    refused(running, "trust.invalid")
    recovers(running, mirror)


@pytest.mark.parametrize(
    "changes",
    [
        {"target_path": "../../etc/passwd"},
        {"url": "file:///etc/passwd"},
        {"url": "not a url"},
        {"url": "http://127.0.0.1:1/closed"},
        {"version": "9.9.9"},
        {"bundle_id": "companion-v1-9.9.9"},
        {"direction": "sideways"},
    ],
)
def test_malicious_mirror_that_bends_the_offer(
    running: TestRobot, mirror: Mirror, changes: dict[str, str]
) -> None:
    mirror.changes = changes
    done = running.round()
    assert done.outcome in {"failed", "unreachable"}
    assert running.running() == "1.0.0"
    mirror.changes = {}
    recovers(running, mirror)


# --- Mix and match ------------------------------------------------------------------------------


def test_mix_and_match_of_an_old_role_under_a_new_number(
    running: TestRobot, mirror: Mirror, bench: TrustBench
) -> None:
    mirror.lies[f"{METADATA}3.{MODEL}.json"] = Lie(data=bench.files[f"2.{MODEL}.json"])
    refused(running, "trust.mismatch")
    recovers(running, mirror)


def test_mix_and_match_of_an_old_snapshot_with_a_new_timestamp(
    running: TestRobot, mirror: Mirror, bench: TrustBench
) -> None:
    mirror.lies[f"{METADATA}3.snapshot.json"] = Lie(data=bench.files["2.snapshot.json"])
    refused(running, "trust.mismatch")
    recovers(running, mirror)


def test_mix_and_match_with_a_stolen_snapshot_key_alone(
    running: TestRobot, mirror: Mirror, bench: TrustBench
) -> None:
    snapshot = read_snapshot(bench.files["3.snapshot.json"])
    old = bench.files[f"2.{MODEL}.json"]
    snapshot.signed.meta[f"{MODEL}.json"] = MetaFile.from_data(2, old, ["sha256"])
    snapshot.signatures.clear()
    forged = bench.signed(encode(snapshot), "snapshot")
    mirror.lies[f"{METADATA}3.snapshot.json"] = Lie(data=forged)
    refused(running, "trust.mismatch")
    recovers(running, mirror)


# --- Rollback -----------------------------------------------------------------------------------


def test_rollback_of_the_metadata(running: TestRobot, mirror: Mirror, bench: TrustBench) -> None:
    old = dict(bench.files)
    bench.release("1.2.0")
    mirror.offer = "1.0.0"
    running.round()
    mirror.offer, honest, bench.files = "1.1.0", bench.files, old
    refused(running, "trust.rollback")
    bench.files = honest
    recovers(running, mirror)


def test_rollback_of_the_metadata_after_the_cache_was_lost(
    running: TestRobot, mirror: Mirror, bench: TrustBench
) -> None:
    old = dict(bench.files)
    bench.release("1.2.0")
    mirror.offer = "1.0.0"
    running.round()
    for name in ("timestamp.json", "snapshot.json", "targets.json", f"{MODEL}.json"):
        (running.folder / "metadata" / name).write_bytes(b"")
    mirror.offer, honest, bench.files = "1.1.0", bench.files, old
    refused(running, "trust.rollback")
    bench.files = honest
    recovers(running, mirror)


def test_rollback_to_a_root_whose_keys_were_revoked(
    running: TestRobot, mirror: Mirror, bench: TrustBench
) -> None:
    old = dict(bench.files)
    bench.rotate(
        {"root": bench.keys.role("new-1", "new-2", threshold=2)},
        "root-1",
        "root-2",
        "new-1",
        "new-2",
    )
    mirror.offer = "1.0.0"
    running.round()
    for cached in (running.folder / "metadata" / "root_history").iterdir():
        cached.unlink()
    mirror.offer, honest, bench.files = "1.1.0", bench.files, old
    refused(running, "trust.rollback")
    bench.files = honest
    recovers(running, mirror)


@pytest.mark.parametrize("direction", ["forward", "back"])
def test_rollback_of_the_bundle_by_a_cloud_that_was_taken_over(
    running: TestRobot, mirror: Mirror, bench: TrustBench, direction: str
) -> None:
    recovers(running, mirror)
    bench.release("1.2.0")
    mirror.offer = "1.2.0"
    running.round()
    # 1.0.0 is still signed, and this robot did not run it immediately before.
    mirror.offer, mirror.direction = "1.0.0", direction
    refused(running, "ota.version_lower")
    assert running.running() == "1.2.0"


# --- Slow retrieval -----------------------------------------------------------------------------


SLOW = pytest.mark.parametrize(
    "lie", [Lie(trickle_s=0.1), Lie(stall_headers=True)], ids=["trickling", "headers"]
)


@SLOW
def test_slow_retrieval_of_metadata(running: TestRobot, mirror: Mirror, lie: Lie) -> None:
    mirror.lies[f"{METADATA}timestamp.json"] = lie
    refused(replace(running, deadline_s=1.0), "trust.slow")
    assert mirror.error_codes() == []
    recovers(running, mirror)


@SLOW
def test_slow_retrieval_of_a_bundle(running: TestRobot, mirror: Mirror, lie: Lie) -> None:
    mirror.lies[BUNDLE] = lie
    refused(replace(running, limits=replace(PATIENT, window_s=0.5)), "ota.slow")
    assert mirror.error_codes() == []
    recovers(running, mirror)


# --- Key compromise -----------------------------------------------------------------------------


def test_key_compromise_of_the_online_keys_installs_nothing(
    running: TestRobot, mirror: Mirror, thief: Thief, bench: TrustBench
) -> None:
    honest = dict(bench.files)
    thief.vouch({MODEL: thief.role_with(EVIL, key="timestamp", version="1.2.0")})
    bench.bundles[target_path(MODEL, "1.2.0")] = EVIL
    mirror.offer = "1.2.0"
    refused(running, "trust.unsigned")
    mirror.offer, bench.files = "1.1.0", honest
    bench.online = ("snapshot-2", "timestamp-2")
    bench.rotate(
        {"snapshot": bench.keys.role("snapshot-2"), "timestamp": bench.keys.role("timestamp-2")}
    )
    recovers(running, mirror)


def test_key_compromise_of_a_publisher_needs_the_online_keys_too(
    running: TestRobot, mirror: Mirror, thief: Thief
) -> None:
    mirror.lies[f"{METADATA}3.{MODEL}.json"] = Lie(data=thief.role_with(EVIL, key="model"))
    refused(running, "trust.mismatch")
    recovers(running, mirror)


def test_key_compromise_of_a_publisher_ends_with_its_revocation(
    running: TestRobot, mirror: Mirror, thief: Thief, bench: TrustBench
) -> None:
    _, targets = bench.latest("targets")
    changes: dict[str, Any] = {MODEL: bench.keys.role("model-2")}
    following = bench.signed(ceremony.next_targets(targets, changes, bench.now), "targets")
    bench.publish({"2.targets.json": following})
    # The stolen key, with the online keys as well: signed, vouched for, and refused.
    thief.vouch({MODEL: thief.role_with(EVIL, key="model", version="1.2.0")})
    mirror.offer = "1.2.0"
    refused(running, "trust.unsigned")


def test_key_compromise_of_one_root_key_is_below_the_threshold(
    running: TestRobot, mirror: Mirror, bench: TrustBench
) -> None:
    _, current = bench.latest("root")
    mine = {"targets": bench.keys.role("evil"), "root": bench.keys.role("evil")}
    forged = bench.signed(ceremony.next_root(current, mine, bench.now), "root-1", "evil")
    mirror.lies[f"{METADATA}2.root.json"] = Lie(data=forged)
    refused(running, "trust.unsigned")
    recovers(running, mirror)


# --- Wrong software -----------------------------------------------------------------------------


def test_wrong_software_of_another_robot_model(
    running: TestRobot, mirror: Mirror, bench: TrustBench
) -> None:
    _, targets = bench.latest("targets")
    changes: dict[str, Any] = {"arm-v2": bench.keys.role("arm")}
    data = bundle_bytes("2.0.0", model="arm-v2")
    target = new_target(
        "arm-v2", "2.0.0", "", size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
    )
    role = ceremony.add_bundle(ceremony.first_model(bench.now), target, bench.now)
    bench.publish(
        {
            "2.targets.json": bench.signed(
                ceremony.next_targets(targets, changes, bench.now), "targets"
            ),
            "2.arm-v2.json": bench.signed(role, "arm"),
        }
    )
    mirror.changes = {"target_path": "arm-v2/2.0.0.bundle", "version": "2.0.0"}
    refused(running, "trust.wrong_model")
    mirror.changes = {}
    recovers(running, mirror)


def test_wrong_software_under_the_right_name(
    running: TestRobot, mirror: Mirror, thief: Thief, bench: TrustBench
) -> None:
    # A publisher who mixed up two files: signed for this robot, made for another.
    data = bundle_bytes("1.2.0", model="arm-v2")
    bench.publish({f"4.{MODEL}.json": thief.role_with(data, key="model", version="1.2.0")})
    bench.bundles[target_path(MODEL, "1.2.0")] = data
    mirror.offer = "1.2.0"
    refused(running, "trust.manifest")
    mirror.offer = "1.1.0"
    recovers(running, mirror)


def test_wrong_software_for_an_older_robot(
    running: TestRobot, mirror: Mirror, bench: TrustBench
) -> None:
    bench.release("1.2.0", requires_version=">=2")
    mirror.offer = "1.2.0"
    refused(running, "ota.requires_version")
    assert mirror.fetched(BUNDLES) == []
    mirror.offer = "1.1.0"
    recovers(running, mirror)


def test_wrong_software_that_was_withdrawn(running: TestRobot, bench: TrustBench) -> None:
    data = bench.bundles[target_path(MODEL, "1.1.0")]
    bench.withdraw("1.1.0")
    bench.bundles[target_path(MODEL, "1.1.0")] = data
    refused(running, "trust.not_listed")
