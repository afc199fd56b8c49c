"""A signed URL allows one request, until its time, and no other; the store refuses the rest."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import httpx
import pytest
from google.oauth2 import service_account

from product import BUCKET, Product, Robot, store, wait_for
from small_episodes import SmallEpisode

_IDS = (f"ep_signed_{n}" for n in itertools.count())
_PARTS = {"content", "method", "path"}


@pytest.fixture
def episode(robot: Robot) -> SmallEpisode:
    return SmallEpisode(next(_IDS), robot.id)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"content": b"x" * 101}, 400),
        ({"content": b"x" * 99}, 400),
        ({"content": b""}, 400),
        ({"content_type": "text/html"}, 403),
        ({"content_type": None}, 400),
        ({"x-goog-content-length-range": "0,1000000"}, 403),
        ({"x-goog-content-length-range": None}, 400),
        ({"x-goog-if-generation-match": None}, 400),
        ({"x-goog-if-generation-match": "1"}, 403),
        ({"x-goog-meta-extra": "1"}, 400),
        ({"method": "POST"}, 403),
        ({"method": "DELETE"}, 403),
        ({"method": "GET"}, 403),
        ({"path": "episode.zip"}, 403),
        ({"path": "../../another/ep/episode.tar.gz"}, 403),
    ],
    ids=str,
)
def test_a_signed_url_allows_one_request_and_no_other(
    changes: dict[str, Any],
    status: int,
    product: Product,
    robot: Robot,
    episode: SmallEpisode,
) -> None:
    grant = robot.grant(
        episode_id=episode.episode_id, content_type="application/gzip", size_bytes=100
    )
    upload = grant["uploads"][0]
    headers = dict(upload["headers"])
    headers.update({k.replace("_", "-"): v for k, v in changes.items() if k not in _PARTS})
    url = upload["url"]
    if "path" in changes:
        url = url.replace("episode.tar.gz", changes["path"])
        assert url != upload["url"]
    before = product.objects()
    response = httpx.request(
        changes.get("method", "PUT"),
        url,
        headers={name: value for name, value in headers.items() if value is not None},
        content=changes.get("content", b"x" * 100),
    )
    assert response.status_code == status, response.text
    assert product.objects() == before


def test_a_used_url_never_replaces_what_is_there(
    product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    data = episode.archive()
    grant = robot.upload_archive(data, episode_id=episode.episode_id)
    before = product.objects(grant["episode_ref"])
    for content in (data, b"y" * len(data)):
        assert store(grant["uploads"][0], content).status_code == 412
    assert product.objects(grant["episode_ref"]) == before


def test_an_expired_or_prolonged_url_is_refused(
    product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    grant = robot.grant(
        episode_id=episode.episode_id, content_type="application/gzip", size_bytes=100
    )
    url = httpx.URL(grant["upload_url"])
    old = url.copy_set_param("X-Goog-Date", "20200101T000000Z")
    longer = url.copy_set_param("X-Goog-Expires", "604800")
    for wrong in (old, longer):
        answer = httpx.put(wrong, headers=grant["headers"], content=b"x" * 100)
        assert answer.status_code in {400, 403}, answer.text
    assert product.objects(grant["episode_ref"]) == {}


def test_a_url_works_until_its_time_and_no_longer(
    product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    assert episode.episode_id is not None
    name = f"episodes/raw/{robot.id}/{episode.episode_id}/episode.tar.gz"
    key_file = product.cloud.env["GOOGLE_APPLICATION_CREDENTIALS"]
    credentials: Any = service_account.Credentials
    url = (
        product.storage.bucket(BUCKET)
        .blob(name)
        .generate_signed_url(
            version="v4",
            method="PUT",
            expiration=timedelta(seconds=1),
            credentials=credentials.from_service_account_file(key_file),
            api_access_endpoint=product.cloud.urls["storage"],
        )
    )

    def refused() -> httpx.Response | None:
        answer = httpx.put(url, content=b"x")
        return None if answer.status_code == 200 else answer

    answer = wait_for(refused, timeout_s=10)
    assert (answer.status_code, "ExpiredToken" in answer.text) == (400, True)
