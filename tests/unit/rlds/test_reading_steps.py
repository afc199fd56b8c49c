from __future__ import annotations

import json
import tarfile
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from continuon.limits import Limits
from continuon.rlds import SourceError, StepsError, iter_steps, validate_path
from rlds_samples import EPISODES, encode_steps, make, pack_tar, pack_zip, step

if TYPE_CHECKING:
    from pathlib import Path

SOUND = sorted((EPISODES / "recorded" / "valid").iterdir())


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.mark.parametrize("path", SOUND, ids=lambda path: path.name)
def test_every_step_of_a_recording_is_read_in_order(path: Path) -> None:
    indices = [value["step_index"] for value in iter_steps(path)]

    assert indices == list(range(validate_path(path).counts.steps))


@pytest.mark.parametrize("name", ["kotlin_style.zip", "upload_pipeline_style.tar.gz"])
def test_an_archive_gives_the_steps_of_the_recording_it_was_made_from(name: str) -> None:
    original = [s["action"]["command"] for s in iter_steps(EPISODES / "recorded/valid/s_reacher")]

    found = [s["action"]["command"] for s in iter_steps(EPISODES / "archives" / name)]

    assert found == original


def test_shards_out_of_order_in_an_archive_are_put_in_order(tmp_path: Path) -> None:
    files = make(9, shards=3)
    backwards = dict(reversed(files.items()))
    expected = list(iter_steps(write(tmp_path / "folder", files)))
    packed = {
        "e.tar.gz": pack_tar(backwards, kind="gz"),
        "e.tar": pack_tar(backwards, top="ep/"),
        "e.zip": pack_zip(backwards),
    }

    for name, data in packed.items():
        path = write(tmp_path, {name: data}) / name
        assert list(iter_steps(path)) == expected
    assert [value["step_index"] for value in expected] == list(range(9))


def test_a_document_gives_its_steps(tmp_path: Path) -> None:
    steps = [step(index, 3) for index in range(3)]
    path = tmp_path / "episode.json"
    path.write_text(json.dumps({"metadata": {}, "steps": steps}))

    assert list(iter_steps(path)) == steps


def test_other_clients_shapes_are_normalised(tmp_path: Path) -> None:
    line = {"stepIndex": 0, "action": {"command": {"deltaRadians": [1, 2]}}, "observation": {}}
    write(tmp_path, {"steps.jsonl": json.dumps(line).encode()})

    assert list(iter_steps(tmp_path)) == [
        {"step_index": 0, "action": {"command": [1, 2]}, "observation": {}}
    ]


def test_blank_lines_and_crlf_are_no_steps(tmp_path: Path) -> None:
    write(tmp_path, {"steps.jsonl": b'{"a":1}\r\n\r\n  \n{"a":2}'})

    assert list(iter_steps(tmp_path)) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"a":1}\n{"a":\n', "steps.json_invalid"),
        (b'{"a":1}\n[1]\n', "steps.type"),
        (b'{"a":1}\n{"a":NaN}\n', "steps.json_invalid"),
        (b'{"a":1}\n{"a":"' + b"x" * 5000 + b'"}\n', "limits.line_size"),
    ],
)
def test_a_bad_line_is_named_by_code_file_and_step(data: bytes, code: str, tmp_path: Path) -> None:
    write(tmp_path, {"steps.jsonl": data})

    with pytest.raises(StepsError) as caught:
        list(iter_steps(tmp_path, limits=Limits(line_bytes=4096)))

    assert (caught.value.code, caught.value.file) == (code, "steps.jsonl")
    if code != "limits.line_size":  # found before the chunk's earlier lines are handed out
        assert caught.value.step == 1


def test_a_truncated_archive_ends_in_a_typed_error() -> None:
    with pytest.raises(StepsError, match=r"archive\."):
        list(iter_steps(EPISODES / "archives" / "truncated.zip"))


def test_an_absent_path_ends_in_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        list(iter_steps(tmp_path / "nowhere"))


@pytest.mark.parametrize("packed", [False, True])
def test_memory_does_not_grow_with_the_episode(packed: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter
    line = encode_steps([step(0, 10)])
    folder = tmp_path / "episode"
    folder.mkdir()
    with (folder / "steps.jsonl").open("wb") as file:
        for _ in range(8_000):
            file.write(line)
    path = folder
    if packed:
        path = tmp_path / "episode.tar.gz"
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            archive.add(folder / "steps.jsonl", "steps.jsonl")
    size = (folder / "steps.jsonl").stat().st_size

    tracemalloc.start()
    try:
        count = sum(1 for _ in iter_steps(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert count == 8_000
    assert size > 5_000_000
    assert peak < 2_000_000
