from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from continuon.rlds import validate_path
from continuon_cloud.errors import EpisodeSourceError
from continuon_cloud.queue.packing import Spool
from continuon_cloud.queue.sources import read_source

if TYPE_CHECKING:
    from pathlib import Path


def folder(root: Path, *, episode_id: str | None = "ep_1") -> Path:
    (root / "blobs").mkdir(parents=True)
    metadata = {"step_count": 1, "duration_ms": 20, "robot_id": "14d4b680"}
    if episode_id is not None:
        metadata["episode_id"] = episode_id
    (root / "metadata.json").write_text(json.dumps(metadata))
    (root / "steps.jsonl").write_text("{}\n")
    (root / "blobs" / "b.bin").write_bytes(b"blob")
    return root


def tar_of(root: Path, target: Path, *, top: str = "") -> Path:
    with tarfile.open(target, "w:gz") as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                name = file.relative_to(root).as_posix()
                archive.add(file, arcname=f"{top}/{name}" if top else name)
    return target


def test_folder_is_read_with_its_metadata_first(tmp_path: Path) -> None:
    source = read_source(folder(tmp_path / "e"))

    assert [file.path for file in source.files] == ["metadata.json", "blobs/b.bin", "steps.jsonl"]
    assert (source.episode_id, source.robot_id) == ("ep_1", "14d4b680")
    assert source.metadata == {"step_count": 1, "duration_ms": 20}


def test_digest_of_a_folder_is_the_one_of_the_report(tmp_path: Path) -> None:
    path = folder(tmp_path / "e")

    assert read_source(path).digest == validate_path(path).sha256


def test_equal_content_has_equal_digest_and_equal_archive_bytes(tmp_path: Path) -> None:
    one, two = folder(tmp_path / "a" / "x"), folder(tmp_path / "b" / "y")
    os.utime(two / "steps.jsonl", (1, 1))
    (two / "steps.jsonl").chmod(0o600)
    first = Spool(tmp_path / "s1", limit_bytes=10**6).pack(read_source(one))
    second = Spool(tmp_path / "s2", limit_bytes=10**6).pack(read_source(two))

    assert first.sha256 == second.sha256
    assert first.source.name == second.source.name


def test_archive_holds_the_folder_without_owner_or_time(tmp_path: Path) -> None:
    plan = Spool(tmp_path / "s", limit_bytes=10**6).pack(read_source(folder(tmp_path / "e")))
    with tarfile.open(plan.source) as archive:
        members = archive.getmembers()

    assert [member.name for member in members] == ["metadata.json", "blobs/b.bin", "steps.jsonl"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(0, 0, 0, "", 0o644)}


@pytest.mark.parametrize("top", ["", "ep"])
def test_episode_id_is_found_inside_archives(top: str, tmp_path: Path) -> None:
    root = folder(tmp_path / "e")
    packed = tar_of(root, tmp_path / "e.tar.gz", top=top)
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.write(root / "metadata.json", f"{top}/metadata.json" if top else "metadata.json")

    assert read_source(packed).episode_id == "ep_1"
    assert read_source(tmp_path / "e.zip").episode_id == "ep_1"


def test_episode_id_is_found_in_a_document(tmp_path: Path) -> None:
    document = tmp_path / "e.json"
    document.write_text(json.dumps({"steps": [{}], "metadata": {"episode_id": "ep_9"}}))

    assert read_source(document).episode_id == "ep_9"


@pytest.mark.parametrize("named", [None, "../up", "", "x" * 200])
def test_missing_or_unsafe_episode_id_is_made_from_the_content(
    named: str | None, tmp_path: Path
) -> None:
    source = read_source(folder(tmp_path / "e", episode_id=named))

    assert source.episode_id == f"ep_{source.digest[:24]}"


