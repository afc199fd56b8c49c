"""Bundles: every byte determined, and nothing in them that the manifest does not list."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuon.ota.bundle import BundleReader, write_bundle
from continuon.ota.errors import BundleError
from continuon.ota.manifest import (
    BundleFile,
    BundleManifest,
    Dependency,
    FileRole,
    Provenance,
    new_manifest,
    read_manifest,
)

CONTENT = {"README.md": b"# Card\n", "model/policy.npz": b"\x00weights" * 999}


def manifest_of(content: dict[str, bytes], **changes: Any) -> BundleManifest:
    files = [
        BundleFile(
            path=path,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            role=FileRole.CARD if path == "README.md" else FileRole.MODEL,
        )
        for path, data in content.items()
    ]
    fields: dict[str, Any] = {"version": "1.2.0", "robot_model": "companion-v1", "files": files}
    return new_manifest(**(fields | changes))


def written(content: dict[str, bytes], manifest: BundleManifest | None = None) -> bytes:
    out = io.BytesIO()
    chosen = manifest or manifest_of(content)
    size = write_bundle(chosen, lambda path: io.BytesIO(content[path]), out)
    data = out.getvalue()
    assert (size.size_bytes, size.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    return data


def read(data: bytes, step: int = 700) -> dict[str, bytes]:
    reader = BundleReader(data[at : at + step] for at in range(0, len(data), step))
    return {member.file.path: b"".join(member.chunks) for member in reader.members()}


def hostile(entries: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """Pack ``entries`` behind the manifest of `CONTENT`, which has not asked for them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        document = manifest_of(CONTENT).to_bytes()
        for info, data in [(tarfile.TarInfo("manifest.json"), document), *entries]:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def entries(content: dict[str, bytes]) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(tarfile.TarInfo(path), data) for path, data in content.items()]


def code_of(data: bytes) -> str:
    with pytest.raises(BundleError) as refused:
        read(data)
    return refused.value.code


def test_a_bundle_is_read_back_as_it_was_written() -> None:
    assert read(written(CONTENT)) == CONTENT


def test_the_same_input_gives_the_same_bytes() -> None:
    again = dict(reversed(CONTENT.items()))
    assert written(CONTENT) == written(again)
    # Pinned: a later version of the code or of Python must not change what was published.
    assert hashlib.sha256(written({"m": b"x"})).hexdigest() == (
        "0c515ed527755a08b9085750551e827445b834bb2dc571f45fad11913a389515"
    )


def test_system_tar_would_unpack_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(written(CONTENT))) as archive:
        infos = archive.getmembers()
    assert [info.name for info in infos] == ["manifest.json", *sorted(CONTENT)]
    assert {(info.mtime, info.uid, info.gid, info.uname, info.mode) for info in infos} == {
        (0, 0, 0, "", 0o644)
    }


@settings(max_examples=60)
@given(st.data())
def test_one_changed_byte_is_never_accepted_as_another_content(data: st.DataObject) -> None:
    whole = written(CONTENT)
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytes([*whole[:at], whole[at] ^ data.draw(st.integers(1, 255)), *whole[at + 1 :]])
    with contextlib.suppress(BundleError):
        assert read(changed) == CONTENT


@settings(max_examples=60)
@given(st.integers(0, 10_000))
def test_a_cut_bundle_is_refused(length: int) -> None:
    whole = written(CONTENT)
    with pytest.raises(BundleError):
        read(whole[: min(length, len(whole) - 1)])


def test_a_source_that_changed_since_the_manifest_is_not_packed() -> None:
    for changed in (b"", b"# Cart\n", b"# Card\nmore"):
        with pytest.raises(BundleError) as refused:
            written({**CONTENT, "README.md": changed}, manifest_of(CONTENT))
        assert refused.value.code == "bundle.file_changed"


def test_an_extra_file_is_refused() -> None:
    extra = entries({**CONTENT, "zz_extra.so": b"payload"})
    assert code_of(hostile(extra)) == "bundle.member_unexpected"


