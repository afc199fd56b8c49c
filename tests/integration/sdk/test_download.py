"""Downloads from the local Cloud Storage through signed URLs, over links that break."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from continuon_cloud.client import ContinuonClient
from continuon_cloud.download import DownloadedEpisode, download_episode
from continuon_cloud.errors import DownloadError
from continuon_cloud.identity import RobotHome
from continuon_cloud.queue import Packaging, UploadQueue
from sdk_bench import EPISODE_ID, ROBOT, StageHandle, write_episode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def put(stage: StageHandle, path: Path, packaging: Packaging = Packaging.OBJECT) -> str:
    """Upload ``path`` and return the hash a report of it would carry."""
    with UploadQueue(stage.settings) as queue:
        added = queue.add(path, robot_id=ROBOT.device_id, packaging=packaging)
        asyncio.run(queue.run([added.item.item_id]))
        if packaging is Packaging.FILES:
            return added.item.digest
        return queue.files(added.item.item_id)[0].sha256


def get(
    stage: StageHandle, folder: Path, on_progress: Callable[[str, int, int], None] | None = None
) -> DownloadedEpisode:
    async def work() -> DownloadedEpisode:
        robot = RobotHome(stage.settings.home).load()
        async with ContinuonClient(stage.settings, robot=robot) as client:
            return await download_episode(client, EPISODE_ID, folder, on_progress=on_progress)

    return asyncio.run(work())


def reads(stage: StageHandle) -> list[dict[str, Any]]:
    return [
        entry
        for entry in stage.entries()
        if entry["method"] == "GET" and "/api/" not in entry["path"]
    ]


def test_folder_comes_back_byte_for_byte_and_is_checked(stage: StageHandle, tmp_path: Path) -> None:
    source = write_episode(tmp_path / "episode")
    digest = put(stage, source, Packaging.FILES)
    stage.control(report={"packaging": "folder", "sha256": digest})
    got = get(stage, tmp_path / "out")

    assert got.verified == "sha256"
    for file in source.rglob("*.*"):
        assert (tmp_path / "out" / file.relative_to(source)).read_bytes() == file.read_bytes()


def test_download_that_breaks_goes_on_where_it_stopped(stage: StageHandle, tmp_path: Path) -> None:
    digest = put(stage, write_episode(tmp_path / "episode", size=300_000))
    stage.control(
        report={"packaging": "tar.gz", "sha256": digest},
        rules=[{"method": "GET", "path": "/stage/", "times": 2, "cut_answer_after": 100_000}],
    )
    got = get(stage, tmp_path / "out")

    assert got.verified == "sha256"
    starts = [entry["range"] for entry in reads(stage)]
    assert starts == [None, "bytes=100000-", "bytes=200000-"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["episode.tar.gz"]


def test_store_that_asks_for_patience_gets_it(stage: StageHandle, tmp_path: Path) -> None:
    put(stage, write_episode(tmp_path / "episode"))
    busy = {"method": "GET", "path": "/stage/", "times": 2, "status": 503}
    stage.control(rules=[busy | {"headers": {"retry-after": "0"}}])
    get(stage, tmp_path / "out")

    assert [entry["status"] for entry in reads(stage)] == [503, 503, 200]


def test_expired_url_is_asked_for_again(stage: StageHandle, tmp_path: Path) -> None:
    put(stage, write_episode(tmp_path / "episode"))
    stage.control(
        rules=[{"method": "GET", "path": "/stage/", "times": 1, "status": 400, "body": "expired"}]
    )
    got = get(stage, tmp_path / "out")

    assert got.files[0].exists()
    assert len([e for e in stage.entries() if e["path"].endswith("/download")]) == 2


def test_other_content_than_the_report_names_is_refused(stage: StageHandle, tmp_path: Path) -> None:
    put(stage, write_episode(tmp_path / "episode"))
    stage.control(report={"packaging": "tar.gz", "sha256": hashlib.sha256(b"").hexdigest()})
    with pytest.raises(DownloadError) as refusal:
        get(stage, tmp_path / "out")

    assert refusal.value.code == "download.corrupt"


@pytest.mark.parametrize(
    "name", ["../escaped.json", "/etc/escaped", "blobs/../../escaped", "a//b", ".hidden", "c:\\x"]
)
def test_file_name_that_leaves_the_folder_is_refused(
    name: str, stage: StageHandle, tmp_path: Path
) -> None:
    put(stage, write_episode(tmp_path / "episode"))
    stage.control(rename=name)
    with pytest.raises(DownloadError) as refusal:
        get(stage, tmp_path / "out")

    assert refusal.value.code == "download.unsafe_name"
    assert not reads(stage)
    assert not (tmp_path / "escaped.json").exists()


def test_linked_folder_in_the_target_is_not_followed(stage: StageHandle, tmp_path: Path) -> None:
    put(stage, write_episode(tmp_path / "episode"), Packaging.FILES)
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "blobs").symlink_to(outside)
    with pytest.raises(DownloadError):
        get(stage, tmp_path / "out")

    assert not list(outside.iterdir())


def test_store_that_refuses_every_url_ends_the_download(stage: StageHandle, tmp_path: Path) -> None:
    put(stage, write_episode(tmp_path / "episode"))
    stage.control(rules=[{"method": "GET", "path": "/stage/", "times": 99, "status": 403}])
    with pytest.raises(DownloadError) as refusal:
        get(stage, tmp_path / "out")

    assert refusal.value.code == "download.refused"
