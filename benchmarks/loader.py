"""How fast episodes become training data, against reading the same bytes and nothing else.

Files lie in the page cache for both: what is measured is the work on the bytes, not the disk.
"""

from __future__ import annotations

import json
import random
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from continuon_cloud.dataset import EpisodeDataset, load_episodes
from harness import median

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["run"]

_JOINTS = 7
_READ_BYTES = 1024 * 1024


def _step(numbers: random.Random, index: int) -> dict[str, Any]:
    """Return a step of about 1.2 kB, as an arm with seven joints records it."""
    nanos = 10**9 + index * 20_000_000
    joints = [numbers.uniform(-3, 3) for _ in range(_JOINTS)]
    pose = {"position": joints[:3], "orientation_quat": [0.0, 0.0, 0.0, 1.0], "valid": True}
    return {
        "step_index": index,
        "timestamp_ns": nanos,
        "observation": {
            "headset_pose": pose,
            "robot_state": {
                "timestamp_nanos": nanos,
                "frame_id": f"frame_{index:06d}",
                "joint_positions": joints,
                "joint_velocities": [value / 3 for value in joints],
                "joint_efforts": [value / 7 for value in joints],
                "end_effector_pose": pose,
            },
            "glove": {"flex": [0.5] * 5, "fsr": [0.1] * 8, "valid": True},
        },
        "action": {"command": [value / 2 for value in joints], "source": "human_teleop"},
        "reward": 0.0,
        "discount": 1.0,
    }


def _write(root: Path, episodes: int, steps: int) -> None:
    for number in range(episodes):
        numbers = random.Random(number)  # noqa: S311 - reproducible, not secret
        folder = root / "folders" / f"ep_{number:03d}"
        folder.mkdir(parents=True)
        metadata = {"episode_id": folder.name, "step_count": steps}
        (folder / "metadata.json").write_text(json.dumps(metadata))
        with (folder / "steps.jsonl").open("w") as file:
            file.writelines(json.dumps(_step(numbers, index)) + "\n" for index in range(steps))
        archives = root / "archives"
        archives.mkdir(exist_ok=True)
        with tarfile.open(archives / f"{folder.name}.tar.gz", "w:gz", compresslevel=6) as archive:
            for path in sorted(folder.iterdir()):
                archive.add(path, path.name)


def _read(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                total += len(piece)
    return total


def _median_s(work: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return median(taken)


def _exhaust(items: Iterable[object]) -> int:
    return sum(1 for _ in items)


def _passes(dataset: EpisodeDataset) -> dict[str, Callable[[], int]]:
    return {
        "samples() in order": lambda: _exhaust(dataset.samples()),
        "samples() shuffled": lambda: _exhaust(dataset.samples(shuffle="seed 0")),
        "batches() of 256 as arrays": lambda: _exhaust(dataset.batches()),
    }


def run(*, quick: bool) -> dict[str, Any]:
    """Measure every way of reading and return the figures."""
    episodes, steps, rounds = (4, 500, 3) if quick else (16, 1000, 3)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _write(root, episodes, steps)
        files = [path for path in (root / "folders").rglob("*") if path.is_file()]
        size_mb = _read(files) / 1e6
        plain_s = _median_s(lambda: _read(files), rounds)
        started = time.process_time()
        dataset = load_episodes([root / "folders"])
        judged_s = time.process_time() - started
        samples = _exhaust(dataset.samples())
        taken = {name: _median_s(work, rounds) for name, work in _passes(dataset).items()}
        packed = load_episodes([root / "archives"])
        packed_s = _median_s(lambda: _exhaust(packed.samples()), rounds)
    in_order = taken["samples() in order"]
    rates = {f"{name}, samples/s": round(samples / taken[name]) for name in taken}
    return {
        "name": "loader, time of one pass against plain reads of the same bytes",
        "ratio": round(in_order / plain_s, 1),
        "goal": "none: parsing JSON is the price of the format",
        "met": None,
        "figures": {
            "samples, of MB": f"{samples} of {size_mb:.1f}",
            "plain reads, MB/s": round(size_mb / plain_s),
            "plain reads, as samples/s": round(samples / plain_s),
            **rates,
            "samples() in order, MB/s": round(size_mb / in_order, 1),
            "samples() of .tar.gz, samples/s": round(samples / packed_s),
            "judging every episode once, before the first pass, MB/s": round(size_mb / judged_s, 1),
        },
    }
