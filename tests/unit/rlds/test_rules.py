"""Each rule of the format, with the code, step and path of its violation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from continuon.limits import Limits
from continuon.rlds import ExpectedIdentity, codes
from rlds_samples import codes_of, edit_metadata, edit_steps, encode_steps, make, tiny, validate

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = make(6)


def _observation(steps: list[dict[str, Any]], index: int) -> dict[str, Any]:
    observation: dict[str, Any] = steps[index]["observation"]
    return observation


STEP_RULES: list[tuple[str, Callable[[list[dict[str, Any]]], object], int, str]] = [
    (codes.STEPS_INDEX, lambda s: s[3].update(step_index=9), 3, "step_index"),
    (codes.STEPS_INDEX, lambda s: s[3].update(step_index="3"), 3, "step_index"),
    (codes.STEPS_TIME_ORDER, lambda s: s[3].update(timestamp_ns=1), 3, "timestamp_ns"),
    (codes.STEPS_TIME_TYPE, lambda s: s[3].update(timestamp_ns="1"), 3, "timestamp_ns"),
    (codes.STEPS_TIME_TYPE, lambda s: s[3].update(timestamp_ns=1.5), 3, "timestamp_ns"),
    (codes.STEPS_TIME_TYPE, lambda s: s[3].update(timestamp_ns=2**63), 3, "timestamp_ns"),
    (codes.STEPS_TIME_TYPE, lambda s: s[3].update(timestamp_ns=True), 3, "timestamp_ns"),
    (codes.STEPS_FLAGS, lambda s: s[0].update(is_first=False), 0, "is_first"),
    (codes.STEPS_FLAGS, lambda s: s[5].update(is_last=False), 5, "is_last"),
    (codes.STEPS_FLAGS, lambda s: s[2].update(is_first=True), 2, "is_first"),
    (codes.STEPS_FLAGS, lambda s: s[2].update(is_last=True), 2, "is_last"),
    (codes.STEPS_FLAGS, lambda s: s[2].update(is_terminal=True), 2, "is_terminal"),
    (codes.STEPS_FLAGS, lambda s: s[2].update(is_first=1), 2, "is_first"),
    (codes.STEPS_FLAGS, lambda s: s[2].pop("is_first"), 2, "is_first"),
    (codes.STEPS_FLAGS, lambda s: [s[2].pop("is_first"), s[2].pop("is_last")], 2, "is_first"),
    (codes.STEPS_FIELD_MISSING, lambda s: s[1].pop("observation"), 1, "observation"),
    (codes.STEPS_TYPE, lambda s: s[1].update(observation="x"), 1, "observation"),
    (codes.ACTION_MISSING, lambda s: s[1].pop("action"), 1, "action"),
    (codes.ACTION_MISSING, lambda s: s[1]["action"].pop("command"), 1, "action.command"),
    (codes.ACTION_EMPTY, lambda s: s[1]["action"].update(command=[]), 1, "action.command"),
    (codes.ACTION_DIMENSION, lambda s: s[1]["action"].update(command=[1]), 1, "action.command"),
    (codes.STEPS_TYPE, lambda s: s[1]["action"].update(command=[1, "a"]), 1, "action.command[1]"),
    (codes.STEPS_NONFINITE, lambda s: s[1].update(reward=10**400), 1, "reward"),
    (codes.STEPS_TYPE, lambda s: s[1].update(discount="1"), 1, "discount"),
    (
        codes.STATE_DIMENSION,
        lambda s: _observation(s, 1)["robot_state"].update(joint_positions=[1]),
        1,
        "observation.robot_state.joint_positions",
    ),
    (
        codes.FRAMES_ID_MISMATCH,
        lambda s: _observation(s, 1).update(depth_frame_id="other"),
        1,
        "observation.depth_frame_id",
    ),
    (
        codes.STEPS_TIME_ALIGNMENT,
        lambda s: _observation(s, 1)["media"]["rgb"].update(
            timestamp_ns=_observation(s, 1)["robot_state"]["timestamp_nanos"] + 5_000_001
        ),
        1,
        "observation.media.rgb.timestamp_ns",
    ),
    (
        codes.GAZE_NOT_UNIT,
        lambda s: _observation(s, 1)["gaze"].update(direction=[0, 0, 1.02]),
        1,
        "observation.gaze.direction",
    ),
    (
        codes.VECTOR_LENGTH,
        lambda s: _observation(s, 1)["headset_pose"].update(orientation_quat=[0, 0, 1]),
        1,
        "observation.headset_pose.orientation_quat",
    ),
    (
        codes.VECTOR_LENGTH,
        lambda s: _observation(s, 1)["glove"].update(flex=[0] * 4),
        1,
        "observation.glove.flex",
    ),
    (
        codes.VECTOR_LENGTH,
        lambda s: _observation(s, 1)["glove"].update(fsr=[0] * 9),
        1,
        "observation.glove.fsr",
    ),
    (codes.STEPS_TYPE, lambda s: s[1].update(step_metadata="x"), 1, "step_metadata"),
    (
        codes.BLOBS_MISSING,
        lambda s: _observation(s, 1)["media"]["rgb"].update(uri="blobs/none"),
        1,
        "observation.media.rgb.uri",
    ),
    (
        codes.BLOBS_CHECKSUM,
        lambda s: _observation(s, 1)["media"]["rgb"].update(sha256="0" * 64),
        1,
        "observation.media.rgb.uri",
    ),
    (
        codes.BLOBS_PATH_UNSAFE,
        lambda s: _observation(s, 1).update(segmentation={"masks": [{"uri": "file:///etc"}]}),
        1,
        "observation.segmentation.masks[0].uri",
    ),
]


@pytest.mark.parametrize(
    ("code", "change", "step", "path"),
    STEP_RULES,
    ids=[f"{rule[0]}-{k}" for k, rule in enumerate(STEP_RULES)],
)
def test_violation_is_named_with_code_step_and_path(
    code: str, change: Callable[[list[dict[str, Any]]], object], step: int, path: str
) -> None:
    report = validate(edit_steps(BASE, lambda steps: (change(steps), None)[1]))
    assert [(f.code, f.step, f.path) for f in report.problems] == [(code, step, path)]
    assert report.problems[0].file == "steps.jsonl"


@pytest.mark.parametrize(
    "uri",
    [
        "gs://bucket/blobs/a.jpg",
        "http://host/blobs/a.jpg",
        "file:///blobs/a.jpg",
        "/blobs/a.jpg",
        "blobs/../metadata.json",
        "blobs/./a.jpg",
        "blobs//a.jpg",
        "blobs/a.jpg/",
        "blobs/",
        "Blobs/a.jpg",
        "blobs\\a.jpg",
        "blobs/a b.jpg",
        "blobs/\u00e4.jpg",
        "C:/blobs/a.jpg",
        "",
        7,
    ],
)
def test_reference_that_is_not_a_plain_path_under_blobs_is_refused(uri: object) -> None:
    files = edit_steps(BASE, lambda s: _observation(s, 2)["media"]["rgb"].update(uri=uri))
    report = validate(files)
    assert [(f.code, f.step) for f in report.problems] == [(codes.BLOBS_PATH_UNSAFE, 2)]


def test_equal_times_and_absent_flags_and_indices_are_allowed() -> None:
    def strip(steps: list[dict[str, Any]]) -> None:
        for one in steps:
            one["timestamp_ns"] = 5
            for name in ("is_first", "is_last", "is_terminal", "step_index"):
                del one[name]

    assert validate(edit_steps(BASE, strip)).problems == []


def test_integers_of_nineteen_digits_are_compared_exactly() -> None:
    def shift(steps: list[dict[str, Any]]) -> None:
        for one in steps:
            one["timestamp_ns"] = 1_700_000_000_000_000_001
        steps[4]["timestamp_ns"] -= 1

    report = validate(edit_steps(BASE, shift))
    assert (codes.STEPS_TIME_ORDER, 4) in {(f.code, f.step) for f in report.problems}


def test_values_of_step_metadata_that_are_not_strings_are_a_warning() -> None:
    report = validate(edit_steps(BASE, lambda s: s[2]["step_metadata"].update(n=1)))
    assert report.verdict == "valid"
    assert [(w.code, w.step, w.path) for w in report.warnings] == [
        (codes.STEP_METADATA_VALUE, 2, "step_metadata.n")
    ]


def test_missing_instruction_is_a_warning_on_the_first_step() -> None:
    files = edit_steps(BASE, lambda s: _observation(s, 0).pop("language_instruction"))
    report = validate(files)
    assert report.verdict == "valid"
    assert [(w.code, w.step) for w in report.warnings] == [(codes.INSTRUCTION_MISSING, 0)]


def test_declared_duration_beyond_a_period_is_a_warning() -> None:
    assert validate(edit_metadata(BASE, duration_ms=290)).warnings == []
    report = validate(edit_metadata(BASE, duration_ms=900))
    assert report.verdict == "valid"
    assert [w.code for w in report.warnings] == [codes.METADATA_DURATION]


# --- Metadata ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "code", "path"),
    [
        ({"schema_version": "2.0"}, codes.METADATA_VERSION, "schema_version"),
        ({"schema_version": 1.1}, codes.METADATA_TYPE, "schema_version"),
        ({"step_count": 7}, codes.STEPS_COUNT_MISMATCH, "step_count"),
        ({"step_count": "6"}, codes.METADATA_TYPE, "step_count"),
        ({"xr_mode": None}, codes.METADATA_FIELD_MISSING, "xr_mode"),
        ({"software": None}, codes.METADATA_FIELD_MISSING, "software"),
        ({"tags": [1]}, codes.METADATA_TYPE, "tags"),
        ({"episode_id": 5}, codes.METADATA_TYPE, "episode_id"),
        ({"continuon.xr_mode": "observer"}, codes.SHAPE_UNKNOWN, "xr_mode"),
        ({"privacy": {"no_upload": True}}, codes.PRIVACY_NO_UPLOAD, "privacy"),
        ({"a": [{"privacy": {"no_upload": True}}]}, codes.PRIVACY_NO_UPLOAD, "privacy"),
        ({"a.privacy": {"no_upload": True}}, codes.PRIVACY_NO_UPLOAD, "privacy"),
    ],
)
def test_bad_metadata_is_refused(fields: dict[str, Any], code: str, path: str) -> None:
    report = validate(edit_metadata(BASE, **fields))
    assert [(f.code, f.path, f.file) for f in report.problems] == [(code, path, "metadata.json")]
    assert report.no_upload == (code == codes.PRIVACY_NO_UPLOAD)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"a":1', codes.METADATA_INVALID),
        (b'{"a":NaN}', codes.METADATA_INVALID),
        (b'{"a":1} {}', codes.METADATA_INVALID),
        (b'{"a":1,"a":2}', codes.METADATA_DUPLICATE_KEY),
        (b"[]", codes.METADATA_TYPE),
        (b"\xef\xbb\xbf{}", codes.TEXT_NOT_UTF8),
        ('{"a":1}'.encode("utf-16"), codes.TEXT_NOT_UTF8),
        (b'{"a":"\xff"}', codes.TEXT_NOT_UTF8),
        (b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", codes.LIMITS_DEPTH),
        (b"[" * 200_000, codes.LIMITS_DEPTH),
        (b'{"a":[{"b":9223372036854775808}]}', codes.METADATA_NUMBER),
        (b'{"a":1e999}', codes.METADATA_NUMBER),
        (b'{"a":1' + b"0" * 5_000 + b"}", codes.METADATA_NUMBER),
    ],
)
def test_metadata_that_is_not_strict_json_is_refused(data: bytes, code: str) -> None:
    assert codes_of(validate({**tiny(), "metadata.json": data})) == {code}


def test_unknown_minor_version_modes_and_fields_are_accepted() -> None:
    report = validate(edit_metadata(BASE, schema_version="1.9", xr_mode="dance", vendor={"a": 1}))
    assert report.verdict == "valid"
    assert [w.code for w in report.warnings] == [codes.METADATA_UNKNOWN_VALUE]
    assert report.metadata is not None
    assert report.metadata["vendor"] == {"a": 1}


def test_missing_version_means_1_0_and_no_marker_means_the_base_profile() -> None:
    report = validate(tiny())
    assert (report.schema_version, report.profile) == ("1.0", "base")


def test_identity_must_be_the_one_proven_at_upload() -> None:
    proven = ExpectedIdentity(robot_id="3a671f80", episode_id="ep_1", step_count=6)
    assert validate(BASE, expected=proven).problems == []
    stolen = ExpectedIdentity(robot_id="other", episode_id="ep_1")
    report = validate(BASE, expected=stolen)
    assert [(f.code, f.path) for f in report.problems] == [(codes.METADATA_IDENTITY, "robot_id")]


def test_personal_data_blocks_training_until_it_is_cleared() -> None:
    def reasons(cleared: object) -> list[str]:
        safety = {"pii_attestation": {"pii_present": True}, "pii_cleared": cleared}
        return validate(edit_metadata(BASE, safety=safety)).eligibility.reasons

    assert reasons(cleared=False) == [codes.ELIGIBILITY_PII_PENDING]
    assert reasons(cleared=None) == [codes.ELIGIBILITY_PII_PENDING]
    assert reasons(cleared=True) == []


# --- Other clients' shapes -----------------------------------------------------------------------


def _kotlin(command: Any, **more: Any) -> bytes:
    steps = [{"observation": {}, "action": {"command": command}, "stepMetadata": {}} | more] * 2
    return encode_steps(steps)


@pytest.mark.parametrize(
    "command",
    [
        {"gripper": 1},
        {"deltaRadians": [1], "linearMps": {"x": 0, "y": 0, "z": 0}},
        {"linearMps": {"x": 0, "y": 0, "z": 0}, "referenceFrame": "BASE"},
        {
            "linearMps": {"x": 0, "y": 0},
            "angularRadS": {"x": 0, "y": 0, "z": 0},
            "referenceFrame": "BASE",
        },
        {"deltaRadians": [1], "delta_radians": [1]},
        {},
    ],
)
def test_command_object_that_needs_a_guess_is_refused(command: Any) -> None:
    report = validate({"metadata.json": b"{}", "steps.jsonl": _kotlin(command)})
    assert codes_of(report) == {codes.SHAPE_UNKNOWN}


def test_command_object_that_changes_its_meaning_is_refused() -> None:
    twist = {"x": 0.0, "y": 0.0, "z": 0.0}
    steps = [
        {
            "observation": {},
            "action": {
                "command": {"linearMps": twist, "angularRadS": twist, "referenceFrame": frame}
            },
        }
        for frame in ("BASE", "TOOL")
    ]
    report = validate({"metadata.json": b"{}", "steps.jsonl": encode_steps(steps)})
    assert [(f.code, f.step) for f in report.problems] == [(codes.SHAPE_UNKNOWN, 1)]


def test_field_in_two_spellings_is_refused() -> None:
    data = _kotlin({"deltaRadians": [1]}, step_metadata={})
    assert codes_of(validate({"metadata.json": b"{}", "steps.jsonl": data})) == {
        codes.SHAPE_UNKNOWN
    }


# --- The report ----------------------------------------------------------------------------------


def test_problems_are_capped_per_code_and_counted_in_full() -> None:
    files = edit_steps(make(90), lambda s: [one.update(reward="x") for one in s] and None)
    report = validate(files)
    assert len(report.problems) == Limits().findings_per_code == 50
    assert report.totals == {codes.STEPS_TYPE: 90}


def test_caps_hold_over_many_kinds_of_faults_and_shards() -> None:
    files = make(60, shards=3)
    for number in range(3):
        name = f"steps/{number:06d}.jsonl"
        lines = [json.loads(line) for line in files[name].splitlines()]
        for one in lines:
            one["step_index"] = 5
            one["action"]["command"] = []
        files[name] = encode_steps(lines)
    report = validate(files, limits=Limits(findings_per_code=4))
    for code in (codes.ACTION_EMPTY, codes.STEPS_INDEX):
        assert sum(found.code == code for found in report.problems) == 4
    assert report.totals[codes.ACTION_EMPTY] == 60


@pytest.mark.parametrize("broken", [1, 3, 5])
def test_repair_names_the_sound_prefix(broken: int) -> None:
    lines = BASE["steps.jsonl"].splitlines(keepends=True)
    lines[broken] = lines[broken][:-20] + b"\n"
    data = b"".join(lines)
    report = validate({**BASE, "steps.jsonl": data})
    assert report.repair is not None
    assert (report.repair.steps, report.repair.file) == (broken, "steps.jsonl")
    prefix = data[: report.repair.bytes]
    assert prefix == b"".join(lines[:broken])
    steps = [json.loads(line) for line in prefix.splitlines()]
    steps[-1]["is_last"] = True
    repaired = edit_metadata(BASE, step_count=broken, duration_ms=None)
    assert validate({**repaired, "steps.jsonl": encode_steps(steps)}).problems == []


def test_repair_is_absent_when_the_first_step_or_only_the_metadata_is_broken() -> None:
    assert validate(edit_steps(BASE, lambda s: s[0].update(reward="x"))).repair is None
    assert validate(edit_metadata(BASE, step_count=9)).repair is None
    assert validate(BASE).repair is None


def test_quality_parts_are_named_bounded_and_explained() -> None:
    quality = validate(make(80)).quality
    assert quality is not None
    assert set(quality.parts) == {
        "timing_jitter",
        "dropped_frames",
        "idle_share",
        "action_smoothness",
        "sensor_coverage",
    }
    for part in quality.parts.values():
        assert 0 <= part.score <= 1
        assert part.explanation
    assert quality.parts["dropped_frames"].value == 0
    assert quality.parts["sensor_coverage"].value == 1


def test_quality_sees_dropped_frames_and_idle_robots() -> None:
    def spoil(steps: list[dict[str, Any]]) -> None:
        for one in steps[3:]:
            one["timestamp_ns"] += 3 * 50_000_000
            one["action"]["command"] = [0, 0]

    quality = validate(edit_steps(make(20), spoil)).quality
    assert quality is not None
    assert quality.parts["dropped_frames"].value == round(3 / 22, 6)
    assert quality.parts["idle_share"].value == round(17 / 20, 6)


def test_metadata_integers_of_64_bits_are_kept_exactly() -> None:
    report = validate({**tiny(), "metadata.json": b'{"a":9223372036854775807}'})
    assert report.verdict == "valid"
    assert report.metadata == {"a": 9223372036854775807}
