"""A worker killed between any two steps of ingest: the end is that of an undisturbed run."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from conftest import run_local_cloud
from product import BUCKET, Product, copied_project, wait_for
from small_episodes import SmallEpisode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_POINTS = (
    "ingest.leased",
    "ingest.validated",
    "ingest.promoting",
    "ingest.promoted",
    "ingest.reported",
    "ingest.recorded",
    "ingest.deleted",
    "ingest.published",
    "ingest.completed",
)
_VOLATILE = frozenset({"uploaded_at", "validated_at"})
_NUMBERS = itertools.count(1)


class _Stage:
    """A local cloud whose ingest dies at an armed point, once."""

    def __init__(self, product: Product, markers: Path) -> None:
        self.product = product
        self.robot = product.account().robot()
        self.messages = product.messages()
        self._markers = markers

    def arm(self, point: str) -> Path:
        """Have the next worker that reaches ``point`` die there."""
        marker = self._markers / point
        marker.unlink()
        return marker

    def run(self, episode: SmallEpisode, *, folder: bool) -> tuple[str, dict[str, Any]]:
        """Upload and wait for the end; return the episode's id and everything that is stored."""
        episode_id = f"ep_crash_{next(_NUMBERS)}"
        if folder:
            self.robot.upload_files(episode.files(), episode_id)
        else:
            self.robot.upload_archive(episode.archive(), episode_id=episode_id)
        return episode_id, self.end_of(episode_id)

    def end_of(self, episode_id: str) -> dict[str, Any]:
        """Wait for the end of an ingest; return what is stored, without times and ids."""
        document = self.product.settled(episode_id, timeout_s=40)
        stable = {name: value for name, value in document.items() if name not in _VOLATILE}
        assert stable.pop("ingest")["state"] == "completed"
        versions = self.product.storage.list_blobs(BUCKET, prefix="episodes/", versions=True)
        objects = sorted(
            f"{blob.name.replace(episode_id, 'ID')} {blob.crc32c}"
            for blob in versions
            if f"/{episode_id}/" in blob.name
        )
        text = json.dumps(stable, sort_keys=True, default=str).replace(episode_id, "ID")
        return {"document": text, "objects": objects}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Stage]:
    folder = tmp_path_factory.mktemp("crashes")
    markers = folder / "markers"
    markers.mkdir()
    for point in _POINTS:
        (markers / point).touch()
    root = copied_project(
        folder / "project",
        codebases=("rlds", "fleet"),
        continuon_ingest_lease_s="1",
        continuon_fault=",".join(f"{point}@once:{markers / point}" for point in _POINTS),
    )
    with run_local_cloud(root) as cloud:
        product = Product(cloud)
        bucket = product.storage.bucket(BUCKET)
        bucket.versioning_enabled = True
        bucket.patch()
        yield _Stage(product, markers)
        product.close()


_VALID = SmallEpisode()
_BROKEN = SmallEpisode(metadata={"step_count": 99})
_PRIVATE = SmallEpisode(metadata={"privacy": {"no_upload": True}})


@pytest.fixture(scope="module")
def undisturbed(stage: _Stage) -> dict[tuple[int, bool], dict[str, Any]]:
    """What an episode leaves behind when nothing is killed."""
    return {
        (id(episode), folder): stage.run(episode, folder=folder)[1]
        for episode, folder in (
            (_VALID, False),
            (_VALID, True),
            (_BROKEN, False),
            (_PRIVATE, False),
        )
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "episode", "folder", "messages"),
    [
        ("ingest.leased", _VALID, False, 1),
        ("ingest.validated", _VALID, True, 1),
        ("ingest.promoting", _VALID, True, 1),
        ("ingest.promoted", _VALID, False, 1),
        ("ingest.reported", _VALID, False, 1),
        ("ingest.recorded", _VALID, True, 1),
        # The message is out and its record is not: it is sent again, under the same event id.
        ("ingest.published", _VALID, False, 2),
        ("ingest.completed", _VALID, False, 1),
        ("ingest.reported", _BROKEN, False, 0),
        ("ingest.recorded", _PRIVATE, False, 0),
        ("ingest.deleted", _PRIVATE, False, 0),
    ],
)
def test_a_killed_ingest_ends_as_if_nothing_had_happened(
    *,
    point: str,
    episode: SmallEpisode,
    folder: bool,
    messages: int,
    stage: _Stage,
    undisturbed: dict[tuple[int, bool], dict[str, Any]],
) -> None:
    marker = stage.arm(point)
    episode_id, everything = stage.run(episode, folder=folder)
    assert marker.exists(), "the worker was not killed"
    assert everything == undisturbed[id(episode), folder]
    announced = stage.messages.of(episode_id)
    assert len(announced) == messages
    assert len(set(announced)) == min(messages, 1)


@pytest.mark.slow
def test_an_ingest_killed_again_and_again_still_ends(
    stage: _Stage, undisturbed: dict[tuple[int, bool], dict[str, Any]]
) -> None:
    points = ("ingest.leased", "ingest.promoting", "ingest.recorded", "ingest.published")
    markers = [stage.arm(point) for point in points]
    episode_id = f"ep_crash_{next(_NUMBERS)}"
    grant = stage.robot.upload_files(_VALID.files(), episode_id)

    def verdict() -> str | None:
        # A robot that asks again and again; each answer may be the end of another worker.
        response = stage.robot.ingest(grant)
        return response.json()["status"] if response.status_code == 200 else None

    assert wait_for(verdict, timeout_s=60) == "validated"
    assert stage.end_of(episode_id) == undisturbed[id(_VALID), True]
    assert all(marker.exists() for marker in markers)
    assert len(set(stage.messages.of(episode_id))) == 1
