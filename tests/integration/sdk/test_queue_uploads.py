"""The upload queue against the local Cloud Storage, on a good day and on bad ones."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from continuon_cloud.queue import Added, Packaging, QueueItem, RunOptions, State, UploadQueue
from sdk_bench import EPISODE_ID, ROBOT, StageHandle, sessions_are_continued, write_episode

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = f"episodes/raw/{ROBOT.device_id}/{EPISODE_ID}"
CHUNK = 256 * 1024


def upload(
    stage: StageHandle,
    path: Path,
    *,
    packaging: Packaging = Packaging.OBJECT,
    resumable: bool = False,
    **options: Any,
) -> QueueItem:
    with UploadQueue(stage.settings) as queue:
        added = queue.add(path, robot_id=ROBOT.device_id, packaging=packaging, resumable=resumable)
        chosen = RunOptions(**{"verdict_timeout_s": 5.0, "chunk_bytes": CHUNK, **options})
        (item,) = asyncio.run(queue.run([added.item.item_id], options=chosen))
    return item


def test_folder_arrives_as_one_archive_and_its_verdict_is_kept(
    stage: StageHandle, tmp_path: Path
) -> None:
    item = upload(stage, write_episode(tmp_path / "episode"))

    assert (item.state, item.episode_id, item.quality) == (State.VALIDATED, EPISODE_ID, 0.9)
    assert list(stage.objects()) == [f"{PREFIX}/episode.tar.gz"]
    assert not list((stage.settings.home / "queue" / "spool").iterdir())


def test_folder_arrives_file_by_file_with_the_manifest_last(
    stage: StageHandle, tmp_path: Path
) -> None:
    item = upload(stage, write_episode(tmp_path / "episode"), packaging=Packaging.FILES)

    assert item.state is State.VALIDATED
    names = ["blobs/frame_000000.jpg", "metadata.json", "steps.jsonl"]
    assert sorted(stage.objects()) == [f"{PREFIX}/{name}" for name in names]
    puts = [entry["path"] for entry in stage.entries() if entry["method"] == "PUT"]
    assert puts[-1].endswith("/metadata.json")


def test_same_content_twice_is_one_upload(stage: StageHandle, tmp_path: Path) -> None:
    first = upload(stage, write_episode(tmp_path / "episode"))
    requests = len(stage.entries())
    with UploadQueue(stage.settings) as queue:
        again: Added = queue.add(
            tmp_path / "episode", robot_id=ROBOT.device_id, packaging=Packaging.FILES
        )

    assert again.duplicate
    assert again.item.item_id == first.item_id
    assert len(stage.entries()) == requests


def test_broken_link_continues_from_the_confirmed_offset(
    stage: StageHandle, tmp_path: Path
) -> None:
    archive = tmp_path / "big.tar.gz"
    archive.write_bytes(os.urandom(5 * CHUNK + 1234))
    stage.control(rules=[{"method": "PUT", "with_body": True, "times": 2, "cut_after": 700_000}])
    item = upload(stage, archive, resumable=True, chunk_bytes=4 * CHUNK)

    assert item.state is State.VALIDATED
    (name,) = stage.objects()
    assert stage.content(name) == archive.read_bytes()
    assert sum(entry["status"] == "cut" for entry in stage.entries()) == 2
    assert sessions_are_continued(stage)
