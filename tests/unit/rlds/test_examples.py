"""Every stored example gets its verdict, with code, file and step."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from continuon.limits import EPISODE_MAX_LINE_BYTES
from continuon.rlds import Report, codes, validate_path
from rlds_samples import EPISODES, edit_steps, load_folder, validate

ROWS = [json.loads(line) for line in (EPISODES / "expected.jsonl").read_text().splitlines()]
STORED = [row for row in ROWS if (EPISODES / row["path"]).exists()]

OUR_CODES = {
    "JSON": codes.STEPS_JSON_INVALID,
    "NONFINITE": codes.STEPS_NONFINITE,
    "STEP_COUNT": codes.STEPS_COUNT_MISMATCH,
    "BLOB_MISSING": codes.BLOBS_MISSING,
    "BLOB_CHECKSUM": codes.BLOBS_CHECKSUM,
    "TIME_ORDER": codes.STEPS_TIME_ORDER,
    "FIRST_LAST": codes.STEPS_FLAGS,
    "ACTION_DIM": codes.ACTION_DIMENSION,
    "BLOB_EMPTY": codes.BLOBS_EMPTY,
    "UTF8": codes.TEXT_NOT_UTF8,
    "DEPTH": codes.LIMITS_DEPTH,
    "BLOB_PATH": codes.BLOBS_PATH_UNSAFE,
    "STEP_INDEX": codes.STEPS_INDEX,
    "NO_STEPS": codes.STEPS_EMPTY,
    "STEPS_MISSING": codes.STEPS_MISSING,
    "SHARD_GAP": codes.STEPS_SHARD_GAP,
    "TIME_ALIGN": codes.STEPS_TIME_ALIGNMENT,
    "FRAME_ID": codes.FRAMES_ID_MISMATCH,
    "META_MISSING": codes.METADATA_MISSING,
    "META_FIELD": codes.METADATA_FIELD_MISSING,
    "META_ENUM": codes.METADATA_UNKNOWN_VALUE,
    "STEP_METADATA": codes.STEP_METADATA_VALUE,
    "ACTION": codes.ACTION_MISSING,
    "ARCHIVE": codes.ARCHIVE_TRUNCATED,
    "ARCHIVE_PATH": codes.ARCHIVE_MEMBER_UNSAFE,
    "ARCHIVE_SIZE": codes.LIMITS_LINE_SIZE,
}
"""The examples' names of defects and the validator's. The "bomb" is one line of 60 MiB."""

NO_LONGER_WARNED = {"META_ENUM"}
"""`autonomous` is in the format's own list of known modes; only older documents lack it."""

STEPS = {
    "truncated_jsonl": 23,
    "action_dim": 13,
    "non_utf8": 0,
    "nested_40": 8,
    "bridge_06_asis": 9,
    "first_last_2": 5,
}
"""Steps of rows that do not say `step N`, or say more than one number."""

FILES = {
    codes.METADATA_MISSING: "metadata.json",
    codes.METADATA_FIELD_MISSING: "metadata.json",
    codes.STEPS_COUNT_MISMATCH: "metadata.json",
    codes.STEPS_SHARD_GAP: "steps/000002.jsonl",
    codes.ARCHIVE_MEMBER_UNSAFE: None,
    codes.ARCHIVE_TRUNCATED: None,
}
"""Where findings without a step are; None: see the assertions on archives."""


def _rows(*verdicts: str) -> list[Any]:
    return [pytest.param(row, id=row["path"]) for row in STORED if row["verdict"] in verdicts]


def _expected_step(row: dict[str, Any]) -> int | None:
    name = row["path"].rsplit("/", 1)[-1]
    if name in STEPS:
        return STEPS[name]
    match = re.search(r"\bstep (\d+)", row["where"])
    return int(match[1]) if match else None


@pytest.mark.parametrize("row", _rows("valid"))
def test_valid_example_is_accepted(row: dict[str, Any]) -> None:
    report = validate_path(EPISODES / row["path"])
    assert report.problems == []
    assert report.verdict == "valid"
    assert report.quality is not None
    assert row["steps"] in {None, report.counts.steps}
    if "warning" in row and row["warning"] not in NO_LONGER_WARNED:
        assert OUR_CODES[row["warning"]] in {found.code for found in report.warnings}


