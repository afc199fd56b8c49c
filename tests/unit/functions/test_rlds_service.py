"""Decisions about episodes: what a grant allows, who may renew it, what one ingest is."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from continuon import limits
from continuon.auth.principals import RobotPrincipal, UserPrincipal
from continuon.contracts.episodes import EpisodeStatus, SignedUrlRequest
from continuon.errors import ProblemError
from continuon_rlds import service
from continuon_rlds.layout import (
    archive_name,
    parse_raw_name,
    raw_prefix,
    rejected_report_name,
    validated_prefix,
)

if TYPE_CHECKING:
    from continuon_rlds.records import EpisodeRecord

NOW = datetime(2026, 1, 4, 12, 0, 0, tzinfo=UTC)
ROBOT = RobotPrincipal("14d4b680", "owner-1", "arm")
OWNER = UserPrincipal("owner-1")
SHA = "a" * 64


def announced(
    *,
    robot_id: str = ROBOT.robot_id,
    owner_id: str = ROBOT.owner_id,
    idempotency_key: str | None = None,
    **request: Any,
) -> EpisodeRecord:
    return service.announce(
        SignedUrlRequest.model_validate({"episode_id": "ep_1", **request}),
        robot_id=robot_id,
        owner_id=owner_id,
        robot_model="arm",
        idempotency_key=idempotency_key,
        now=NOW,
    )


def folder(*paths: str, size_bytes: int = 7) -> list[dict[str, Any]]:
    return [{"path": path, "size_bytes": size_bytes, "sha256": SHA} for path in paths]


# --- Grants -------------------------------------------------------------------------------------


def test_a_grant_is_bound_to_type_length_and_an_empty_place() -> None:
    record = announced(content_type="application/zip", size_bytes=812)
    (grant,) = service.grants(record, force_resumable=False)
    assert grant.object_name == "episodes/raw/14d4b680/ep_1/episode.zip"
    assert grant.method == "PUT"
    assert dict(grant.headers) == {
        "content-type": "application/zip",
        "x-goog-content-length-range": "812,812",
        "x-goog-if-generation-match": "0",
    }


def test_a_grant_without_a_size_is_bound_to_the_largest_object() -> None:
    (grant,) = service.grants(announced(), force_resumable=False)
    assert grant.headers["x-goog-content-length-range"] == f"1,{limits.MAX_OBJECT_BYTES}"


def test_every_file_of_a_folder_has_its_own_grant() -> None:
    record = announced(files=folder("steps/000000.jsonl", "blobs/a.jpg", "metadata.json"))
    grants = service.grants(record, force_resumable=False)
    assert [grant.object_name for grant in grants] == [
        "episodes/raw/14d4b680/ep_1/steps/000000.jsonl",
        "episodes/raw/14d4b680/ep_1/blobs/a.jpg",
        "episodes/raw/14d4b680/ep_1/metadata.json",
    ]
    assert {grant.headers["x-goog-content-length-range"] for grant in grants} == {"7,7"}
    assert {grant.headers["x-goog-if-generation-match"] for grant in grants} == {"0"}


@pytest.mark.parametrize(
    ("size", "forced", "resumable"),
    [
        (limits.RESUMABLE_THRESHOLD_BYTES - 1, False, False),
        (limits.RESUMABLE_THRESHOLD_BYTES, False, True),
        (limits.MAX_OBJECT_BYTES, False, True),
        (1, True, True),
        (None, True, True),
        (None, False, False),
    ],
)
def test_large_objects_and_breaking_links_get_a_session(
    size: int | None, *, forced: bool, resumable: bool
) -> None:
    (grant,) = service.grants(announced(size_bytes=size), force_resumable=forced)
    assert grant.resumable is resumable
    assert grant.method == ("POST" if resumable else "PUT")
    assert ("x-goog-resumable" in grant.headers) is resumable
    assert grant.headers["x-goog-if-generation-match"] == "0"


# --- Identity -----------------------------------------------------------------------------------


def test_a_robot_uploads_for_itself_named_or_not() -> None:
    for named in (None, ROBOT.robot_id):
        assert service.target_robot(SignedUrlRequest(robot_id=named), ROBOT) == ROBOT.robot_id


def test_a_robot_never_uploads_for_another() -> None:
    request = SignedUrlRequest(robot_id="another")
    with pytest.raises(ProblemError) as caught:
        service.target_robot(request, ROBOT)
    assert caught.value.type.code == "episode.robot_mismatch"
    assert caught.value.type.status == 403
    assert caught.value.errors[0].path == "robot_id"


def test_a_person_names_the_robot() -> None:
    assert service.target_robot(SignedUrlRequest(robot_id="14d4b680"), OWNER) == "14d4b680"
    request = SignedUrlRequest()
    with pytest.raises(ProblemError) as caught:
        service.target_robot(request, OWNER)
    assert caught.value.type.code == "episode.robot_required"


def test_only_owner_and_recording_robot_may_read() -> None:
    record = announced()
    assert service.may_read(record, OWNER)
    assert service.may_read(record, ROBOT)
    assert not service.may_read(record, UserPrincipal("owner-2"))
    assert not service.may_read(record, RobotPrincipal("another", "owner-1", "arm"))


def test_a_robot_that_changed_hands_does_not_read_its_former_owners_episodes() -> None:
    assert not service.may_read(announced(), RobotPrincipal("14d4b680", "owner-2", "arm"))


# --- Episode ids --------------------------------------------------------------------------------


def test_a_minimal_request_gets_a_minted_id() -> None:
    first, second = announced(episode_id=None), announced(episode_id=None)
    assert first.episode_id != second.episode_id
    assert first.upload.episode_id_is_minted
    assert not announced().upload.episode_id_is_minted


def test_an_idempotency_key_gives_one_id_for_each_robot() -> None:
    def minted(robot_id: str, key: str) -> str:
        return announced(robot_id=robot_id, idempotency_key=key, episode_id=None).episode_id

    assert minted("a", "key-00001") == minted("a", "key-00001")
    assert minted("a", "key-00001") != minted("a", "key-00002")
    assert minted("a", "key-00001") != minted("b", "key-00001")


# --- Renewal ------------------------------------------------------------------------------------


def test_asking_again_for_the_same_upload_renews_it() -> None:
    files = folder("metadata.json", "steps.jsonl")
    service.check_renewal(announced(files=files), announced(files=list(reversed(files))))
    service.check_renewal(announced(size_bytes=9), announced(size_bytes=9))


@pytest.mark.parametrize("other", [{"robot_id": "another"}, {"owner_id": "owner-2"}])
def test_another_robots_episode_id_is_taken(other: dict[str, str]) -> None:
    existing, wanted = announced(), announced(**other)
    with pytest.raises(ProblemError) as caught:
        service.check_renewal(existing, wanted)
    assert (caught.value.type.code, caught.value.type.status) == ("episode.id_taken", 409)
    assert caught.value.errors[0].path == "episode_id"


@pytest.mark.parametrize("status", [s for s in EpisodeStatus if s is not EpisodeStatus.RAW])
def test_a_settled_episode_is_not_renewed(status: EpisodeStatus) -> None:
    existing, wanted = announced().model_copy(update={"status": status}), announced()
    with pytest.raises(ProblemError) as caught:
        service.check_renewal(existing, wanted)
    assert caught.value.type.code == "episode.settled"


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        ({"size_bytes": 9}, {"size_bytes": 8}, "content_type"),
        ({"size_bytes": 9}, {}, "content_type"),
        ({}, {"content_type": "application/zip"}, "content_type"),
        ({"sha256": SHA}, {"sha256": "b" * 64}, "content_type"),
        ({"files": folder("metadata.json")}, {}, "files"),
        (
            {"files": folder("metadata.json", "steps.jsonl")},
            {"files": folder("metadata.json", "steps/000000.jsonl")},
            "files",
        ),
        (
            {"files": folder("metadata.json")},
            {"files": folder("metadata.json", "steps.jsonl")},
            "files",
        ),
    ],
)
def test_an_announced_upload_does_not_change(
    before: dict[str, Any], after: dict[str, Any], path: str
) -> None:
    existing, wanted = announced(**before), announced(**after)
    with pytest.raises(ProblemError) as caught:
        service.check_renewal(existing, wanted)
    assert caught.value.type.code == "episode.upload_mismatch"
    assert caught.value.errors[0].path == path


def test_another_content_type_of_one_archive_form_is_another_upload() -> None:
    # The signature binds the type, so a renewal would refuse what the first request allowed.
    existing = announced(content_type="application/gzip")
    wanted = announced(content_type="application/x-gzip")
    service.check_renewal(existing, wanted)
    (grant,) = service.grants(wanted, force_resumable=False)
    assert grant.headers["content-type"] == "application/x-gzip"


# --- Requests -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "",
        "notes.txt",
        "../metadata.json",
        "/metadata.json",
        "blobs/../metadata.json",
        "blobs/.hidden",
        "blobs//a.jpg",
        "blobs/",
        "blobs",
        "blobs/a b.jpg",
        "blobs/a%2Fb.jpg",
        "blobs\\a.jpg",
        "steps/1.jsonl",
        "manifest.json\n",
        "METADATA.json",
        "report.json",
        "blobs/" + "a" * 512,
    ],
)
def test_a_file_outside_the_layout_is_not_announced(path: str) -> None:
    request = {"files": folder("metadata.json", path)}
    with pytest.raises(ValidationError):
        SignedUrlRequest.model_validate(request)


_TOO_MANY = [f"blobs/{n}" for n in range(limits.MAX_FILES_PER_REQUEST)]


@pytest.mark.parametrize(
    "request_",
    [
        {"files": []},
        {"files": folder("metadata.json", "metadata.json")},
        # An episode without it would never be found complete.
        {"files": folder("steps.jsonl")},
        {"files": folder("metadata.json", size_bytes=-1)},
        {"files": folder("metadata.json", size_bytes=limits.MAX_MEMBER_BYTES + 1)},
        {
            "files": folder(
                "metadata.json", *(f"blobs/{n}" for n in range(limits.MAX_FILES_PER_REQUEST))
            )
        },
        {"size_bytes": 0},
        {"size_bytes": limits.MAX_OBJECT_BYTES + 1},
        {"robot_id": "../x"},
        {"robot_id": "a\n"},
        {"episode_id": "a/b"},
        {"episode_id": "__x__"},
        {"content_type": "text/html\r\nx-goog-acl: public-read"},
        {"content_type": ""},
        {"sha256": "A" * 64},
        {"metadata": {"step_count": -1}},
        {"metadata": {"duration_ms": limits.MAX_DURATION_MS + 1}},
        {"metadata": []},
    ],
)
def test_a_request_beyond_the_limits_is_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SignedUrlRequest.model_validate(request_)


# --- Ingest keys and names ----------------------------------------------------------------------


def test_one_ingest_is_the_same_generations_in_any_order() -> None:
    objects = {f"episodes/raw/r/e/blobs/{n}": 1000 + n for n in range(20)}
    shuffled = list(objects.items())
    random.Random(7).shuffle(shuffled)  # noqa: S311 - an order, not a secret
    assert list(dict(shuffled)) != list(objects)
    assert service.ingest_key(dict(shuffled)) == service.ingest_key(objects)


def test_another_generation_or_another_object_is_another_ingest() -> None:
    keys = {
        service.ingest_key(objects)
        for objects in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1}, {"a#1": 1}, {})
    }
    assert len(keys) == 6


@pytest.mark.parametrize(
    ("content_type", "name"),
    [
        ("application/gzip", "episode.tar.gz"),
        ("application/x-gzip", "episode.tar.gz"),
        ("application/x-tar", "episode.tar"),
        ("application/zip", "episode.zip"),
        ("application/json", "episode.json"),
        ("application/json; charset=utf-8", "episode.json"),
    ],
)
def test_the_content_type_names_the_object(content_type: str, name: str) -> None:
    assert archive_name(content_type) == name


def test_an_unknown_content_type_is_refused() -> None:
    with pytest.raises(ProblemError) as caught:
        archive_name("text/html")
    assert caught.value.type.code == "episode.content_type_unsupported"
    assert caught.value.errors[0].path == "content_type"


@pytest.mark.parametrize("path", ["episode.zip", "metadata.json", "blobs/a/b.jpg"])
def test_a_raw_name_is_taken_apart(path: str) -> None:
    found = parse_raw_name(f"{raw_prefix('14d4b680', 'ep_1')}/{path}")
    assert found is not None
    assert (found.robot_id, found.episode_id, found.path) == ("14d4b680", "ep_1", path)
    assert found.is_archive is (path == "episode.zip")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "episodes/raw/14d4b680/ep_1",
        "episodes/raw/14d4b680/ep_1/",
        "episodes/raw/14d4b680//metadata.json",
        "episodes/raw/../ep_1/metadata.json",
        "episodes/raw/14d4b680/ep_1/episode.zip\n",
        f"{validated_prefix('14d4b680', 'ep_1')}/episode.zip",
        rejected_report_name("14d4b680", "ep_1"),
        "models/seed/x",
        "/episodes/raw/14d4b680/ep_1/metadata.json",
    ],
)
def test_any_other_name_is_no_raw_episodes(name: str) -> None:
    assert parse_raw_name(name) is None