@pytest.mark.parametrize("name", ["e.tar.gz", "e.tar", "e.zip", "e.json"])
@pytest.mark.parametrize(
    "content", [b"\x1f\x8b broken", b"PK\x03\x04", b"{", b"[[[[", b"\x00" * 600]
)
def test_damaged_file_is_still_taken_for_the_cloud_to_judge(
    name: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    source = read_source(tmp_path / name)

    assert source.files[0].sha256 == hashlib.sha256(content).hexdigest()


def test_truncated_archive_never_escapes(tmp_path: Path) -> None:
    whole = tar_of(folder(tmp_path / "e"), tmp_path / "w.tar.gz").read_bytes()
    cut = tmp_path / "cut.tar.gz"
    for length in range(1, len(whole), 5):
        cut.write_bytes(whole[:length])
        assert read_source(cut).size_bytes == length


def test_hostile_document_depth_never_escapes(tmp_path: Path) -> None:
    document = tmp_path / "e.json"
    document.write_text('{"metadata": ' + "[" * 100_000 + "]" * 100_000 + "}")

    assert read_source(document).episode_id.startswith("ep_")


def test_link_in_a_folder_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "e")
    (root / "blobs" / "link.bin").symlink_to("/etc/hostname")
    with pytest.raises(EpisodeSourceError) as refusal:
        read_source(root)

    assert refusal.value.code == "source.not_regular"


def test_linked_subfolder_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "e")
    (root / "blobs" / "more").symlink_to(tmp_path)
    with pytest.raises(EpisodeSourceError) as refusal:
        read_source(root)

    assert refusal.value.code == "source.not_regular"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("missing", "source.missing"),
        ("notes.txt", "source.unknown_form"),
        ("e.json", "source.empty"),
    ],
)
def test_path_that_is_no_episode_is_refused_with_its_reason(
    name: str, code: str, tmp_path: Path
) -> None:
    if name != "missing":
        (tmp_path / name).touch()
    with pytest.raises(EpisodeSourceError) as refusal:
        read_source(tmp_path / name)

    assert refusal.value.code == code


def test_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "e")
    (root / "blobs" / os.fsdecode(b"\xff.jpg")).touch()
    with pytest.raises(EpisodeSourceError) as refusal:
        read_source(root)

    assert refusal.value.code == "source.name"


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    with pytest.raises(EpisodeSourceError) as refusal:
        read_source(tmp_path / "e")

    assert refusal.value.code == "source.empty"


def test_full_spool_refuses_and_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", limit_bytes=1000)
    source = read_source(folder(tmp_path / "e"))
    with pytest.raises(EpisodeSourceError) as refusal:
        spool.pack(source)

    assert refusal.value.code == "spool.full"
    assert spool.used_bytes() == 0


def test_file_that_changes_between_reading_and_packing_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "e")
    source = read_source(root)
    (root / "blobs" / "b.bin").write_bytes(b"BLOB")
    spool = Spool(tmp_path / "s", limit_bytes=10**6)
    with pytest.raises(EpisodeSourceError) as refusal:
        spool.pack(source)

    assert refusal.value.code == "source.changed"
    assert spool.used_bytes() == 0


def test_remains_of_a_crash_are_collected_and_needed_archives_stay(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", limit_bytes=10**6)
    plan = spool.pack(read_source(folder(tmp_path / "e")))
    (spool.folder / "dead.tar.gz.partial").write_bytes(b"x")
    (spool.folder / "orphan.tar.gz").write_bytes(b"x")
    spool.collect({plan.source.name})

    assert [entry.name for entry in spool.folder.iterdir()] == [plan.source.name]


def test_archive_reads_as_the_same_episode(tmp_path: Path) -> None:
    root = folder(tmp_path / "e")
    plan = Spool(tmp_path / "s", limit_bytes=10**6).pack(read_source(root))
    with tarfile.open(fileobj=io.BytesIO(plan.source.read_bytes())) as archive:
        content = archive.extractfile("blobs/b.bin")
        assert content is not None
        assert content.read() == b"blob"
    assert validate_path(plan.source).totals == validate_path(root).totals