@pytest.mark.parametrize("row", _rows("invalid"))
def test_invalid_example_is_refused_with_code_file_and_step(row: dict[str, Any]) -> None:
    report = validate_path(EPISODES / row["path"])
    code = OUR_CODES[row["code"]]
    assert report.verdict == "invalid"
    found = next((item for item in report.problems if item.code == code), None)
    assert found is not None, [item.code for item in report.problems]
    step = _expected_step(row)
    if step is not None:
        assert found.step == step
        assert found.file is not None
        assert found.file.startswith("steps")
    elif FILES.get(code) is not None:
        assert found.file == FILES[code]


@pytest.mark.parametrize("row", _rows("invalid"))
def test_one_defect_is_reported_under_one_code(row: dict[str, Any]) -> None:
    report = validate_path(EPISODES / row["path"])
    allowed = {OUR_CODES[row["code"]]}
    name = row["path"].rsplit("/", 1)[-1]
    if name in {"missing_blob", "blob_checksum"}:
        # The stored manifest really disagrees with the stored metadata.json of these two.
        allowed.add(codes.MANIFEST_MISMATCH)
    if name == "slip.zip":
        allowed.add(codes.BLOBS_MISSING)  # it was packed without its blobs
    assert {item.code for item in report.problems} == allowed


def test_kotlin_shapes_are_normalised_with_a_warning() -> None:
    for name in ("kotlin_shape", "kotlin_shape_ee", "kotlin_upload.zip"):
        report = validate_path(EPISODES / "recorded" / "variants" / name)
        assert (report.verdict, report.shape, report.profile) == ("valid", "kotlin", "xr")
        warned = [found.code for found in report.warnings]
        assert warned == [codes.SHAPE_KOTLIN, codes.INSTRUCTION_MISSING]
        assert report.metadata is not None
        assert report.metadata["software"]["glove_firmware"] == "0.1.0"


def test_flutter_document_without_commands_is_refused_clearly() -> None:
    report = validate_path(EPISODES / "recorded" / "variants" / "flutter_episode.json")
    assert (report.verdict, report.shape, report.counts.steps) == ("invalid", "flutter", 4)
    assert {found.code for found in report.problems} == {
        codes.ACTION_EMPTY,
        codes.BLOBS_PATH_UNSAFE,
        codes.METADATA_FIELD_MISSING,
    }
    assert codes.SHAPE_FLUTTER in {found.code for found in report.warnings}


def test_blob_with_a_wrong_name_for_its_content_is_accepted() -> None:
    """Only a decoder can tell; the validator does not decode pictures."""
    report = validate_path(EPISODES / "recorded" / "either" / "image_garbage")
    assert report.verdict == "valid"


def test_line_of_two_mebibytes_is_refused_at_its_step() -> None:
    base = load_folder(EPISODES / "recorded" / "valid" / "s_reacher")
    del base["manifest.json"]

    def enlarge(steps: list[dict[str, Any]]) -> None:
        steps[18]["step_metadata"]["note"] = "x" * 2 * EPISODE_MAX_LINE_BYTES

    report: Report = validate(edit_steps(base, enlarge))
    assert [(item.code, item.step) for item in report.problems] == [(codes.LIMITS_LINE_SIZE, 18)]
    assert report.repair is not None
    assert report.repair.steps == 18


def test_bystanders_in_view_make_an_episode_not_eligible() -> None:
    report = validate_path(EPISODES / "fetched" / "donkeycar" / "donkey_a")
    assert report.verdict == "valid"
    assert report.eligibility.reasons == [codes.ELIGIBILITY_PII_PENDING]
    assert not report.eligibility.training_eligible


def test_every_row_is_stored_or_made_here() -> None:
    missing = [row["path"] for row in ROWS if row not in STORED]
    assert missing == ["recorded/either/huge_line"]
    assert len(ROWS) == 63