def test_a_missing_file_is_refused() -> None:
    assert code_of(hostile(entries({"README.md": CONTENT["README.md"]}))) == "bundle.member_missing"


def test_files_in_another_order_are_refused() -> None:
    assert code_of(hostile(list(reversed(entries(CONTENT))))) == "bundle.member_unexpected"


def test_other_content_under_a_listed_name_is_refused() -> None:
    swapped = {**CONTENT, "README.md": b"# Evil\n"}
    assert code_of(hostile(entries(swapped))) == "bundle.member_corrupt"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("README.md", tarfile.SYMTYPE),
        ("README.md", tarfile.LNKTYPE),
        ("README.md", tarfile.CHRTYPE),
        ("README.md", tarfile.FIFOTYPE),
        ("README.md/", tarfile.DIRTYPE),
        ("../README.md", tarfile.REGTYPE),
        ("/README.md", tarfile.REGTYPE),
    ],
)
def test_links_devices_folders_and_climbing_names_are_refused(name: str, kind: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/shadow"
    with pytest.raises(BundleError):
        read(hostile([(info, b"")]))


def test_an_archive_without_a_manifest_in_front_is_refused() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("README.md"), io.BytesIO())
    assert code_of(out.getvalue()) == "bundle.invalid"
    assert code_of(b"\x1f\x8b" + bytes(2000)) == "bundle.invalid"


def test_a_manifest_of_many_megabytes_is_refused_before_it_is_held() -> None:
    info = tarfile.TarInfo("manifest.json")
    info.size = 8 * 1024**3 - 1
    assert code_of(info.tobuf(tarfile.USTAR_FORMAT)) == "bundle.too_large"


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "v1.2.0"},
        {"version": "latest"},
        {"version": "1!1.0"},
        {"version": "1.0+lab"},
        {"version": "1/../2"},
        {"robot_model": "../companion"},
        {"robot_model": "snapshot"},
        {"robot_model": ""},
        {"requires_version": "^1.2"},
        {"requires_version": "latest"},
        {"dependencies": [Dependency(name="n", version="1")] * 501},
    ],
)
def test_fields_that_mean_nothing_or_harm_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BundleError) as refused:
        manifest_of(CONTENT, **changes)
    assert refused.value.code == "bundle.manifest_invalid"


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"a": b"", "A": b""},
        {"a": b"", "a/b": b""},
        {"Manifest.json": b""},
        {f"{number:03}": b"" for number in range(65)},
    ],
)
def test_lists_of_files_that_no_disk_can_hold_are_refused(content: dict[str, bytes]) -> None:
    with pytest.raises(BundleError):
        manifest_of(content)


def test_a_manifest_keeps_where_the_model_comes_from() -> None:
    provenance = Provenance(model_id="grasp", model_version="7", training_job_id="job_1")
    manifest = manifest_of(CONTENT, provenance=provenance, requires_version=">=1.0.0")
    assert read_manifest(manifest.to_bytes()) == manifest
    assert manifest.to_bytes() == read_manifest(manifest.to_bytes()).to_bytes()


def test_a_newer_form_of_manifest_is_refused_by_name() -> None:
    document = json.loads(manifest_of(CONTENT).to_bytes()) | {"schema_version": 2}
    with pytest.raises(BundleError) as refused:
        read_manifest(json.dumps(document).encode())
    assert refused.value.code == "bundle.schema_unknown"


@pytest.mark.parametrize("field", ["checksum", "size_bytes", "files", "version"])
def test_a_manifest_that_contradicts_itself_is_refused(field: str) -> None:
    document = json.loads(manifest_of(CONTENT).to_bytes())
    wrong = {"checksum": "sha256:" + "0" * 64, "size_bytes": 1, "files": [], "version": "x y"}
    with pytest.raises(BundleError):
        read_manifest(json.dumps(document | {field: wrong[field]}).encode())
