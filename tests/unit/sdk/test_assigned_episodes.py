"""A job's episodes: downloaded once, compared each time, and exactly the set that was assigned."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from continuon.contracts.training import Assignment
from continuon_cloud.dataset import load_episodes
from continuon_cloud.errors import DownloadError
from continuon_cloud.training.api import JobApi, Patience
from continuon_cloud.training.episodes import episode_ids_digest, fetch_assigned
from small_episodes import SmallEpisode

if TYPE_CHECKING:
    from pathlib import Path

JOB = "job_00000000000000000000"
FIELDS = ("observation.robot_state.joint_positions",)


def folder_digest(files: dict[str, bytes]) -> str:
    lines = "".join(
        f"{hashlib.sha256(data).hexdigest()}  {len(data)}  {path}\n"
        for path, data in sorted(files.items())
    )
    return hashlib.sha256(lines.encode()).hexdigest()


class Cloud:
    """A page for each episode: archives and folders in turn, with a report beside each."""

    def __init__(self, count: int) -> None:
        self.downloads = 0
        self.expired: set[str] = set()
        self.pages: list[dict[str, Any]] = []
        self.contents: dict[str, bytes] = {}
        for number in range(count):
            self._add(f"ep-{number}", is_folder=number % 2 == 1)

    def _add(self, name: str, *, is_folder: bool) -> None:
        # What a recording calls itself is not what the cloud calls it.
        small = SmallEpisode(episode_id="ep_recorded", steps=4)
        files = small.files() if is_folder else {"episode.tar.gz": small.archive()}
        digest = folder_digest(files)
        if not is_folder:
            digest = hashlib.sha256(files["episode.tar.gz"]).hexdigest()
        listed = []
        for path, data in {**files, "report.json": b"{}"}.items():
            self.contents[f"/{name}/{path}"] = data
            url = f"http://store/{name}/{path}"
            listed.append({"path": path, "url": url, "size_bytes": len(data)})
        episode = {"episode_id": name, "robot_id": "r", "sha256": digest, "files": listed}
        self.pages.append({"episodes": [episode], "expires_at": "2026-01-01T00:00:00Z"})

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "store":
            if request.url.path in self.expired:
                self.expired.discard(request.url.path)
                return httpx.Response(400, text="<Code>ExpiredToken</Code>")
            self.downloads += 1
            content = httpx.ByteStream(self.contents[request.url.path])
            return httpx.Response(200, stream=content)
        number = int(request.url.params.get("page_token", 0))
        more = number + 1 < len(self.pages)
        page = self.pages[number] | {"next_page_token": str(number + 1) if more else None}
        return httpx.Response(200, json=page)

    def assignment(self) -> Assignment:
        ids = [page["episodes"][0]["episode_id"] for page in self.pages]
        return Assignment.model_validate(
            {
                "job_id": JOB,
                "attempt": 1,
                "type": "seed",
                "robot_model": "arm",
                "hyperparams": {},
                "episode_count": len(ids),
                "episodes_digest": episode_ids_digest(ids),
                "timeout_s": 60,
                "deadline": datetime(2026, 1, 1, tzinfo=UTC),
                "heartbeat_s": 15,
            }
        )


def fetch(cloud: Cloud, cache: Path, assignment: Assignment | None = None) -> dict[str, Path]:
    async def work() -> dict[str, Path]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(cloud)) as http:
            api = JobApi(http, "http://cloud", JOB, "token", Patience(30))
            return await fetch_assigned(api, assignment or cloud.assignment(), cache)

    return asyncio.run(work())


def test_episodes_come_under_the_clouds_ids_and_once(tmp_path: Path) -> None:
    cloud = Cloud(3)

    folders = fetch(cloud, tmp_path)
    count = cloud.downloads
    again = fetch(cloud, tmp_path)

    dataset = load_episodes(folders, fields=FIELDS)
    assert [entry.episode_id for entry in dataset.episodes] == ["ep-0", "ep-1", "ep-2"]
    assert (again, cloud.downloads) == (folders, count)
    assert count == 1 + 3 + 1


def test_a_damaged_or_foreign_file_in_the_cache_is_replaced(tmp_path: Path) -> None:
    cloud = Cloud(2)
    fetch(cloud, tmp_path)
    (tmp_path / "ep-0" / "episode.tar.gz").write_bytes(b"x" * 10)
    (tmp_path / "ep-1" / "steps.jsonl").write_bytes(b"")
    (tmp_path / "ep-1" / "blobs" / "other.jpg").write_bytes(b"of an earlier recording")

    folders = fetch(cloud, tmp_path)

    assert len(load_episodes(folders, fields=FIELDS).episodes) == 2
    assert not (tmp_path / "ep-1" / "blobs" / "other.jpg").exists()


def test_a_url_that_expired_is_asked_for_again(tmp_path: Path) -> None:
    cloud = Cloud(2)
    cloud.expired = {"/ep-1/steps.jsonl"}

    fetch(cloud, tmp_path)

    assert not cloud.expired


def test_content_that_is_not_what_was_validated_is_refused(tmp_path: Path) -> None:
    cloud = Cloud(1)
    data = cloud.contents["/ep-0/episode.tar.gz"]
    cloud.contents["/ep-0/episode.tar.gz"] = data[:-1] + bytes([data[-1] ^ 1])

    with pytest.raises(DownloadError) as caught:
        fetch(cloud, tmp_path)

    assert caught.value.code == "download.corrupt"


def test_another_set_than_the_assigned_one_is_refused(tmp_path: Path) -> None:
    cloud = Cloud(3)
    assignment = cloud.assignment()
    cloud.pages.pop()

    with pytest.raises(DownloadError) as caught:
        fetch(cloud, tmp_path, assignment)

    assert caught.value.code == "trainer.episodes_mismatch"


def test_a_name_that_climbs_out_of_the_cache_is_refused(tmp_path: Path) -> None:
    cloud = Cloud(1)
    text = json.dumps(cloud.pages[0]).replace('"path": "episode.tar.gz"', '"path": "../../evil"')
    cloud.pages[0] = json.loads(text)

    with pytest.raises(DownloadError) as caught:
        fetch(cloud, tmp_path / "cache")

    assert caught.value.code == "download.unsafe_name"
    assert not list(tmp_path.iterdir())
