"""Decisions about models: names, uploads, results of training, aliases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from continuon import limits
from continuon.contracts.models import (
    CreateModelRequest,
    CreateVersionRequest,
    SetAliasRequest,
    VersionStage,
    VersionStatus,
)
from continuon.errors import ProblemError
from continuon_models import layout, service
from continuon_models.records import AliasRecord, JobRecord, ModelRecord, VersionRecord

NOW = datetime(2026, 11, 21, 20, 0, 0, 123456, tzinfo=UTC)
SHA = "ab" * 32
MODEL = service.new_model(
    CreateModelRequest(model_id="m", robot_model="arm"), owner_id="olivia", now=NOW
)


def request(**changes: Any) -> CreateVersionRequest:
    fields = {"format": "npz", "size_bytes": 3, "checksum": f"sha256:{SHA}"}
    return CreateVersionRequest.model_validate(fields | changes)


def version(number: int = 1, **changes: Any) -> VersionRecord:
    made = service.version_of_request(request(), MODEL, number, by="olivia", now=NOW)
    return made.model_copy(update={"status": VersionStatus.READY} | changes)


def job(**changes: Any) -> JobRecord:
    fields = {
        "job_id": "job_" + "a" * 20,
        "owner_id": "olivia",
        "type": "seed",
        "status": "completed",
        "config": {"robot_model": "arm", "episode_ids": ["ep_1"], "episodes_digest": "d"},
        "output": {"artifact": {"ref": "training/j/1/policy.npz", "sha256": SHA, "size_bytes": 3}},
    }
    return JobRecord.model_validate(fields | changes)


def code(caught: pytest.ExceptionInfo[ProblemError]) -> str:
    return caught.value.type.code


# --- Names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "folder"),
    [
        (VersionStage.SEED, "seed"),
        (VersionStage.CHECKPOINT, "checkpoints"),
        (VersionStage.PRODUCTION, "production"),
    ],
)
def test_the_stage_decides_the_folder(stage: VersionStage, folder: str) -> None:
    assert layout.object_name(stage, "m", 3, "p.npz") == f"models/{folder}/m/3/p.npz"


@pytest.mark.parametrize(
    ("robot_model", "begins"),
    [
        ("companion-v1", "companion-v1-"),
        ("Arm One", "arm-one-"),
        ("___", "model-"),
        ("Ä", "model-"),
    ],
)
def test_a_model_id_is_derived_from_robot_model_and_owner(robot_model: str, begins: str) -> None:
    derived = layout.default_model_id(robot_model, "olivia")
    assert derived.startswith(begins)
    assert derived != layout.default_model_id(robot_model, "mallory")
    assert CreateModelRequest(model_id=layout.default_model_id("x" * 300, "o"), robot_model="x")


@pytest.mark.parametrize(
    ("ref", "name", "format_"),
    [
        ("training/j/1/policy.npz", "policy.npz", "npz"),
        ("a/policy.tar.gz", "policy.tar.gz", "tar.gz"),
        ("a/policy", "policy", "bin"),
        ("a/..", "model.bin", "bin"),
        ("", "model.bin", "bin"),
        ("a/Über policy.ONNX", "_ber_policy.ONNX", "onnx"),
        ("a/x.🤖", "x._", "bin"),
        ("a/x." + "y" * 200, "y" * 128, "bin"),
    ],
)
def test_a_file_name_is_made_safe(ref: str, name: str, format_: str) -> None:
    assert layout.file_name_of(ref) == name
    assert layout.format_of(name) == format_
    assert request(file_name=name, format=format_)


@pytest.mark.parametrize("model_id", ["", "M", "-a", ".a", "a/b", "versions", "a" * 64, "a\n"])
def test_an_id_that_cannot_be_part_of_a_path_is_refused(model_id: str) -> None:
    with pytest.raises(ValueError, match="model_id"):
        CreateModelRequest(model_id=model_id, robot_model="arm")


def test_the_ids_of_a_lineage_fit_a_document() -> None:
    ids = [f"ep_{number:0120d}" for number in range(6000)]
    with pytest.raises(ValueError, match="bytes together"):
        request(lineage={"episode_ids": ids})


# --- Uploads ------------------------------------------------------------------------------------


def test_an_upload_is_bound_to_length_digest_and_absence() -> None:
    grant = service.upload_grant(version(), force_resumable=False)
    assert (grant.method, dict(grant.headers)) == (
        "PUT",
        {
            "content-type": "application/octet-stream",
            "x-goog-content-length-range": "3,3",
            "x-goog-if-generation-match": "0",
            "x-goog-content-sha256": SHA,
        },
    )


def test_a_session_is_bound_to_the_crc32c_that_was_registered() -> None:
    large = version(size_bytes=limits.RESUMABLE_THRESHOLD_BYTES, crc32c="AAAAAA==")
    grant = service.upload_grant(large, force_resumable=False)
    assert grant.resumable
    assert grant.headers["x-goog-hash"] == "crc32c=AAAAAA=="


@pytest.mark.parametrize(
    ("status", "upload", "serve"),
    [
        (VersionStatus.PENDING, None, "model.version_pending"),
        (VersionStatus.READY, "model.version_ready", None),
        (VersionStatus.DELETED, "model.version_deleted", "model.version_deleted"),
    ],
)
def test_only_a_pending_version_is_uploaded_and_only_a_ready_one_served(
    status: VersionStatus, upload: str | None, serve: str | None
) -> None:
    for check, refusal in ((service.check_uploadable, upload), (service.check_served, serve)):
        found = None
        try:
            check(version(status=status))
        except ProblemError as problem:
            found = problem.type.code
        assert found == refusal


# --- Results of training ------------------------------------------------------------------------


def test_a_version_of_a_job_says_what_it_was_made_of() -> None:
    made = job(type="finetune", output=job().output.model_dump() | {"metrics": {"loss": 1}})
    artifact = made.output.artifact
    assert artifact is not None
    record = service.version_of_job(made, artifact, MODEL, 4, crc32c="AAAAAA==", now=NOW)
    assert record.storage_ref == "models/production/m/4/policy.npz"
    assert (record.training_job_id, record.created_by) == (made.job_id, "training")
    assert record.lineage.episode_ids == ["ep_1"]
    assert record.metrics == {"loss": 1.0}
    assert record.status is VersionStatus.PENDING


def test_a_job_that_ended_without_a_result_is_read_all_the_same() -> None:
    assert job(status="failed", output=None).output.artifact is None


def test_a_model_card_becomes_notes_whatever_is_in_it() -> None:
    assert service.usable_notes(b"# Card\r\n\tloss 1\n") == "# Card\n\tloss 1"
    assert service.usable_notes(b"\xff\x00a\x1b[2J\x9f") == "\ufffda[2J\ufffd"
    assert len(service.usable_notes(b"x" * 10**6)) == limits.MODEL_MAX_NOTES_CHARS
    assert request(release_notes=service.usable_notes(bytes(range(256)) * 100))


def test_only_finite_plain_numbers_become_metrics() -> None:
    told: dict[str, Any] = {
        "loss": 1,
        "eval/mse": 0.5,
        "nan": float("nan"),
        "inf": float("inf"),
        "yes": True,
        "text": "1",
        "__name__": 1.0,
        "": 1.0,
    }
    assert service.usable_metrics(told) == {"loss": 1.0, "eval/mse": 0.5}
    many = {f"m{number}": 1.0 for number in range(500)}
    assert len(service.usable_metrics(many)) == limits.MODEL_MAX_METRICS


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [({"owner_id": "mallory"}, "model.id_taken"), ({"robot_model": "leg"}, None)],
)
def test_a_result_is_no_version_of_a_model_it_does_not_fit(
    changes: dict[str, str], refusal: str | None
) -> None:
    other = MODEL.model_copy(update=changes)
    with pytest.raises(ProblemError) as caught:
        service.check_fits(other, job())
    assert code(caught) == (refusal or "model.robot_model_mismatch")


# --- Aliases ------------------------------------------------------------------------------------


def point(
    present: AliasRecord | None, target: VersionRecord, *, now: datetime = NOW, **changes: Any
) -> AliasRecord | None:
    asked = SetAliasRequest.model_validate(
        {"version": target.version, "reason": "because"} | changes
    )
    return service.alias_set(present, "production", target, asked, by="olivia", now=now)


def first() -> AliasRecord:
    made = point(None, version(1))
    assert made is not None
    return made


def test_the_first_entry_of_a_history_is_its_first_version() -> None:
    made = first()
    assert (made.revision, made.version, made.previous_version) == (1, 1, None)
    assert made.at == NOW.replace(microsecond=123_000), "as precise as it is shown"


def test_pointing_where_it_points_adds_nothing() -> None:
    assert point(first(), version(1), expected_version=7) is None


def test_each_move_is_later_than_the_one_before_whatever_the_clocks_say() -> None:
    made = first()
    moved = point(made, version(2), now=NOW - timedelta(hours=1))
    assert moved is not None
    assert moved.at == made.at + timedelta(milliseconds=1)
    assert (moved.revision, moved.version, moved.previous_version) == (2, 2, 1)


@pytest.mark.parametrize("expected", [0, 2])
def test_a_move_that_expected_something_else_is_refused(expected: int) -> None:
    present = first()
    with pytest.raises(ProblemError) as caught:
        point(present, version(3), expected_version=expected)
    assert code(caught) == "model.alias_moved"


def test_expecting_nothing_is_met_by_an_alias_that_was_removed() -> None:
    gone = service.alias_removed(first(), by="olivia", reason="over", now=NOW)
    assert gone.version is None
    moved = point(gone, version(2), expected_version=0)
    assert moved is not None
    assert (moved.revision, moved.previous_version) == (3, None)


@pytest.mark.parametrize("status", [VersionStatus.PENDING, VersionStatus.DELETED])
def test_an_alias_never_points_at_what_is_not_served(status: VersionStatus) -> None:
    target = version(1, status=status)
    with pytest.raises(ProblemError) as caught:
        point(None, target)
    assert code(caught) == f"model.version_{status.value}"


def test_the_same_model_again_is_a_repetition_and_another_one_is_not() -> None:
    def again(**changes: Any) -> ModelRecord:
        return MODEL.model_copy(update=changes)

    service.check_same_model(MODEL, again(created_at=NOW + timedelta(days=1)))
    for changes, refusal in (
        ({"owner_id": "mallory"}, "model.id_taken"),
        ({"robot_model": "leg"}, "model.exists"),
    ):
        with pytest.raises(ProblemError) as caught:
            service.check_same_model(MODEL, again(**changes))
        assert code(caught) == refusal
