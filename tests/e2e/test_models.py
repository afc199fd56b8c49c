"""Models through the gateway: versions, uploads, downloads, aliases, lineage, ownership."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from model_registry import MODELS, OwnedModel, crc32c, new_model
from product import problem, store

if TYPE_CHECKING:
    from product import Account, Product

LARGE = bytes(range(256)) * 40_000
"""10.24 MB: above the size from which uploads are resumable."""


@pytest.fixture
def model(owner: Account) -> OwnedModel:
    return new_model(owner)


# --- Versions -----------------------------------------------------------------------------------


def test_a_registered_version_is_served_byte_for_byte(model: OwnedModel) -> None:
    ready = model.release(b"weights", metrics={"loss": 0.5}, release_notes="first")
    assert (ready["version"], ready["status"], ready["metrics"]) == (1, "ready", {"loss": 0.5})
    granted = model.call("GET", "/1/download").json()
    assert httpx.get(granted["url"], timeout=30).content == b"weights"
    assert granted["checksum"] == ready["checksum"]
    part = httpx.get(granted["url"], headers={"range": "bytes=2-4"}, timeout=30)
    assert (part.status_code, part.content) == (206, b"igh")


@pytest.mark.slow
def test_numbers_have_no_gaps_however_many_register_at_once(model: OwnedModel) -> None:
    def announce(number: int) -> int:
        version: int = model.announce(f"weights {number}".encode())["version"]
        return version

    with ThreadPoolExecutor(12) as pool:
        numbers = list(pool.map(announce, range(24)))
    assert sorted(numbers) == list(range(1, 25))
    assert model.call("GET", "").json()["latest_version"] == 24


def test_one_idempotency_key_registers_one_version(model: OwnedModel) -> None:
    def announce(data: bytes) -> httpx.Response:
        headers = {
            "idempotency-key": "key-12345678",
            "authorization": f"Bearer {model.owner.token}",
        }
        path = f"{MODELS}/{model.id}/versions"
        request = model.request(data)
        return model.owner.product.http.post(path, json=request, headers=headers)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(announce, [b"same"] * 4))
    assert {answer.status_code for answer in answers} == {201}
    assert {answer.json()["version"] for answer in answers} == {1}
    problem(announce(b"other"), 409, "model.key_reused")
    assert model.call("GET", "").json()["latest_version"] == 1


def test_a_pending_version_is_never_served(model: OwnedModel) -> None:
    model.announce(b"weights")
    problem(model.call("GET", "/1/download"), 409, "model.version_pending")
    problem(model.point("production", 1), 409, "model.version_pending")
    problem(model.complete(1), 409, "model.upload_incomplete")
    assert model.call("GET", "/versions/1").json()["status"] == "pending"


def test_the_url_takes_the_registered_bytes_only(model: OwnedModel) -> None:
    model.announce(b"weights", crc32c=crc32c(b"weights"))
    grant = model.grant(1)
    assert store(grant, b"WEIGHTS").status_code == 400
    assert store(grant, b"weights and more").status_code == 400
    assert store(grant, b"weights").status_code == 200
    assert store(grant, b"weights").status_code == 412, "nothing is replaced"


def test_other_bytes_in_a_session_are_found_out_and_removed(model: OwnedModel) -> None:
    # A session is started by an empty request: no URL can be bound to what it will take.
    version = model.announce(b"weights")["version"]
    store(model.grant(version, resumable=True), b"WEIGHTS").raise_for_status()
    problem(model.complete(version), 422, "model.checksum_mismatch")
    problem(model.complete(version), 409, "model.upload_incomplete")
    store(model.grant(version, resumable=True), b"weights").raise_for_status()
    assert model.complete(version).json()["status"] == "ready"


def test_an_object_of_another_size_is_refused(product: Product, model: OwnedModel) -> None:
    announced = model.announce(b"weights")
    bucket = product.storage.bucket("continuon-rlds")
    bucket.blob(announced["storage_ref"]).upload_from_string(b"weights, replaced by an operator")
    problem(model.complete(1), 422, "model.upload_mismatch")


def test_a_ready_version_is_not_changed_by_anything_a_caller_can_do(
    product: Product, model: OwnedModel
) -> None:
    ready = model.release(b"weights")
    before = product.objects(f"models/production/{model.id}/")
    response = model.call("POST", "/upload", json={"version": 1})
    problem(response, 409, "model.version_ready")
    assert model.complete(1).json() == ready
    changed = model.call("PATCH", "/versions/1", json={"release_notes": "n", "checksum": "x"})
    assert changed.json() == ready | {"release_notes": "n"}
    assert product.objects(f"models/production/{model.id}/") == before


@pytest.mark.slow
def test_a_large_artifact_goes_through_a_resumable_session(model: OwnedModel) -> None:
    version = model.announce(LARGE, crc32c=crc32c(LARGE))["version"]
    grant = model.grant(version)
    assert grant["resumable"]
    assert store(grant, LARGE[::-1]).status_code == 400
    store(model.grant(version), LARGE).raise_for_status()
    assert model.complete(version).json()["status"] == "ready"


def test_downloads_are_counted_without_writing_the_version(
    product: Product, model: OwnedModel
) -> None:
    model.release(b"weights")
    reference = product.firestore.document(f"models/{model.id}/versions/1")
    before = reference.get().update_time
    for _ in range(3):
        assert model.call("GET", "/1/download").status_code == 200
    assert model.call("GET", "/versions/1").json()["download_count"] == 3
    listed = model.call("GET", "/versions").json()["versions"]
    assert [one["download_count"] for one in listed] == [3]
    assert reference.get().update_time == before


def test_versions_are_listed_in_pages_newest_first(model: OwnedModel) -> None:
    for number in range(5):
        model.announce(f"{number}".encode())
    seen: list[int] = []
    query: dict[str, Any] = {"page_size": 2}
    while True:
        page = model.call("GET", "/versions", params=query).json()
        seen += [one["version"] for one in page["versions"]]
        if page["next_page_token"] is None:
            break
        query["page_token"] = page["next_page_token"]
    assert seen == [5, 4, 3, 2, 1]
    response = model.call("GET", "/versions", params={"page_token": "nonsense"})
    problem(response, 422, "request.page_token_invalid")


@pytest.mark.parametrize(
    "changes",
    [
        {"size_bytes": 0},
        {"size_bytes": 2 * 1024**3 + 1},
        {"checksum": "md5:" + "0" * 32},
        {"checksum": "sha256:" + "G" * 64},
        {"file_name": "../x"},
        {"file_name": "a/b"},
        {"format": ""},
        {"metrics": {"__x__": 1}},
        {"metrics": {"loss": "NaN"}},
        {"lineage": {"episode_ids": ["../x"]}},
        {"crc32c": "AAAA"},
        {"release_notes": "a\x1b[2Jb"},
    ],
)
def test_a_malformed_version_is_refused_and_takes_no_number(
    changes: dict[str, Any], model: OwnedModel
) -> None:
    response = model.call("POST", "/versions", json=model.request(b"weights", **changes))
    problem(response, 422, "request.invalid")
    assert model.call("GET", "").json()["latest_version"] == 0


# --- Aliases ------------------------------------------------------------------------------------


def test_an_alias_says_what_it_carried_at_any_time(model: OwnedModel) -> None:
    for data in (b"1", b"2"):
        model.release(data)
    before = datetime.now(UTC) - timedelta(minutes=1)
    moments = [model.point("production", n).json()["at"] for n in (1, 2, 1)]

    def at(moment: str) -> int:
        version: int = model.call("GET", f"/aliases/production?at={moment}").json()["version"]
        return version

    assert [at(moment) for moment in moments] == [1, 2, 1]
    assert at("2100-01-01T00:00:00Z") == 1
    early = before.isoformat().replace("+00:00", "Z")
    response = model.call("GET", f"/aliases/production?at={early}")
    problem(response, 404, "model.alias_not_found")
    history = model.call("GET", "/aliases/production/history").json()["changes"]
    assert [(c["revision"], c["version"], c["previous_version"]) for c in history] == [
        (3, 1, 2),
        (2, 2, 1),
        (1, 1, None),
    ]
    assert {c["by"] for c in history} == {model.owner.uid}
    assert [c["reason"] for c in history] == ["try 1", "try 2", "try 1"]


@pytest.mark.parametrize(
    "moment", ["2026-01-01T00:00:00", "9999-12-31T23:59:59-14:00", "yesterday", "1e400"]
)
def test_a_moment_without_a_zone_or_out_of_time_is_refused(moment: str, model: OwnedModel) -> None:
    response = model.call("GET", f"/aliases/production?at={moment}")
    problem(response, 422, "request.invalid")


@pytest.mark.parametrize("reason", ["", "   ", "a\x1b[2Jb", "a\nb", "x" * 501])
def test_a_reason_is_one_line_of_plain_text(reason: str, model: OwnedModel) -> None:
    model.release(b"1")
    problem(model.point("production", 1, reason=reason), 422, "request.invalid")
    problem(model.call("GET", "/aliases/production"), 404, "model.alias_not_found")


def test_of_two_who_expect_the_same_one_wins(model: OwnedModel) -> None:
    for data in (b"1", b"2", b"3"):
        model.release(data)
    model.point("production", 1)

    def move(version: int) -> int:
        return model.point("production", version, expected_version=1).status_code

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(move, (2, 3))) == [200, 409]
    assert len(model.call("GET", "/aliases/production/history").json()["changes"]) == 2


def test_every_move_of_many_at_once_is_in_the_history(model: OwnedModel) -> None:
    for data in (b"1", b"2"):
        model.release(data)

    def move(number: int) -> int:
        return model.point("canary", number % 2 + 1).status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(move, range(12))) == {200}
    changes = model.call("GET", "/aliases/canary/history?page_size=100").json()["changes"]
    assert [c["revision"] for c in changes] == list(range(len(changes), 0, -1))
    versions = [c["version"] for c in changes]
    assert [c["previous_version"] for c in changes] == [*versions[1:], None]
    times = [c["at"] for c in changes]
    assert sorted(set(times), reverse=True) == times
    assert model.call("GET", "/aliases/canary").json()["version"] == versions[0]


def test_a_version_under_an_alias_is_not_deleted(product: Product, model: OwnedModel) -> None:
    model.release(b"1")
    model.release(b"2")
    model.point("production", 1)
    response = model.call("DELETE", "/versions/1")
    body = problem(response, 409, "model.alias_points_here")
    assert [error["path"] for error in body["errors"]] == ["production"]
    assert model.call("GET", "/1/download").status_code == 200
    model.point("production", 2)
    assert model.call("DELETE", "/versions/1").status_code == 204
    assert model.call("DELETE", "/versions/1").status_code == 204
    problem(model.call("GET", "/1/download"), 410, "model.version_deleted")
    problem(model.point("production", 1), 410, "model.version_deleted")
    assert set(product.objects(f"models/production/{model.id}/")) == {
        f"models/production/{model.id}/2/policy.npz"
    }
    assert model.announce(b"3")["version"] == 3, "a number is never given out twice"


@pytest.mark.parametrize("number", range(3))
def test_a_deletion_that_races_with_an_alias_leaves_no_alias_on_nothing(
    number: int, model: OwnedModel
) -> None:
    version = model.release(f"{number}".encode())["version"]
    with ThreadPoolExecutor(2) as pool:
        pointed = pool.submit(model.point, "production", version)
        deleted = pool.submit(model.call, "DELETE", f"/versions/{version}")
        outcome = (pointed.result().status_code, deleted.result().status_code)
    assert outcome in {(200, 409), (410, 204)}


def test_a_removed_alias_points_nowhere_and_keeps_its_history(model: OwnedModel) -> None:
    model.release(b"1")
    model.point("canary", 1)
    assert model.call("DELETE", "/aliases/canary?reason=over").json()["version"] is None
    problem(model.call("GET", "/canary/download"), 404, "model.alias_not_found")
    assert model.call("GET", "/aliases").json() == {"aliases": []}
    assert len(model.call("GET", "/aliases/canary/history").json()["changes"]) == 2


def test_an_alias_may_be_called_like_a_part_of_the_path(model: OwnedModel) -> None:
    model.release(b"1")
    assert model.point("download", 1).status_code == 200
    assert model.call("GET", "/download/download").json()["version"] == 1
    assert model.call("GET", "/versions/download").json()["version"] == 1
    problem(model.point("versions", 1), 422, "request.invalid")


# --- Lineage ------------------------------------------------------------------------------------


def test_lineage_is_found_from_both_ends(owner: Account) -> None:
    base, other = new_model(owner), new_model(owner)
    episode = f"ep_{base.id}"
    first = base.release(b"1", lineage={"episode_ids": [episode, "ep_2", episode]})
    assert first["lineage"]["episode_ids"] == [episode, "ep_2"]
    other.release(b"2", lineage={"episode_ids": [episode], "model_base": first["model_ref"]})

    def found(**query: str) -> list[str]:
        answer = owner.call("GET", f"{MODELS}/versions", params=query).json()
        return [one["model_ref"] for one in answer["versions"]]

    used = [f"models/{other.id}/versions/1", f"models/{base.id}/versions/1"]
    assert found(episode_id=episode) == used
    assert found(model_base=first["model_ref"]) == used[:1]
    assert found(episode_id="ep_unknown") == []
    page = owner.call(
        "GET", f"{MODELS}/versions", params={"episode_id": episode, "page_size": 1}
    ).json()
    assert found(episode_id=episode, page_token=page["next_page_token"]) == used[1:]
    problem(owner.call("GET", f"{MODELS}/versions"), 422, "model.query_incomplete")


# --- Whose they are -----------------------------------------------------------------------------


def test_another_account_finds_nothing_and_changes_nothing(
    product: Product, model: OwnedModel
) -> None:
    model.release(b"weights", lineage={"episode_ids": ["ep_secret"]})
    model.point("production", 1)
    stranger = OwnedModel(product.account(), model.id)
    before = product.everything(without=frozenset({"nonces"}))
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "mine"}),
        ("GET", "/versions", None),
        ("POST", "/versions", model.request(b"x")),
        ("GET", "/versions/1", None),
        ("GET", "/versions/production", None),
        ("PATCH", "/versions/1", {"release_notes": "x"}),
        ("DELETE", "/versions/1", None),
        ("POST", "/versions/1/complete", None),
        ("POST", "/upload", {"version": 1}),
        ("GET", "/1/download", None),
        ("GET", "/production/download", None),
        ("GET", "/aliases", None),
        ("GET", "/aliases/production", None),
        ("GET", "/aliases/production?at=2100-01-01T00:00:00Z", None),
        ("PUT", "/aliases/production", {"version": 1, "reason": "x"}),
        ("DELETE", "/aliases/production?reason=x", None),
        ("GET", "/aliases/production/history", None),
    ):
        problem(stranger.call(method, path, json=body), 404, "model.not_found")
    assert stranger.owner.call("GET", MODELS).json()["models"] == []
    search = stranger.owner.call("GET", f"{MODELS}/versions?episode_id=ep_secret").json()
    assert search["versions"] == []
    request = {"model_id": model.id, "robot_model": "companion-v1"}
    problem(stranger.owner.call("POST", MODELS, json=request), 409, "model.id_taken")
    assert product.everything(without=frozenset({"nonces"})) == before


def test_making_the_same_model_again_answers_with_it(owner: Account) -> None:
    model = new_model(owner)
    first = model.call("GET", "").json()
    request = {"model_id": model.id, "robot_model": "companion-v1"}
    assert owner.call("POST", MODELS, json=request).json() == first
    other = owner.call("POST", MODELS, json=request | {"robot_model": "other"})
    problem(other, 409, "model.exists")
    time.sleep(0.002)  # so that the change has another millisecond
    renamed = model.call("PATCH", "", json={"name": "The tall one"}).json()
    assert renamed["name"] == "The tall one"
    assert renamed["updated_at"] > first["updated_at"]
    listed = owner.call("GET", MODELS).json()["models"]
    assert [one["model_id"] for one in listed] == [model.id]


def test_nobody_signed_in_gets_nothing(product: Product) -> None:
    problem(product.http.get(MODELS), 401, "auth.credentials_missing")
