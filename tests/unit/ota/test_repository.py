"""What the cloud takes in, what it vouches for, and what it refuses before a robot has to."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tuf.api.metadata import Metadata, TargetFile

from continuon.ota.errors import TrustError
from continuon.ota.trust import ceremony
from continuon.ota.trust.bundles import new_target
from continuon.ota.trust.ceremony import RoleKeys
from continuon.ota.trust.metadata import encode, read_targets, read_timestamp
from ota_trust import MODEL, TrustBench

if TYPE_CHECKING:
    from collections.abc import Callable

SHA = "ab" * 32


@pytest.fixture
def bench() -> TrustBench:
    return TrustBench()


def refused(bench: TrustBench, uploads: dict[str, bytes]) -> str:
    """Return the code of the refusal; nothing was written."""
    before = dict(bench.files)
    with pytest.raises(TrustError) as error:
        bench.publish(uploads)
    assert bench.files == before
    return error.value.code


def edited(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads(data)
    change(document)
    return json.dumps(document).encode()


def test_the_timestamp_is_written_last_and_everything_it_names_before_it() -> None:
    written = list(TrustBench().files)
    assert written[:2] == ["1.root.json", "root.json"]
    assert written[-2:] == ["1.snapshot.json", "timestamp.json"]


def test_the_same_upload_twice_changes_nothing(bench: TrustBench) -> None:
    bench.release("1.0.0")
    uploads = {name: data for name, data in bench.files.items() if name[0].isdigit()}
    uploads.pop("1.snapshot.json")
    uploads.pop("2.snapshot.json")
    assert bench.publish(uploads) == {}


def test_metadata_of_a_key_that_nobody_named_is_refused(bench: TrustBench) -> None:
    _, current = bench.latest(MODEL)
    role = bench.signed(ceremony.renew(current, MODEL, bench.now), "stranger")
    assert refused(bench, {f"2.{MODEL}.json": role}) == "trust.unsigned"


def test_content_changed_after_signing_is_refused(bench: TrustBench) -> None:
    _, current = bench.latest(MODEL)
    role = bench.signed(ceremony.renew(current, MODEL, bench.now), "model")
    forged = edited(
        role, lambda document: document["signed"].update(expires="2099-01-01T00:00:00Z")
    )
    assert refused(bench, {f"2.{MODEL}.json": forged}) == "trust.unsigned"


def test_a_root_needs_the_threshold_of_the_old_keys(bench: TrustBench) -> None:
    _, current = bench.latest("root")
    root = ceremony.next_root(current, {}, bench.now)
    assert refused(bench, {"2.root.json": bench.signed(root, "root-1")}) == "trust.unsigned"


def test_a_root_needs_the_threshold_of_its_own_keys(bench: TrustBench) -> None:
    new = bench.keys.role("new-1", "new-2", threshold=2)
    _, current = bench.latest("root")
    root = ceremony.next_root(current, {"root": new}, bench.now)
    alone = bench.signed(root, "root-1", "root-2", "new-1")
    assert refused(bench, {"2.root.json": alone}) == "trust.unsigned"
    bench.publish({"2.root.json": bench.signed(alone, "new-2")})


def test_a_root_version_cannot_be_left_out(bench: TrustBench) -> None:
    _, current = bench.latest("root")
    second = ceremony.next_root(current, {}, bench.now)
    third = bench.signed(ceremony.next_root(second, {}, bench.now), "root-1", "root-2")
    assert refused(bench, {"3.root.json": third}) == "trust.version"


def test_two_roots_can_arrive_together(bench: TrustBench) -> None:
    _, current = bench.latest("root")
    second = bench.signed(ceremony.next_root(current, {}, bench.now), "root-1", "root-2")
    third = bench.signed(ceremony.next_root(second, {}, bench.now), "root-1", "root-2")
    written = bench.publish({"3.root.json": third, "2.root.json": second})
    assert list(written)[:3] == ["2.root.json", "3.root.json", "root.json"]
    assert bench.files["root.json"] == third


def test_a_lower_version_is_refused(bench: TrustBench) -> None:
    bench.release("1.0.0")
    again = bench.signed(ceremony.first_model(bench.now), "model", "other")
    assert refused(bench, {f"1.{MODEL}.json": again}) == "trust.version"


def test_what_is_expired_when_it_arrives_is_refused(bench: TrustBench) -> None:
    _, current = bench.latest(MODEL)
    past = bench.now - timedelta(days=400)
    role = bench.signed(ceremony.renew(current, MODEL, past), "model")
    assert refused(bench, {f"2.{MODEL}.json": role}) == "trust.expired"


def test_a_model_key_signs_for_no_other_model(bench: TrustBench) -> None:
    _, current = bench.latest(MODEL)
    foreign = new_target("arm-v2", "1.0.0", "", size_bytes=1, sha256=SHA)
    role = bench.signed(ceremony.add_bundle(current, foreign, bench.now), "model")
    assert refused(bench, {f"2.{MODEL}.json": role}) == "trust.scope"


def test_a_model_without_a_delegation_is_refused(bench: TrustBench) -> None:
    role = bench.signed(ceremony.first_model(bench.now), "model")
    assert refused(bench, {"1.arm-v2.json": role}) == "trust.not_delegated"


def test_a_published_bundle_never_changes(bench: TrustBench) -> None:
    path = bench.release("1.0.0")
    _, current = bench.latest(MODEL)
    metadata = read_targets(current)
    metadata.signed.version += 1
    metadata.signed.targets[path].length += 1
    metadata.signatures.clear()
    role = bench.signed(encode(metadata), "model")
    assert refused(bench, {f"3.{MODEL}.json": role}) == "trust.immutable"


@pytest.mark.parametrize(
    "custom",
    [
        {},
        {"bundle_id": "x", "version": "1.0.0", "robot_model": MODEL},
        {"bundle_id": f"{MODEL}-1.0.0", "version": "1.0.0", "robot_model": MODEL},
        {
            "bundle_id": f"{MODEL}-2.0.0",
            "version": "2.0.0",
            "robot_model": MODEL,
            "requires_version": "^2",
        },
        {
            "bundle_id": f"{MODEL}-2.0.0",
            "version": "2.0.0",
            "robot_model": MODEL,
            "fallback": ["3.0.0"],
        },
    ],
)
def test_a_target_whose_claims_do_not_fit_is_refused(
    bench: TrustBench, custom: dict[str, str]
) -> None:
    path = f"{MODEL}/2.0.0.bundle"
    target = TargetFile(1, {"sha256": SHA}, path, {"custom": custom})
    _, current = bench.latest(MODEL)
    role = bench.signed(ceremony.add_bundle(current, target, bench.now), "model")
    assert refused(bench, {f"2.{MODEL}.json": role}) == "trust.scope"


def test_top_level_targets_list_no_bundles(bench: TrustBench) -> None:
    _, current = bench.latest("targets")
    target = new_target(MODEL, "1.0.0", "", size_bytes=1, sha256=SHA)
    targets = bench.signed(ceremony.add_bundle(current, target, bench.now), "targets")
    assert refused(bench, {"2.targets.json": targets}) == "trust.scope"


@pytest.mark.parametrize(
    "change",
    [
        {"paths": ["*/*"]},
        {"paths": []},
        {"terminating": False},
        {"name": "a b", "paths": ["a b/*"]},
    ],
)
def test_a_delegation_beyond_the_models_own_folder_is_refused(
    bench: TrustBench, change: dict[str, Any]
) -> None:
    _, current = bench.latest("targets")
    targets = ceremony.renew(current, "targets", bench.now)
    wide = edited(targets, lambda doc: doc["signed"]["delegations"]["roles"][0].update(change))
    uploads = {"2.targets.json": bench.signed(encode(Metadata.from_bytes(wide)), "targets")}
    assert refused(bench, uploads) == "trust.scope"


@pytest.mark.parametrize(
    "name",
    ["timestamp.json", "1.timestamp.json", "2.snapshot.json", "../1.root.json", "x", "0.a.json"],
)
def test_only_offline_metadata_can_be_uploaded(bench: TrustBench, name: str) -> None:
    assert refused(bench, {name: bench.files["timestamp.json"]}) == "trust.malformed"


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b"\xff", b"null"])
def test_bytes_that_are_no_metadata_are_refused(bench: TrustBench, data: bytes) -> None:
    assert refused(bench, {f"2.{MODEL}.json": data}) == "trust.malformed"


def test_a_role_under_anothers_name_is_refused(bench: TrustBench) -> None:
    _, root = bench.latest("root")
    assert refused(bench, {f"2.{MODEL}.json": root}) == "trust.malformed"


def test_a_file_written_by_another_tool_keeps_its_bytes(bench: TrustBench) -> None:
    _, current = bench.latest(MODEL)
    role = bench.signed(ceremony.renew(current, MODEL, bench.now), "model")
    spaced = json.dumps(json.loads(role), indent=2).encode()
    bench.publish({f"2.{MODEL}.json": spaced})
    snapshot = json.loads(bench.files["2.snapshot.json"])
    named = snapshot["signed"]["meta"][f"{MODEL}.json"]
    assert named["hashes"]["sha256"] == hashlib.sha256(spaced).hexdigest()


# --- Online keys --------------------------------------------------------------------------------


def test_nothing_is_renewed_while_it_is_fresh(bench: TrustBench) -> None:
    bench.wait(timedelta(hours=11))
    assert bench.refresh() == {}


def test_the_timestamp_is_renewed_at_half_of_its_time(bench: TrustBench) -> None:
    bench.wait(timedelta(hours=13))
    assert list(bench.refresh()) == ["timestamp.json"]
    stamp = read_timestamp(bench.files["timestamp.json"]).signed
    assert (stamp.version, stamp.snapshot_meta.version) == (2, 1)
    assert bench.refresh() == {}


def test_the_snapshot_is_renewed_at_half_of_its_time(bench: TrustBench) -> None:
    bench.wait(timedelta(days=8))
    assert list(bench.refresh()) == ["2.snapshot.json", "timestamp.json"]


def test_a_snapshot_that_a_dead_writer_left_is_passed_over(bench: TrustBench) -> None:
    bench.files["2.snapshot.json"] = b"of a writer that died before its timestamp"
    bench.release("1.0.0")
    assert read_timestamp(bench.files["timestamp.json"]).signed.snapshot_meta.version == 3


def test_a_version_that_a_dead_writer_took_is_refused_by_name(bench: TrustBench) -> None:
    _, current = bench.latest(MODEL)
    bench.files[f"2.{MODEL}.json"] = b"left behind"
    role = bench.signed(ceremony.renew(current, MODEL, bench.now), "model")
    assert refused(bench, {f"2.{MODEL}.json": role}) == "trust.version_taken"
    bench.publish(
        {f"3.{MODEL}.json": bench.signed(ceremony.renew(role, MODEL, bench.now), "model")}
    )


def test_a_key_that_the_root_does_not_name_cannot_vouch(bench: TrustBench) -> None:
    bench.online = ("snapshot", "stranger")
    bench.wait(timedelta(days=1))
    with pytest.raises(TrustError) as error:
        bench.refresh()
    assert error.value.code == "trust.online_key"


def test_rotated_online_keys_vouch_at_once_for_everything(bench: TrustBench) -> None:
    bench.release("1.0.0")
    bench.online = ("online-2", "online-2")
    changes = {"snapshot": bench.keys.role("online-2"), "timestamp": bench.keys.role("online-2")}
    bench.rotate(changes)
    assert list(bench.files)[-1] == "3.snapshot.json"
    assert bench.refresh() == {}


def test_a_new_targets_key_needs_new_targets_in_the_same_upload(bench: TrustBench) -> None:
    _, root = bench.latest("root")
    _, targets = bench.latest("targets")
    following = bench.signed(
        ceremony.next_root(root, {"targets": bench.keys.role("targets-2")}, bench.now),
        "root-1",
        "root-2",
    )
    assert refused(bench, {"2.root.json": following}) == "trust.unsigned"
    renewed = bench.signed(ceremony.renew(targets, "targets", bench.now), "targets-2")
    bench.publish({"2.root.json": following, "2.targets.json": renewed})


def test_nothing_is_published_before_the_first_root() -> None:
    bench = TrustBench()
    role = bench.files[f"1.{MODEL}.json"]
    bench.files.clear()
    assert refused(bench, {f"1.{MODEL}.json": role}) == "trust.not_initialised"
    assert bench.refresh() == {}


# --- Keys of a role -----------------------------------------------------------------------------


def test_one_key_does_not_count_twice_towards_a_threshold(bench: TrustBench) -> None:
    twice = (bench.keys("root-1").public_key,) * 2
    with pytest.raises(TrustError):
        RoleKeys(twice, 2)


@pytest.mark.parametrize("threshold", [0, 3])
def test_a_threshold_that_means_nothing_is_refused(bench: TrustBench, threshold: int) -> None:
    with pytest.raises(TrustError):
        bench.keys.role("a", "b", threshold=threshold)


def test_missing_signatures_are_named(bench: TrustBench) -> None:
    _, data = bench.latest("root")
    current = Metadata.from_bytes(data).signed
    draft = bench.signed(ceremony.next_root(data, {}, bench.now), "root-1")
    ((missing, keys),) = ceremony.missing_signatures(draft, "root", [current])
    assert missing == 1
    assert sorted(ceremony.key_name(key) for key in keys) == ["root-2", "root-3"]
