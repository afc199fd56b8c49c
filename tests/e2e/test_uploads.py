"""Every way in: packagings, renewal, resumable sessions, races; and the requests refused."""

from __future__ import annotations

import hashlib
import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from product import BUCKET, Product, Robot, problem, store
from small_episodes import SmallEpisode

if TYPE_CHECKING:
    from collections.abc import Mapping

_IDS = (f"ep_upload_{n}" for n in itertools.count())


@pytest.fixture
def episode(robot: Robot) -> SmallEpisode:
    return SmallEpisode(next(_IDS), robot.id)


def episode_id(grant: Mapping[str, Any]) -> str:
    return str(grant["episode_ref"].rpartition("/")[2])


# --- Packagings ---------------------------------------------------------------------------------


def test_an_archive_is_validated_by_its_finalize_event(
    product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    assert episode.episode_id is not None
    robot.upload_archive(episode.archive(), episode_id=episode.episode_id)
    data = product.settled(episode.episode_id)
    assert (data["status"], data["steps"]) == ("validated", 3)
    validated = f"episodes/validated/{robot.id}/{episode.episode_id}"
    assert set(product.contents(episode.episode_id)) == {
        f"episodes/raw/{robot.id}/{episode.episode_id}/episode.tar.gz",
        f"{validated}/episode.tar.gz",
        f"{validated}/report.json",
    }
    shown = robot.owner.call("GET", f"/api/v1/episodes/{episode.episode_id}").json()
    assert shown["status"] == "validated"
    assert shown["storage_ref"] == validated
    listed = robot.owner.call("GET", "/api/v1/episodes").json()["episodes"]
    assert [entry["episode_id"] for entry in listed] == [episode.episode_id]
    report = robot.owner.call("GET", f"/api/v1/episodes/{episode.episode_id}/report").json()
    assert report["verdict"] == "valid"


def test_what_is_downloaded_is_what_was_uploaded(
    product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    assert episode.episode_id is not None
    robot.upload_archive(episode.archive(), episode_id=episode.episode_id)
    product.settled(episode.episode_id)
    answer = robot.owner.call("GET", f"/api/v1/episodes/{episode.episode_id}/download").json()
    urls = {file["path"]: file["url"] for file in answer["files"]}
    assert httpx.get(urls["episode.tar.gz"]).content == episode.archive()
    part = httpx.get(urls["episode.tar.gz"], headers={"range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, episode.archive()[2:6])


@pytest.mark.parametrize("seed", range(3))
def test_a_folder_is_validated_when_its_last_file_is_there_in_any_order(
    seed: int, product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    assert episode.episode_id is not None
    files = list(episode.files().items())
    random.Random(seed).shuffle(files)  # noqa: S311 - an order, not a secret
    robot.upload_files(dict(files), episode.episode_id)
    data = product.settled(episode.episode_id)
    assert data["status"] == "validated"
    stored = product.contents(episode.episode_id)
    validated = f"episodes/validated/{robot.id}/{episode.episode_id}/"
    assert {n.removeprefix(validated) for n in stored if n.startswith(validated)} == {
        "metadata.json",
        "steps.jsonl",
        "blobs/frame_000000.jpg",
        "report.json",
    }


def test_a_folder_with_a_file_missing_is_not_judged_and_says_which(
    product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    assert episode.episode_id is not None
    files = episode.files()
    listed = [{"path": path, "size_bytes": len(data)} for path, data in files.items()]
    grant = robot.grant(episode_id=episode.episode_id, files=listed)
    for upload in grant["uploads"]:
        if upload["path"] != "steps.jsonl":
            store(upload, files[upload["path"]]).raise_for_status()
    body = problem(robot.ingest(grant), 409, "episode.upload_incomplete")
    assert [error["path"] for error in body["errors"]] == ["steps.jsonl"]
    data = product.episode(episode.episode_id)
    assert data is not None
    assert data["status"] == "raw"


def test_a_document_is_validated(product: Product, robot: Robot, episode: SmallEpisode) -> None:
    assert episode.episode_id is not None
    robot.upload_archive(
        episode.document(), episode_id=episode.episode_id, content_type="application/json"
    )
    assert product.settled(episode.episode_id)["status"] == "validated"


def test_a_minimal_client_sends_only_metadata(product: Product, robot: Robot) -> None:
    grant = robot.grant(metadata={"step_count": 3, "operator": "Ada"})
    data = SmallEpisode(episode_id="the-recorders-own-name").archive()
    store({**grant, "url": grant["upload_url"]}, data).raise_for_status()
    settled = product.settled(episode_id(grant))
    assert (settled["status"], settled["robot_id"]) == ("validated", robot.id)


def test_a_rejected_episode_keeps_its_object_and_says_why(
    product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    assert episode.episode_id is not None
    broken = SmallEpisode(episode.episode_id, robot.id, metadata={"step_count": 99}).archive()
    grant = robot.upload_archive(broken, episode_id=episode.episode_id)
    data = product.settled(episode.episode_id)
    assert data["status"] == "rejected"
    raw = f"episodes/raw/{robot.id}/{episode.episode_id}/episode.tar.gz"
    assert set(product.contents(episode.episode_id)) == {
        raw,
        f"episodes/rejected/{robot.id}/{episode.episode_id}/report.json",
    }
    answer = robot.ingest(grant).json()
    assert answer["status"] == "rejected"
    assert not answer["training_eligible"]
    assert {found["code"] for found in answer["report"]["problems"]} == set(data["problems"])


def test_an_episode_that_names_another_robot_is_rejected(
    product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    assert episode.episode_id is not None
    foreign = SmallEpisode(episode.episode_id, "another-robot").archive()
    robot.upload_archive(foreign, episode_id=episode.episode_id)
    data = product.settled(episode.episode_id)
    assert (data["status"], set(data["problems"])) == (
        "rejected",
        {"metadata.identity_mismatch"},
    )


def test_a_recording_that_forbids_upload_is_deleted_and_forgotten(
    product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    assert episode.episode_id is not None
    private = {"privacy": {"no_upload": True}, "diary": "Tuesday"}
    data = SmallEpisode(episode.episode_id, robot.id, metadata=private).archive()
    robot.upload_archive(data, episode_id=episode.episode_id, metadata={"diary": "Tuesday"})
    document = product.settled(episode.episode_id)
    assert document["status"] == "rejected"
    assert "privacy.no_upload" in document["problems"]
    assert document["metadata"] == {}
    assert "Tuesday" not in str(document)
    rejected = f"episodes/rejected/{robot.id}/{episode.episode_id}/report.json"
    assert set(product.contents(episode.episode_id)) == {rejected}
    assert b"Tuesday" not in product.storage.bucket(BUCKET).blob(rejected).download_as_bytes()


# --- Verdict now --------------------------------------------------------------------------------


def test_the_checksum_of_a_request_is_compared(
    product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    assert episode.episode_id is not None
    grant = robot.upload_archive(episode.archive(), episode_id=episode.episode_id)
    product.settled(episode.episode_id)
    right = "sha256:" + hashlib.sha256(episode.archive()).hexdigest()
    assert robot.ingest(grant, checksum=right).json()["status"] == "validated"
    problem(robot.ingest(grant, checksum="sha256:" + "0" * 64), 409, "episode.checksum_mismatch")


def test_an_object_that_differs_from_the_announced_checksum_is_rejected(
    product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    assert episode.episode_id is not None
    robot.upload_archive(episode.archive(), episode_id=episode.episode_id, sha256="0" * 64)
    assert product.settled(episode.episode_id)["status"] == "rejected"


# --- Renewal ------------------------------------------------------------------------------------


def test_a_renewal_says_what_is_there_and_the_rest_can_be_uploaded(
    product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    assert episode.episode_id is not None
    files = episode.files()
    listed = [{"path": path, "size_bytes": len(data)} for path, data in files.items()]
    first = robot.grant(episode_id=episode.episode_id, files=listed)
    assert not any(upload["already_uploaded"] for upload in first["uploads"])
    uploads = {upload["path"]: upload for upload in first["uploads"]}
    store(uploads["steps.jsonl"], files["steps.jsonl"]).raise_for_status()
    again = robot.grant(episode_id=episode.episode_id, files=listed)
    assert again["episode_ref"] == first["episode_ref"]
    there = {upload["path"] for upload in again["uploads"] if upload["already_uploaded"]}
    assert there == {"steps.jsonl"}
    for upload in again["uploads"]:
        if not upload["already_uploaded"]:
            store(upload, files[upload["path"]]).raise_for_status()
    assert product.settled(episode.episode_id)["status"] == "validated"


def test_a_settled_episode_is_not_renewed(
    product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    assert episode.episode_id is not None
    data = episode.archive()
    robot.upload_archive(data, episode_id=episode.episode_id)
    product.settled(episode.episode_id)
    request = {
        "episode_id": episode.episode_id,
        "content_type": "application/gzip",
        "size_bytes": len(data),
    }
    problem(robot.call("POST", "/api/rlds/signed-url", request), 409, "episode.settled")


def test_one_idempotency_key_gives_one_episode(robot: Robot) -> None:
    path = "/api/rlds/signed-url"
    refs = set()
    for _ in range(2):
        body, headers = robot.device.json("POST", path, {"metadata": {}})
        headers["idempotency-key"] = "one-key-00001"
        answer = robot.product.http.post(path, content=body, headers=headers)
        refs.add(answer.json()["episode_ref"])
    assert len(refs) == 1


# --- Resumable sessions -------------------------------------------------------------------------


def test_a_broken_upload_goes_on_where_it_stopped(
    product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    assert episode.episode_id is not None
    noise = random.Random(1).randbytes(600_000)  # noqa: S311 - bytes that do not compress
    data = SmallEpisode(episode.episode_id, robot.id, blob=noise).archive()
    request = {"content_type": "application/gzip", "size_bytes": len(data), "resumable": True}
    grant = robot.grant(episode_id=episode.episode_id, **request)
    assert (grant["method"], grant["uploads"][0]["resumable"]) == ("POST", True)
    started = httpx.post(grant["upload_url"], headers=grant["headers"])
    assert started.status_code == 201
    session, chunk = started.headers["location"], 256 * 1024
    first = {"content-range": f"bytes 0-{chunk - 1}/{len(data)}"}
    assert httpx.put(session, content=data[:chunk], headers=first).status_code == 308
    asked = httpx.put(session, headers={"content-range": f"bytes */{len(data)}"})
    assert (asked.status_code, asked.headers["range"]) == (308, f"bytes=0-{chunk - 1}")
    rest = {"content-range": f"bytes {chunk}-{len(data) - 1}/{len(data)}"}
    assert httpx.put(session, content=data[chunk:], headers=rest).status_code == 200
    assert product.settled(episode.episode_id)["status"] == "validated"


# --- Races --------------------------------------------------------------------------------------


def test_of_robots_that_announce_one_id_at_once_one_gets_it(product: Product) -> None:
    robots = [product.account().robot() for _ in range(4)]
    request = {"episode_id": "ep_contested", "size_bytes": 100}
    with ThreadPoolExecutor(len(robots)) as pool:
        answers = list(
            pool.map(lambda robot: robot.call("POST", "/api/rlds/signed-url", request), robots)
        )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    winner = next(r for r, a in zip(robots, answers, strict=True) if a.status_code == 200)
    document = product.episode("ep_contested")
    assert document is not None
    assert document["robot_id"] == winner.id


def test_one_robot_that_asks_four_times_at_once_is_answered_four_times(robot: Robot) -> None:
    request = {"episode_id": "ep_asked_at_once", "size_bytes": 100}
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda _: robot.call("POST", "/api/rlds/signed-url", request), range(4))
        )
    assert [answer.status_code for answer in answers] == [200] * 4


def test_an_empty_file_is_stored_and_judged(
    product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    assert episode.episode_id is not None
    files = {**episode.files(), "steps.jsonl": b""}
    robot.upload_files(files, episode.episode_id)
    document = product.settled(episode.episode_id)
    assert document["status"] == "rejected"


# --- Other requests -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"files": [{"path": "../x", "size_bytes": 1}]}, "files[0].path"),
        ({"files": [{"path": "metadata.json"}]}, "files[0].size_bytes"),
        ({"robot_id": "../x"}, "robot_id"),
        ({"files": []}, "files"),
        ({"files": [{"path": "steps.jsonl", "size_bytes": 1}]}, "files"),
        ({"episode_id": "a/b"}, "episode_id"),
        ({"size_bytes": 0}, "size_bytes"),
        ({"metadata": {"step_count": "many"}}, "metadata.step_count"),
    ],
)
def test_an_invalid_request_names_its_field(
    request_: dict[str, Any], field: str, robot: Robot
) -> None:
    response = robot.call("POST", "/api/rlds/signed-url", request_)
    body = problem(response, 422, "request.invalid")
    assert field in {error["path"] for error in body["errors"]}


def test_an_invalid_idempotency_key_is_refused(robot: Robot) -> None:
    path = "/api/rlds/signed-url"
    body, headers = robot.device.json("POST", path, {"metadata": {}})
    response = robot.product.http.post(
        path, content=body, headers={**headers, "idempotency-key": "short"}
    )
    problem(response, 422, "request.invalid")


def test_an_unsupported_content_type_is_refused(robot: Robot) -> None:
    response = robot.call("POST", "/api/rlds/signed-url", {"content_type": "video/mp4"})
    problem(response, 422, "episode.content_type_unsupported")


def test_an_oversized_request_is_refused(robot: Robot) -> None:
    response = robot.call("POST", "/api/rlds/signed-url", {"metadata": {"x": "y" * 2_000_000}})
    problem(response, 413, "request.too_large")


def test_a_forged_page_token_is_refused(robot: Robot) -> None:
    for path in ("/api/v1/episodes", "/api/v1/robots"):
        response = robot.owner.call("GET", path, params={"page_token": "forged"})
        problem(response, 422, "request.page_token_invalid")


def test_a_list_is_read_to_its_end_page_by_page(product: Product, robot: Robot) -> None:
    wanted = [episode_id(robot.grant(metadata={})) for _ in range(5)]
    seen, token = [], None
    while True:
        query = {"page_size": "2", **({"page_token": token} if token else {})}
        answer = robot.owner.call("GET", "/api/v1/episodes", params=query).json()
        seen += [entry["episode_id"] for entry in answer["episodes"]]
        token = answer["next_page_token"]
        if token is None:
            break
    assert seen == list(reversed(wanted))
    assert product.account().call("GET", "/api/v1/episodes").json()["episodes"] == []


_UNUSUAL = {
    "note": "caf\u00e9 \N{SNOWMAN}",
    "matrix": [[1, 2], [3, [4, {"x": None}]]],
    "__name__": {"": 1},
}


def test_announced_metadata_of_unusual_shape_is_kept(robot: Robot) -> None:
    metadata = {**_UNUSUAL, "big": 2**64}
    grant = robot.grant(metadata=metadata)
    path = f"/api/v1/episodes/{episode_id(grant)}"
    assert robot.owner.call("GET", path).json()["metadata"] == metadata


def test_recorded_metadata_of_unusual_shape_is_kept(
    product: Product, robot: Robot, episode: SmallEpisode
) -> None:
    assert episode.episode_id is not None
    data = SmallEpisode(episode.episode_id, robot.id, metadata=_UNUSUAL).archive()
    robot.upload_archive(data, episode_id=episode.episode_id)
    product.settled(episode.episode_id)
    shown = robot.owner.call("GET", f"/api/v1/episodes/{episode.episode_id}").json()
    assert shown["status"] == "validated"
    assert _UNUSUAL.items() <= shown["metadata"].items()


def test_announced_metadata_with_no_json_number_does_not_break_its_owners_list(
    robot: Robot,
) -> None:
    body = b'{"metadata": {"x": NaN, "y": Infinity}}'
    headers = robot.device.headers("POST", "/api/rlds/signed-url", body)
    headers["content-type"] = "application/json"
    response = robot.product.http.post("/api/rlds/signed-url", content=body, headers=headers)
    assert response.status_code in {200, 422}
    assert robot.owner.call("GET", "/api/v1/episodes").status_code == 200
