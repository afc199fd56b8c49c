"""The verdict depends on the episode only: not on chunks, member order or the batch path."""

from __future__ import annotations

import copy
import itertools
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from continuon.rlds import Packaging, Report, codes, segment
from rlds_samples import (
    Files,
    edit_metadata,
    edit_steps,
    encode_steps,
    make,
    pack,
    pack_tar,
    pack_zip,
    step,
    tiny,
    validate,
    validate_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def _break_three(steps: list[dict[str, Any]]) -> None:
    steps[5]["action"]["command"] = [1.0]
    steps[9]["timestamp_ns"] = 1
    steps[12]["observation"]["media"]["rgb"]["uri"] = "blobs/none.jpg"


BROKEN = edit_steps(make(30), _break_three)


@pytest.mark.parametrize("packaging", Packaging)
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_object_in_pieces_of_any_size_gives_the_same_report(
    packaging: Packaging, size: int
) -> None:
    for files in (make(20), edit_steps(make(20), lambda steps: steps[4].pop("action"))):
        data = pack(files, packaging)
        assert validate_bytes(data, packaging, size=size) == validate_bytes(data, packaging)


@pytest.mark.parametrize("size", [1, 13, 1000, 70_000])
def test_long_episode_in_pieces_of_any_size_gives_the_same_report(size: int) -> None:
    files = edit_steps(make(300), lambda steps: steps[250]["action"].update(command=[1]))
    assert validate(files, size=size) == validate(files)


def test_files_in_any_order_give_the_same_report() -> None:
    for files in (make(9, shards=3), _break_shards()):
        expected = validate(files)
        names = list(files)
        for order in itertools.islice(itertools.permutations(names), 0, 4000, 97):
            assert validate({name: files[name] for name in order}) == expected
        shuffled = random.Random(7).sample(names, len(names))  # noqa: S311 - a fixed order
        assert validate({name: files[name] for name in shuffled}) == expected


def _break_shards() -> Files:
    files = make(9, shards=3)
    broken = [step(index, 9) for index in (3, 4, 5)]
    broken[0]["timestamp_ns"] = 5
    broken[1]["step_index"] = 7
    broken[2]["is_last"] = True
    return {**files, "steps/000001.jsonl": encode_steps(broken), "blobs/8.jpg": b"stray"}


def test_shards_are_joined_by_their_numbers() -> None:
    report = validate(_break_shards())
    assert [(found.code, found.step) for found in report.problems] == [
        (codes.STEPS_TIME_ORDER, 3),
        (codes.STEPS_INDEX, 4),
        (codes.STEPS_FLAGS, 5),
    ]


def test_archives_in_any_member_order_agree_with_the_folder() -> None:
    for files in (make(6), BROKEN):
        folder = validate(files)
        reversed_files = dict(reversed(files.items()))
        for data, packaging in (
            (pack_tar(reversed_files, top="ep/"), Packaging.TAR),
            (pack_tar(files, kind="gz"), Packaging.TAR_GZ),
            (pack_zip(reversed_files), Packaging.ZIP),
            (pack_zip(files, streaming=True), Packaging.ZIP),
        ):
            report = validate_bytes(data, packaging)
            assert report.problems == folder.problems
            assert report.quality == folder.quality
            assert report.counts == folder.counts
            assert report.repair == folder.repair


def test_sha256_of_a_folder_depends_on_every_file_and_not_on_order() -> None:
    files = tiny()
    digest = validate(files).sha256
    assert validate(dict(reversed(files.items()))).sha256 == digest
    assert validate({**files, "blobs/a": b"other"}).sha256 != digest


# --- The batch path and the precise path ---------------------------------------------------------

COUNT = 60


@pytest.fixture
def _early_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make batches of a few steps, from early on."""
    monkeypatch.setattr(segment, "BATCH_BYTES", 4_096)
    monkeypatch.setattr(segment, "STEPS_BEFORE_BATCHES", 10)


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "nothing": lambda one: one.update(reward=0.5),
    "index": lambda one: one.update(step_index=3),
    "no index": lambda one: one.pop("step_index"),
    "time": lambda one: one.update(timestamp_ns=5),
    "time as float": lambda one: one.update(timestamp_ns=5.0),
    "time beyond 64 bits": lambda one: one.update(timestamp_ns=2**63),
    "no time": lambda one: one.pop("timestamp_ns"),
    "first": lambda one: one.update(is_first=True),
    "last": lambda one: one.update(is_last=True),
    "terminal": lambda one: one.update(is_terminal=True),
    "no flags": lambda one: [one.pop("is_first"), one.pop("is_last")],
    "one flag": lambda one: one.pop("is_last"),
    "flag type": lambda one: one.update(is_first=0),
    "no action": lambda one: one.pop("action"),
    "command length": lambda one: one["action"].update(command=[1]),
    "command type": lambda one: one["action"].update(command=["a", 1]),
    "command null": lambda one: one["action"].update(command=None),
    "reward type": lambda one: one.update(reward=True),
    "reward null": lambda one: one.update(reward=None),
    "observation": lambda one: one.update(observation=[]),
    "state length": lambda one: _state(one).update(joint_positions=[1]),
    "state absent": lambda one: _state(one).pop("joint_positions"),
    "state null": lambda one: one["observation"].update(robot_state=None),
    "state new list": lambda one: _state(one).update(joint_velocities=[1, 2, 3]),
    "state new list type": lambda one: _state(one).update(joint_velocities="x"),
    "quaternion": lambda one: one["observation"]["headset_pose"].update(orientation_quat=[0, 1]),
    "position type": lambda one: one["observation"]["headset_pose"].update(position=[0, 1, "a"]),
    "pose null": lambda one: one["observation"].update(headset_pose=None),
    "new pose": lambda one: one["observation"].update(left_hand_pose={"position": [1]}),
    "gaze": lambda one: one["observation"]["gaze"].update(direction=[1, 1, 1]),
    "gaze unsure": lambda one: one["observation"]["gaze"].update(confidence=0, direction=[0, 0, 0]),
    "gaze without direction": lambda one: one["observation"]["gaze"].pop("direction"),
    "flex": lambda one: one["observation"]["glove"].update(flex=[1]),
    "fsr": lambda one: one["observation"]["glove"].update(fsr=[1] * 9),
    "frame": lambda one: one["observation"].update(video_frame_id="other"),
    "frame empty": lambda one: one["observation"].update(video_frame_id=""),
    "depth frame": lambda one: one["observation"].update(depth_frame_id="other"),
    "skew": lambda one: _rgb(one).update(timestamp_ns=_rgb(one)["timestamp_ns"] + 30_000_000),
    "no media": lambda one: one["observation"].pop("media"),
    "media type": lambda one: one["observation"].update(media=[]),
    "media of another kind": lambda one: one["observation"]["media"].update(note=1),
    "second camera": lambda one: one["observation"]["media"].update(d={"uri": "blobs/1.jpg"}),
    "uri": lambda one: _rgb(one).update(uri="gs://other/blobs/1.jpg"),
    "uri dots": lambda one: _rgb(one).update(uri="blobs/../1.jpg"),
    "uri null": lambda one: _rgb(one).update(uri=None),
    "uri absent": lambda one: _rgb(one).update(uri="blobs/absent.jpg"),
    "digest": lambda one: _rgb(one).update(sha256="0" * 64),
    "digest upper": lambda one: _rgb(one).update(sha256=_rgb(one)["sha256"].upper()),
    "digest type": lambda one: _rgb(one).update(sha256="zz"),
    "mask": lambda one: one["observation"].update(
        segmentation={"masks": [{"uri": "blobs/absent.png"}]}
    ),
    "audio": lambda one: one["observation"].update(audio={"uri": "/etc/passwd"}),
    "step metadata": lambda one: one["step_metadata"].update(n=1),
    "step metadata type": lambda one: one.update(step_metadata=[]),
    "no upload": lambda one: one.update(privacy={"no_upload": True}),
    "no upload inside": lambda one: one["observation"].update(privacy={"no_upload": True}),
    "unknown": lambda one: one.update(vendor={"a": [[1]]}),
    "unknown huge number": lambda one: one.update(vendor=10**400),
    "unknown deep": lambda one: one.update(vendor=_nested(40)),
    "unknown not too deep": lambda one: one.update(vendor=_nested(30)),
    "unknown text with brackets": lambda one: one.update(vendor='[[[["\\' * 40),
    "camel case": lambda one: one.update(isTerminal=True),
    "not ascii": lambda one: one.update(vendor="\u00e4\U0001f600"),
}


def _state(one: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = one["observation"]["robot_state"]
    return state


def _rgb(one: dict[str, Any]) -> dict[str, Any]:
    block: dict[str, Any] = one["observation"]["media"]["rgb"]
    return block


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


LONG = make(COUNT)
LONG_STEPS = [step(index, COUNT) for index in range(COUNT)]


def _edited(name: str, where: list[int]) -> bytes:
    steps = list(LONG_STEPS)
    for index in where:
        steps[index] = copy.deepcopy(steps[index])
        EDITS[name](steps[index])
    data = encode_steps(steps)
    assert data != LONG["steps.jsonl"], "the edit changed nothing"
    return data


def _precise(monkeypatch: pytest.MonkeyPatch, files: Files) -> Report:
    with monkeypatch.context() as patch:
        patch.setattr(segment, "STEPS_BEFORE_BATCHES", 10**9)
        return validate(files)


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("where", [[40], list(range(0, COUNT, 3)), list(range(25, COUNT))])
@pytest.mark.usefixtures("_early_batches")
def test_batches_find_what_the_precise_rules_find(
    name: str, where: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {**LONG, "steps.jsonl": _edited(name, where)}
    expected = _precise(monkeypatch, files)
    assert validate(files) == expected
    assert validate(files, size=5_000) == expected


LINES: dict[str, Callable[[bytes], bytes]] = {
    "two values on a line": lambda line: line + b" " + line,
    "value over two lines": lambda line: line.replace(b',"reward"', b',\n"reward"'),
    "two and over two": lambda line: line + line.replace(b',"reward"', b',\n"reward"'),
    "bad byte in an unknown field": lambda line: line[:-1] + b',"x":"\xff"}',
    "surrogate": lambda line: line[:-1] + b',"x":"\\ud800"}',
    "control character": lambda line: line[:-1] + b',"x":"\x01"}',
    "carriage return": lambda line: line + b"\r",
    "trailing spaces": lambda line: line + b"  ",
    "blank lines": lambda line: line + b"\n\n \n",
    "byte order mark": lambda line: b"\xef\xbb\xbf" + line,
    "NaN in an unknown field": lambda line: line[:-1] + b',"x":NaN}',
    "1e999 in an unknown field": lambda line: line[:-1] + b',"x":1e999}',
    "1e999 as reward": lambda line: line.replace(b'"reward":0.0', b'"reward":1e999'),
    "leading zero": lambda line: line[:-1] + b',"x":01}',
    "repeated key": lambda line: line[:-1] + b',"reward":1}',
    "repeated key with another type": lambda line: line.replace(
        b'"reward"', b'"reward":"a","reward"'
    ),
    "not an object": lambda _: b"[]",
    "cut": lambda line: line[:-20],
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.usefixtures("_early_batches")
def test_batches_read_lines_as_the_precise_path_does(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = LONG["steps.jsonl"].splitlines()
    changed = LINES[name](lines[40])
    assert changed != lines[40]
    lines[40] = changed
    files = {**LONG, "steps.jsonl": b"\n".join(lines) + b"\n"}
    assert validate(files) == _precise(monkeypatch, files)


@pytest.mark.usefixtures("_early_batches")
@pytest.mark.parametrize("name", ["nothing", "time", "command length", "index"])
def test_batches_do_without_times(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def strip(steps: list[dict[str, Any]]) -> None:
        for one in steps:
            del one["timestamp_ns"], one["observation"]["robot_state"]["timestamp_nanos"]
        EDITS[name](steps[40])

    files = edit_steps(LONG, strip)
    assert validate(files) == _precise(monkeypatch, files)


TOKENS = [
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\n", b"\r\n", b"null", b"0", b"."),
    *(b"1e999", b"NaN", b"\xff", b"}{", b"}\n{", b',"x":[[1]]', b',"reward":null', b'"uri":null'),
]


@pytest.mark.usefixtures("_early_batches")
@settings(
    max_examples=100,
    deadline=5_000,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 3), st.sampled_from(TOKENS)),
        min_size=1,
        max_size=3,
    )
)
def test_random_edits_are_read_alike_by_both_paths(edits: list[tuple[int, int, bytes]]) -> None:
    data = bytearray(LONG["steps.jsonl"])
    for where, remove, insert in edits:
        start = where % len(data)
        data[start : start + remove] = insert
    files = {**LONG, "steps.jsonl": bytes(data)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment, "STEPS_BEFORE_BATCHES", 10**9)
        expected = validate(files)
    assert validate(files) == expected


def test_batches_are_really_used(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    precise = segment.Segment._line

    def note(self: segment.Segment, line: bytes) -> None:
        read.append(line)
        precise(self, line)

    monkeypatch.setattr(segment.Segment, "_line", note)
    report = validate(make(2_000))
    assert report.verdict == "valid"
    assert report.counts.steps == 2_000
    assert len(read) < 200


def test_metadata_after_the_steps_is_used() -> None:
    files = edit_metadata(tiny(), step_count=4)
    report = validate(dict(reversed(files.items())))
    assert [found.code for found in report.problems] == [codes.STEPS_COUNT_MISMATCH]
