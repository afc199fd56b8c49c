"""Episodes of the cloud as training data: downloaded once, verified, and read again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from continuon_cloud.client import ContinuonClient
from continuon_cloud.dataset import DatasetError, EpisodeDataset, load_cloud_episodes
from continuon_cloud.identity import RobotHome
from continuon_cloud.queue import Packaging, UploadQueue
from sdk_bench import EPISODE_ID, ROBOT, StageHandle
from small_episodes import SmallEpisode

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = ("observation.robot_state.joint_positions",)


def uploaded(stage: StageHandle, root: Path, packaging: Packaging = Packaging.OBJECT) -> None:
    """Upload an episode of three steps and give it the report of validation."""
    for path, data in SmallEpisode(episode_id=EPISODE_ID).files().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    with UploadQueue(stage.settings) as queue:
        added = queue.add(root, robot_id=ROBOT.device_id, packaging=packaging)
        asyncio.run(queue.run([added.item.item_id]))
        packed = queue.files(added.item.item_id)[0].sha256
    if packaging is Packaging.FILES:
        stage.control(report={"packaging": "folder", "sha256": added.item.digest})
    else:
        stage.control(report={"packaging": "tar.gz", "sha256": packed})


def reads(stage: StageHandle) -> int:
    """How often the store was asked for content."""
    return sum(
        entry["method"] == "GET" and "/api/" not in entry["path"] for entry in stage.entries()
    )


def load(stage: StageHandle, cache: Path) -> EpisodeDataset:
    async def work() -> EpisodeDataset:
        robot = RobotHome(stage.settings.home).load()
        async with ContinuonClient(stage.settings, robot=robot) as client:
            wanted = [EPISODE_ID, EPISODE_ID]
            return await load_cloud_episodes(client, wanted, cache=cache, fields=FIELDS)

    return asyncio.run(work())


@pytest.mark.parametrize("packaging", [Packaging.OBJECT, Packaging.FILES])
def test_episode_of_the_cloud_is_read_and_downloaded_once(
    packaging: Packaging, stage: StageHandle, tmp_path: Path
) -> None:
    uploaded(stage, tmp_path / "episode", packaging)

    first = load(stage, tmp_path / "cache")
    count = reads(stage)
    second = load(stage, tmp_path / "cache")

    assert [sample.action for sample in first.samples()] == [(0.0, 0.2), (0.1, 0.2)]
    assert [entry.episode_id for entry in first.episodes] == [EPISODE_ID]
    assert (second.digest, reads(stage)) == (first.digest, count)


def test_damaged_cache_is_downloaded_anew(stage: StageHandle, tmp_path: Path) -> None:
    uploaded(stage, tmp_path / "episode")
    digest = load(stage, tmp_path / "cache").digest
    (archive,) = (tmp_path / "cache" / EPISODE_ID).iterdir()
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-5] + b"xxxxx")

    again = load(stage, tmp_path / "cache")

    assert again.digest == digest
    assert archive.read_bytes() == whole


def test_download_without_a_report_to_compare_with_is_refused(
    stage: StageHandle, tmp_path: Path
) -> None:
    uploaded(stage, tmp_path / "episode")
    stage.control(report={"packaging": "tar.gz"})

    with pytest.raises(DatasetError) as caught:
        load(stage, tmp_path / "cache")

    assert caught.value.code == "dataset.unverified"
