"""The queue's process is really killed between every two steps; nothing is lost or sent twice."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from continuon_cloud.queue import Packaging, QueueItem, State, UploadQueue
from continuon_cloud.queue.faults import FaultPoint
from sdk_bench import (
    CHUNK,
    EPISODE_ID,
    ROBOT,
    StageHandle,
    sessions_are_continued,
    upload,
    upload_in_children,
    write_episode,
)

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 3 * CHUNK + 4321
PREFIX = f"episodes/raw/{ROBOT.device_id}/{EPISODE_ID}"
# Where sending single files takes other steps than sending one archive.
IN_FILES = [
    FaultPoint.URLS_SAVED,
    FaultPoint.BYTES_MOVING,
    FaultPoint.FILE_STORED,
    FaultPoint.FILE_SAVED,
    FaultPoint.UPLOAD_SAVED,
]


def die_at(
    fault: str, stage: StageHandle, path: Path, packaging: Packaging, *, resumable: bool
) -> None:
    """Run the queue in a process of its own and see it die of SIGKILL at ``fault``."""
    codes = upload_in_children(1, stage.settings, path, packaging, resumable=resumable, fault=fault)
    assert codes == [-signal.SIGKILL], f"the queue never reached {fault}"


def ends_as_without_the_kill(stage: StageHandle, item: QueueItem, names: set[str]) -> None:
    assert item.state is State.VALIDATED
    objects = stage.objects()
    assert set(objects) == {f"{PREFIX}/{name}" for name in names}
    stored = [
        entry
        for entry in stage.entries()
        if entry["status"] in {200, 201} and entry["method"] == "PUT" and entry["received"]
    ]
    assert len(stored) == len(names), "an object was stored more than once"
    assert sessions_are_continued(stage)
    assert not list((stage.settings.home / "queue" / "spool").iterdir())
    with UploadQueue(stage.settings) as queue:
        assert len(queue.items()) == 1


@pytest.mark.parametrize("fault", sorted(FaultPoint))
def test_killed_anywhere_in_a_resumable_archive_upload(
    fault: FaultPoint, stage: StageHandle, tmp_path: Path
) -> None:
    path = write_episode(tmp_path / "episode", size=SIZE)
    die_at(fault.value, stage, path, Packaging.OBJECT, resumable=True)
    item = upload(stage.settings, path, Packaging.OBJECT, resumable=True)

    ends_as_without_the_kill(stage, item, {"episode.tar.gz"})


@pytest.mark.parametrize("fault", IN_FILES)
def test_killed_anywhere_in_an_upload_of_single_files(
    fault: FaultPoint, stage: StageHandle, tmp_path: Path
) -> None:
    path = write_episode(tmp_path / "episode")
    die_at(fault.value, stage, path, Packaging.FILES, resumable=False)
    item = upload(stage.settings, path, Packaging.FILES, resumable=False)

    ends_as_without_the_kill(
        stage, item, {"metadata.json", "steps.jsonl", "blobs/frame_000000.jpg"}
    )


@pytest.mark.parametrize("nth", [2, 7, 11])
def test_killed_in_the_middle_of_the_bytes(nth: int, stage: StageHandle, tmp_path: Path) -> None:
    path = write_episode(tmp_path / "episode", size=SIZE)
    die_at(f"bytes_moving:{nth}", stage, path, Packaging.OBJECT, resumable=True)
    item = upload(stage.settings, path, Packaging.OBJECT, resumable=True)

    ends_as_without_the_kill(stage, item, {"episode.tar.gz"})


def test_killed_again_and_again_still_arrives_once(stage: StageHandle, tmp_path: Path) -> None:
    path = write_episode(tmp_path / "episode", size=SIZE)
    for fault in (
        "spool_writing:2",
        "urls_granted",
        "chunk_saved",
        "chunk_answered",
        "file_stored",
    ):
        die_at(fault, stage, path, Packaging.OBJECT, resumable=True)
    item = upload(stage.settings, path, Packaging.OBJECT, resumable=True)

    ends_as_without_the_kill(stage, item, {"episode.tar.gz"})
