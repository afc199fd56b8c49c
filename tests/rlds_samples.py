"""Small episodes for the tests, and helpers that corrupt them and prove that they did."""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from continuon.rlds import EpisodeMember, Packaging, Report, validate_members, validate_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

EPISODES = Path(__file__).resolve().parent.parent / "examples" / "episodes"
PERIOD_NS = 50_000_000
START_NS = 2_700_000_000_000
Files = dict[str, bytes]


def metadata(steps: int) -> dict[str, Any]:
    return {
        "schema_version": "1.1",
        "episode_id": "ep_1",
        "robot_id": "3a671f80",
        "step_count": steps,
        "duration_ms": (steps - 1) * PERIOD_NS // 1_000_000,
        "xr_mode": "trainer",
        "control_role": "human_teleop",
        "environment_id": "lab",
        "tags": ["a"],
        "software": {"xr_app": "1", "continuonbrain_os": "2", "glove_firmware": "3"},
        "capabilities": {"sensors": {"rgb": True, "depth": False}},
    }


def step(index: int, count: int) -> dict[str, Any]:
    time = START_NS + index * PERIOD_NS
    blob = blob_bytes(index)
    pose = {"position": [0.0, 0.0, 0.5], "orientation_quat": [0.0, 0.0, 0.0, 1.0]}
    observation: dict[str, Any] = {
        "headset_pose": {**pose, "valid": True},
        "gaze": {"origin": [0, 0, 0], "direction": [0.0, 0.6, 0.8], "confidence": 0.9},
        "robot_state": {
            "timestamp_nanos": time,
            "frame_id": f"frame_{index}",
            "joint_positions": [0.1 * index, 0.2],
            "end_effector_pose": dict(pose),
        },
        "glove": {"flex": [0.0] * 5, "fsr": [0.0] * 8, "valid": True},
        "video_frame_id": f"frame_{index}",
        "media": {
            "rgb": {
                "uri": f"blobs/{index % 8}.jpg",
                "timestamp_ns": time + 190_000,
                "sha256": hashlib.sha256(blob).hexdigest(),
            }
        },
    }
    if index == 0:
        observation["language_instruction"] = "touch the target"
    return {
        "step_index": index,
        "timestamp_ns": time,
        "observation": observation,
        "action": {"command": [0.01 * (index % 7), -0.5], "source": "pilot"},
        "reward": 0.0,
        "discount": 1,
        "is_first": index == 0,
        "is_last": index == count - 1,
        "is_terminal": False,
        "step_metadata": {"note": "x"},
    }


def blob_bytes(index: int) -> bytes:
    return b"frame %d" % (index % 8)


def encode_steps(steps: Iterable[Any]) -> bytes:
    lines = (json.dumps(item, separators=(",", ":")) for item in steps)
    return "".join(f"{line}\n" for line in lines).encode()


def make(count: int, *, shards: int = 0) -> Files:
    """Build a sound episode, with `steps.jsonl` or with that many shards."""
    files: Files = {"metadata.json": json.dumps(metadata(count)).encode()}
    steps = [step(index, count) for index in range(count)]
    if shards:
        size = -(-count // shards)
        for number in range(shards):
            part = steps[number * size : (number + 1) * size]
            files[f"steps/{number:06d}.jsonl"] = encode_steps(part)
    else:
        files["steps.jsonl"] = encode_steps(steps)
    for index in range(min(count, 8)):
        files[f"blobs/{index}.jpg"] = blob_bytes(index)
    return files


def tiny() -> Files:
    """Build the smallest episode that has everything: three short steps and one blob."""
    count = 3
    steps = [
        {
            "step_index": k,
            "timestamp_ns": k,
            "observation": {"media": {"rgb": {"uri": "blobs/a"}}} if k == 1 else {},
            "action": {"command": [1]},
            "is_first": k == 0,
            "is_last": k == count - 1,
        }
        for k in range(count)
    ]
    meta = {"step_count": count}
    return {
        "metadata.json": json.dumps(meta).encode(),
        "steps.jsonl": encode_steps(steps),
        "blobs/a": b"blob",
    }


def edit_steps(files: Files, change: Callable[[list[dict[str, Any]]], object]) -> Files:
    """Change the decoded steps of `steps.jsonl`; fails if nothing changed."""
    steps = [json.loads(line) for line in files["steps.jsonl"].splitlines()]
    before = copy.deepcopy(steps)
    change(steps)
    assert steps != before, "the corruption changed nothing"
    return {**files, "steps.jsonl": encode_steps(steps)}


def edit_metadata(files: Files, **fields: Any) -> Files:
    """Set metadata fields (None removes one); fails if nothing changed."""
    before = json.loads(files["metadata.json"])
    after = {k: v for k, v in {**before, **fields}.items() if v is not None}
    assert after != before, "the corruption changed nothing"
    return {**files, "metadata.json": json.dumps(after).encode()}


def replace_bytes(data: bytes, old: bytes, new: bytes) -> bytes:
    """Replace the one occurrence of `old`; fails unless there is exactly one."""
    assert data.count(old) == 1, f"{old!r} occurs {data.count(old)} times"
    return data.replace(old, new)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def validate(files: Files, *, size: int = 1 << 18, **options: Any) -> Report:
    members = (EpisodeMember(path, len(data), pieces(data, size)) for path, data in files.items())
    return validate_members(members, **options)


def validate_bytes(
    data: bytes, packaging: Packaging, *, size: int = 1 << 18, **options: Any
) -> Report:
    return validate_stream(pieces(data, size), packaging=packaging, **options)


def load_folder(folder: Path) -> Files:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pack_tar(files: Files, *, top: str = "", kind: str = "w") -> bytes:
    """Pack a tar without the padding to a full record."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, data in files.items():
            info = tarfile.TarInfo(top + path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    data = buffer.getvalue().rstrip(b"\x00")
    data += bytes(-len(data) % 512 + 1024)
    if kind == "w":
        return data
    return gzip.compress(data, mtime=0)


def pack_zip(files: Files, *, streaming: bool = False, stored: bool = False) -> bytes:
    """Pack a zip; `streaming` writes data descriptors, as a phone does."""
    buffer = io.BytesIO()
    target = _Unseekable(buffer) if streaming else buffer
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(target, "w", method) as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path), data, compress_type=method)
    return buffer.getvalue()


class _Unseekable(io.RawIOBase):
    def __init__(self, target: io.BytesIO) -> None:
        self._target = target

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._target.write(data)


def pack_document(files: Files) -> bytes:
    """Put an episode without blobs into one document."""
    steps = [json.loads(line) for line in files["steps.jsonl"].splitlines()]
    for item in steps:
        item["observation"].pop("media", None)
    return json.dumps({"metadata": json.loads(files["metadata.json"]), "steps": steps}).encode()


def pack(files: Files, packaging: Packaging) -> bytes:
    if packaging is Packaging.ZIP:
        return pack_zip(files)
    if packaging is Packaging.DOCUMENT:
        return pack_document(files)
    return pack_tar(files, kind="w" if packaging is Packaging.TAR else "gz")


def codes_of(report: Report) -> set[str]:
    return {found.code for found in report.problems}
