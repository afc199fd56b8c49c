"""A file cut anywhere, or with any bytes changed, ends in a report; a cut one is never valid."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from continuon.rlds import Packaging, Report, detect_packaging
from rlds_samples import (
    Files,
    encode_steps,
    make,
    pack,
    pack_document,
    pack_tar,
    pack_zip,
    tiny,
    validate,
    validate_bytes,
)

SMALL = tiny()
OBJECTS = {
    "tar": (Packaging.TAR, pack_tar(SMALL)),
    "tar.gz": (Packaging.TAR_GZ, pack_tar(SMALL, kind="gz")),
    "zip": (Packaging.ZIP, pack_zip(SMALL)),
    "zip-streaming": (Packaging.ZIP, pack_zip(SMALL, streaming=True)),
    "zip-stored": (Packaging.ZIP, pack_zip(SMALL, stored=True)),
    "document": (Packaging.DOCUMENT, pack_document(SMALL)),
}


def test_samples_are_valid_when_whole() -> None:
    for packaging, data in OBJECTS.values():
        assert validate_bytes(data, packaging).problems == []
    assert validate(SMALL).problems == []


@pytest.mark.parametrize("name", OBJECTS)
def test_object_cut_at_every_byte_is_invalid(name: str) -> None:
    packaging, data = OBJECTS[name]
    for end in range(len(data)):
        report = validate_bytes(data[:end], packaging)
        assert report.verdict == "invalid", f"cut at {end} of {len(data)}"
        assert report.sha256 is not None


@pytest.mark.parametrize("path", ["steps.jsonl", "metadata.json", "blobs/a"])
def test_folder_file_cut_at_every_byte_is_invalid_unless_nothing_of_meaning_is_lost(
    path: str,
) -> None:
    data = SMALL[path]
    harmless = {
        "steps.jsonl": len(data) - 1,  # only the last newline is gone
        "metadata.json": len(data),
        "blobs/a": 1,  # no checksum is given, so only the empty blob can be told
    }[path]
    for end in range(len(data)):
        report = validate({**SMALL, path: data[:end]})
        assert (report.verdict == "valid") == (end >= harmless), f"cut at {end}"


def test_cut_in_the_middle_of_each_kind_names_the_truncation() -> None:
    for name in ("tar", "tar.gz", "zip"):
        packaging, data = OBJECTS[name]
        report = validate_bytes(data[: len(data) // 2], packaging)
        assert "archive.truncated" in {found.code for found in report.problems}


def test_file_dropped_from_a_folder_is_noticed() -> None:
    for path in SMALL:
        rest = {name: data for name, data in SMALL.items() if name != path}
        assert validate(rest).verdict == "invalid"


def _mutate(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    result = bytearray(data)
    for where, remove, insert in changes:
        start = where % (len(result) + 1)
        result[start : start + remove] = insert
    return bytes(result)


CHANGES = st.lists(
    st.tuples(st.integers(0, 10_000), st.integers(0, 40), st.binary(max_size=8)),
    min_size=1,
    max_size=4,
)
QUICK = settings(
    max_examples=150, deadline=5_000, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def _reads_back(report: Report) -> None:
    assert Report.from_json(report.to_json()) == report


@QUICK
@given(name=st.sampled_from(sorted(OBJECTS)), changes=CHANGES)
def test_object_with_random_bytes_changed_ends_in_a_report(
    name: str, changes: list[tuple[int, int, bytes]]
) -> None:
    packaging, data = OBJECTS[name]
    _reads_back(validate_bytes(_mutate(data, changes), packaging))


@QUICK
@given(data=st.binary(max_size=2_000), packaging=st.sampled_from(Packaging))
def test_random_bytes_are_never_a_valid_episode(data: bytes, packaging: Packaging) -> None:
    report = validate_bytes(data, packaging)
    assert report.verdict == "invalid"
    _reads_back(report)
    assert detect_packaging(data[:512], "x", None) in Packaging


LONG = make(200)


@QUICK
@given(path=st.sampled_from(["steps.jsonl", "metadata.json"]), changes=CHANGES)
def test_folder_with_random_bytes_changed_ends_in_a_report(
    path: str, changes: list[tuple[int, int, bytes]]
) -> None:
    files: Files = {**LONG, path: _mutate(LONG[path], changes)}
    _reads_back(validate(files))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@QUICK
@given(
    name=st.sampled_from(["observation", "action", "is_first", "timestamp_ns", "step_metadata"]),
    value=JSON,
    where=st.integers(0, 2),
)
def test_any_json_value_in_any_field_ends_in_a_report(name: str, value: object, where: int) -> None:
    steps = [
        {"observation": {}, "action": {"command": [1]}, **({name: value} if k == where else {})}
        for k in range(3)
    ]
    _reads_back(validate({"metadata.json": b"{}", "steps.jsonl": encode_steps(steps)}))


@QUICK
@given(value=JSON)
def test_any_json_value_as_metadata_ends_in_a_report(value: object) -> None:
    _reads_back(validate({**SMALL, "metadata.json": json.dumps(value).encode()}))


def test_every_packaging_has_a_sample() -> None:
    assert {packaging for packaging, _ in OBJECTS.values()} == set(Packaging)
    assert pack(SMALL, Packaging.TAR) == OBJECTS["tar"][1]
