"""Deleting an episode leaves nothing behind, also while it is being validated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from product import problem, wait_for
from small_episodes import SmallEpisode

if TYPE_CHECKING:
    import httpx

    from product import Product, Robot


def _delete(robot: Robot, episode_id: str) -> httpx.Response:
    return robot.owner.call("DELETE", f"/api/v1/episodes/{episode_id}")


def _deleted(robot: Robot, episode_id: str) -> None:
    """Delete as a client does: again while it is told that a worker is busy."""

    def gone() -> bool | None:
        response = _delete(robot, episode_id)
        if response.status_code == 409:
            problem(response, 409, "episode.in_progress")
            assert int(response.headers["retry-after"]) > 0
            return None
        assert response.status_code == 204, response.text
        return True

    wait_for(gone)


@pytest.mark.parametrize(
    "episode",
    [SmallEpisode(), SmallEpisode(metadata={"step_count": 99})],
    ids=["validated", "rejected"],
)
def test_a_settled_episode_is_deleted_with_everything(
    episode: SmallEpisode, product: Product, robot: Robot
) -> None:
    episode_id = "ep_to_delete"
    robot.upload_archive(episode.archive(), episode_id=episode_id)
    product.settled(episode_id)
    _deleted(robot, episode_id)
    assert product.episode(episode_id) is None
    assert product.contents(episode_id) == {}
    problem(_delete(robot, episode_id), 404, "episode.not_found")


def test_an_episode_that_is_being_validated_is_not_deleted_under_the_workers_hands(
    product: Product, robot: Robot
) -> None:
    episode_id = "ep_busy"
    robot.grant(episode_id=episode_id)
    reference = product.firestore.collection("rlds_episodes").document(episode_id)
    until = datetime.now(UTC) + timedelta(seconds=60)
    record = {"key": "k", "state": "in_progress", "token": "t", "attempt": 1, "until": until}
    reference.update({"ingest": record})
    response = _delete(robot, episode_id)
    problem(response, 409, "episode.in_progress")
    assert reference.get().exists
    reference.update({"ingest.until": datetime.now(UTC)})
    assert _delete(robot, episode_id).status_code == 204


@pytest.mark.parametrize("number", range(4))
def test_a_deletion_that_races_with_the_ingest_leaves_nothing_behind(
    number: int, product: Product, robot: Robot
) -> None:
    episode_id = f"ep_raced_{number}"
    robot.upload_files(SmallEpisode().files(), episode_id)
    _deleted(robot, episode_id)
    # The id is free again, and nothing of the first episode is taken for the second's.
    again = SmallEpisode(steps=5, blob=b"another picture")
    robot.upload_files(again.files(), episode_id)
    document = product.settled(episode_id)
    assert (document["status"], document["steps"]) == ("validated", 5)
    path = f"/api/v1/episodes/{episode_id}/report"
    assert robot.owner.call("GET", path).json()["counts"]["steps"] == 5
    _deleted(robot, episode_id)
    assert product.contents(episode_id) == {}
