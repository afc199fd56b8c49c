"""Small valid episodes, made in code, in every packaging."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from typing import Any

__all__ = ["SmallEpisode", "pack"]


@dataclass(frozen=True)
class SmallEpisode:
    """An episode of a few steps and one blob; ``metadata`` adds to its metadata."""

    episode_id: str | None = None
    robot_id: str | None = None
    steps: int = 3
    metadata: dict[str, Any] = field(default_factory=dict)
    blob: bytes = b"\xff\xd8 not a picture, only bytes"

    def files(self) -> dict[str, bytes]:
        """Return the files of the folder by path."""
        named = {"episode_id": self.episode_id, "robot_id": self.robot_id}
        metadata = {
            "schema_version": "1.1",
            "step_count": self.steps,
            **{name: value for name, value in named.items() if value is not None},
            **self.metadata,
        }
        lines = [json.dumps(self._step(index)) + "\n" for index in range(self.steps)]
        return {
            "metadata.json": json.dumps(metadata).encode(),
            "steps.jsonl": "".join(lines).encode(),
            "blobs/frame_000000.jpg": self.blob,
        }

    def archive(self) -> bytes:
        """Return the folder as ``.tar.gz``, byte for byte reproducible."""
        return pack(self.files())

    def document(self) -> bytes:
        """Return the episode as one JSON document, which has no blobs."""
        steps = [self._step(index, media=False) for index in range(self.steps)]
        metadata = json.loads(self.files()["metadata.json"])
        return json.dumps({"metadata": metadata, "steps": steps}).encode()

    def _step(self, index: int, *, media: bool = True) -> dict[str, Any]:
        observation: dict[str, Any] = {
            "robot_state": {"timestamp_nanos": 10**9 + index * 50_000_000, "joint_positions": [0.1]}
        }
        if media and index == 0:
            digest = hashlib.sha256(self.blob).hexdigest()
            observation["media"] = {"rgb": {"uri": "blobs/frame_000000.jpg", "sha256": digest}}
        return {
            "step_index": index,
            "timestamp_ns": 10**9 + index * 50_000_000,
            "observation": observation,
            "action": {"command": [0.1 * index, 0.2]},
            "reward": 0.0,
            "discount": 1.0,
            "is_first": index == 0,
            "is_last": index == self.steps - 1,
            "is_terminal": False,
            "language_instruction": "wave",
        }


def pack(files: dict[str, bytes]) -> bytes:
    """Return ``files`` as ``.tar.gz``, without times and owners."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), mtime=0)
