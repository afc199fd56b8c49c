"""Events arrive several times, together and out of order; each is applied once."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cloud_events import as_request, finalized
from product import BUCKET, Product, Robot, wait_for
from small_episodes import SmallEpisode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from product import Messages

_TIMES = 5


@pytest.fixture(scope="module")
def messages(product: Product) -> Messages:
    return product.messages()


@pytest.fixture(autouse=True)
def _versions(product: Product) -> Iterator[None]:
    # An object that is replaced would otherwise leave no trace of its first generation.
    bucket = product.storage.bucket(BUCKET)
    bucket.versioning_enabled = True
    bucket.patch()
    yield
    bucket.versioning_enabled = False
    bucket.patch()


def deliver(product: Product, event: dict[str, Any]) -> None:
    """Deliver as Eventarc does: again until it is acknowledged."""
    headers, body = as_request(event)
    path = f"/functions/projects/{product.project}/triggers/us-central1-ingest_finalized-0"

    def acknowledged() -> bool | None:
        url = product.cloud.urls["functions"] + path
        answer = httpx.post(url, headers=headers, content=body, timeout=60)
        return True if answer.is_success else None

    wait_for(acknowledged, timeout_s=60)


def deliver_all(product: Product, events: Sequence[dict[str, Any]]) -> None:
    with ThreadPoolExecutor(len(events)) as pool:
        list(pool.map(lambda event: deliver(product, event), events))


def generations(product: Product, episode_id: str) -> list[str]:
    blobs = product.storage.list_blobs(BUCKET, prefix="episodes/", versions=True)
    return sorted(blob.name for blob in blobs if f"/{episode_id}/" in blob.name)


def test_an_archives_event_delivered_five_times_at_once_is_applied_once(
    product: Product, robot: Robot, messages: Messages
) -> None:
    episode_id = "ep_delivered_archive"
    grant = robot.upload_archive(SmallEpisode().archive(), episode_id=episode_id)
    event = finalized(f"{grant['episode_ref']}/episode.tar.gz")
    deliver_all(product, [event] * _TIMES)
    document = product.settled(episode_id)
    assert document["status"] == "validated"
    validated = f"episodes/validated/{robot.id}/{episode_id}"
    assert generations(product, episode_id) == [
        f"{grant['episode_ref']}/episode.tar.gz",
        f"{validated}/episode.tar.gz",
        f"{validated}/report.json",
    ]
    assert len(messages.of(episode_id)) == 1


def test_a_folders_events_out_of_order_and_repeated_are_applied_once(
    product: Product, robot: Robot, messages: Messages
) -> None:
    episode_id = "ep_delivered_folder"
    files = SmallEpisode().files()
    grant = robot.upload_files(files, episode_id)
    events = [finalized(f"{grant['episode_ref']}/{path}") for path in files] * _TIMES
    random.Random(3).shuffle(events)  # noqa: S311 - an order, not a secret
    deliver_all(product, events)
    assert product.settled(episode_id)["status"] == "validated"
    validated = f"episodes/validated/{robot.id}/{episode_id}"
    assert generations(product, episode_id) == sorted(
        [f"{grant['episode_ref']}/{path}" for path in files]
        + [f"{validated}/{path}" for path in (*files, "report.json")]
    )
    assert len(messages.of(episode_id)) == 1


def test_a_late_event_of_a_settled_episode_changes_nothing(
    product: Product, robot: Robot, messages: Messages
) -> None:
    episode_id = "ep_delivered_late"
    grant = robot.upload_archive(SmallEpisode().archive(), episode_id=episode_id)
    before = product.settled(episode_id), product.contents(episode_id)
    for generation in (1, 2**62):
        deliver(product, finalized(f"{grant['episode_ref']}/episode.tar.gz", generation))
    assert (product.settled(episode_id), product.contents(episode_id)) == before
    assert len(messages.of(episode_id)) == 1


@pytest.mark.parametrize(
    "name",
    [
        "episodes/raw/nobody/ep_never_announced/episode.tar.gz",
        "episodes/raw/nobody/ep_never_announced/metadata.json",
        "episodes/validated/nobody/ep_1/report.json",
        "models/seed/x",
        "episodes/raw/a",
    ],
)
def test_an_event_about_nothing_announced_is_acknowledged_and_writes_nothing(
    name: str, product: Product
) -> None:
    before = product.everything()
    deliver(product, finalized(name))
    assert product.everything() == before


def test_an_event_in_anothers_folder_does_not_touch_the_episode(
    product: Product, robot: Robot
) -> None:
    episode_id = "ep_delivered_foreign"
    robot.upload_archive(SmallEpisode().archive(), episode_id=episode_id)
    before = product.settled(episode_id)
    deliver(product, finalized(f"episodes/raw/another-robot/{episode_id}/episode.tar.gz"))
    assert product.episode(episode_id) == before


def test_the_event_of_a_deleted_episode_is_acknowledged(product: Product, robot: Robot) -> None:
    episode_id = "ep_delivered_deleted"
    grant = robot.upload_archive(SmallEpisode().archive(), episode_id=episode_id)
    product.settled(episode_id)
    assert robot.owner.call("DELETE", f"/api/v1/episodes/{episode_id}").status_code == 204
    deliver(product, finalized(f"{grant['episode_ref']}/episode.tar.gz"))
    assert product.episode(episode_id) is None
    assert product.contents(episode_id) == {}
