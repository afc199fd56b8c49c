"""Decisions about models, versions and aliases: pure, over contracts, records and a moment."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from continuon import limits
from continuon.contracts.models import (
    CreateVersionRequest,
    Lineage,
    VersionStage,
    VersionStatus,
)
from continuon.errors import FieldProblem, ProblemError
from continuon_models.errors import (
    ALIAS_MOVED,
    CHECKSUM_MISMATCH,
    MODEL_EXISTS,
    MODEL_ID_TAKEN,
    ROBOT_MODEL_MISMATCH,
    UPLOAD_MISMATCH,
    VERSION_DELETED,
    VERSION_PENDING,
    VERSION_READY,
)
from continuon_models.layout import (
    default_model_id,
    file_name_of,
    format_of,
    object_name,
)
from continuon_models.records import AliasRecord, ModelRecord, VersionRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from continuon.contracts.models import CreateModelRequest, SetAliasRequest
    from continuon_models.records import JobArtifactRecord, JobRecord

__all__ = [
    "TRAINING",
    "UploadGrant",
    "alias_removed",
    "alias_set",
    "check_checksum",
    "check_fits",
    "check_same_model",
    "check_served",
    "check_size",
    "check_uploadable",
    "job_key",
    "model_of_job",
    "new_model",
    "request_fingerprint",
    "request_key",
    "upload_grant",
    "usable_metrics",
    "usable_notes",
    "version_of_job",
    "version_of_request",
]

TRAINING: Final = "training"
"""Who made the versions that no person registered."""

_SEED_JOB: Final = "seed"
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_METRIC_NAME: Final = re.compile(r"^[A-Za-z][A-Za-z0-9_./-]{0,63}$")


# --- Models -------------------------------------------------------------------------------------


def new_model(request: CreateModelRequest, *, owner_id: str, now: datetime) -> ModelRecord:
    """Return the record of a new model."""
    return ModelRecord(
        model_id=request.model_id,
        owner_id=owner_id,
        robot_model=request.robot_model,
        name=request.name or request.model_id,
        created_at=now,
        updated_at=now,
    )


def check_same_model(existing: ModelRecord, wanted: ModelRecord) -> None:
    """Decide whether a creation that found ``existing`` is the repetition of the one that made it.

    Raises:
        ProblemError: ``model.id_taken`` or ``model.exists``.
    """
    if existing.owner_id != wanted.owner_id:
        field = FieldProblem(MODEL_ID_TAKEN.code, "model_id", "is another account's")
        raise ProblemError(MODEL_ID_TAKEN, errors=[field])
    if (existing.robot_model, existing.name) != (wanted.robot_model, wanted.name):
        field = FieldProblem(MODEL_EXISTS.code, "model_id", f"is for {existing.robot_model}")
        raise ProblemError(MODEL_EXISTS, errors=[field])


# --- Versions -----------------------------------------------------------------------------------


def request_key(owner_id: str, idempotency_key: str) -> str:
    """Return the id of the registration that a request with this ``Idempotency-Key`` makes."""
    return hashlib.sha256(f"request\n{owner_id}\n{idempotency_key}".encode()).hexdigest()


def job_key(job_id: str) -> str:
    """Return the id of the registration of a job: a job makes at most one version of a model."""
    return hashlib.sha256(f"job\n{job_id}".encode()).hexdigest()


def request_fingerprint(request: CreateVersionRequest) -> str:
    """Return a digest of what was asked, to tell a repetition from a key that is used twice."""
    return hashlib.sha256(request.model_dump_json().encode()).hexdigest()


def version_of_request(
    request: CreateVersionRequest, model: ModelRecord, version: int, *, by: str, now: datetime
) -> VersionRecord:
    """Return the record of a version that a person registers; its artifact follows."""
    return VersionRecord(
        model_id=model.model_id,
        version=version,
        owner_id=model.owner_id,
        status=VersionStatus.PENDING,
        created_at=now,
        created_by=by,
        storage_ref=object_name(request.stage, model.model_id, version, request.file_name),
        **request.model_dump(exclude={"lineage"}),
        lineage=request.lineage,
    )


@dataclass(frozen=True, slots=True)
class UploadGrant:
    """The one request that an upload URL allows."""

    method: Literal["PUT", "POST"]
    headers: Mapping[str, str]

    @property
    def resumable(self) -> bool:
        """Whether the URL starts a resumable session."""
        return self.method == "POST"


def upload_grant(record: VersionRecord, *, force_resumable: bool) -> UploadGrant:
    """Return the upload of ``record``: bound to length, checksums and generation 0.

    Generation 0 means that the object must not exist. A single request is bound to the SHA-256 as
    well; a session is started by an empty one, so there the CRC32C has to do.
    """
    size = record.size_bytes
    headers = {
        "content-type": "application/octet-stream",
        "x-goog-content-length-range": f"{size},{size}",
        "x-goog-if-generation-match": "0",
    }
    if record.crc32c is not None:
        headers["x-goog-hash"] = f"crc32c={record.crc32c}"
    if force_resumable or size >= limits.RESUMABLE_THRESHOLD_BYTES:
        return UploadGrant("POST", {**headers, "x-goog-resumable": "start"})
    return UploadGrant("PUT", {**headers, "x-goog-content-sha256": record.sha256})


def check_uploadable(record: VersionRecord) -> None:
    """Decide whether an artifact may still be uploaded.

    Raises:
        ProblemError: ``model.version_ready`` or ``model.version_deleted``.
    """
    if record.status is VersionStatus.READY:
        raise ProblemError(VERSION_READY)
    if record.status is VersionStatus.DELETED:
        raise ProblemError(VERSION_DELETED)


def check_served(record: VersionRecord) -> None:
    """Decide whether a version may be used: downloaded, or pointed at.

    Raises:
        ProblemError: ``model.version_pending`` or ``model.version_deleted``.
    """
    if record.status is VersionStatus.PENDING:
        raise ProblemError(VERSION_PENDING)
    if record.status is VersionStatus.DELETED:
        raise ProblemError(VERSION_DELETED)


def check_size(record: VersionRecord, size_bytes: int, crc32c: str | None) -> None:
    """Decide whether a stored object can be the artifact, by what its listing says.

    Raises:
        ProblemError: ``model.upload_mismatch`` or ``model.checksum_mismatch``.
    """
    if size_bytes != record.size_bytes:
        message = f"{record.size_bytes} were registered, {size_bytes} are stored"
        field = FieldProblem(UPLOAD_MISMATCH.code, "size_bytes", message)
        raise ProblemError(UPLOAD_MISMATCH, errors=[field])
    if record.crc32c is not None and crc32c != record.crc32c:
        message = f"{record.crc32c} was registered, {crc32c} is stored"
        field = FieldProblem(CHECKSUM_MISMATCH.code, "crc32c", message)
        raise ProblemError(CHECKSUM_MISMATCH, errors=[field])


def check_checksum(record: VersionRecord, sha256: str) -> None:
    """Decide whether a stored object is the artifact, by its content.

    Raises:
        ProblemError: ``model.checksum_mismatch``.
    """
    if sha256 != record.sha256:
        field = FieldProblem(CHECKSUM_MISMATCH.code, "checksum", f"sha256:{sha256} is stored")
        raise ProblemError(CHECKSUM_MISMATCH, errors=[field])


# --- Results of training ------------------------------------------------------------------------


def model_of_job(job: JobRecord, now: datetime) -> ModelRecord:
    """Return the model that a job's result is a version of, as it would be made."""
    config = job.config
    return ModelRecord(
        model_id=config.model_id or default_model_id(config.robot_model, job.owner_id),
        owner_id=job.owner_id,
        robot_model=config.robot_model,
        name=config.model_id or config.robot_model,
        created_at=now,
        updated_at=now,
    )


def check_fits(model: ModelRecord, job: JobRecord) -> None:
    """Decide whether a job's result may be a version of ``model``.

    Raises:
        ProblemError: ``model.id_taken`` or ``model.robot_model_mismatch``.
    """
    if model.owner_id != job.owner_id:
        raise ProblemError(MODEL_ID_TAKEN)
    if model.robot_model != job.config.robot_model:
        message = (
            f"{model.model_id} is for {model.robot_model}, the job for {job.config.robot_model}."
        )
        raise ProblemError(ROBOT_MODEL_MISMATCH, message)


def version_of_job(
    job: JobRecord,
    artifact: JobArtifactRecord,
    model: ModelRecord,
    version: int,
    *,
    crc32c: str | None,
    notes: str = "",
    now: datetime,
) -> VersionRecord:
    """Return the record of the version that a job made; its artifact is copied next."""
    stage = VersionStage.SEED if job.type == _SEED_JOB else VersionStage.PRODUCTION
    file_name = file_name_of(artifact.ref)
    return VersionRecord(
        model_id=model.model_id,
        version=version,
        owner_id=model.owner_id,
        status=VersionStatus.PENDING,
        stage=stage,
        created_at=now,
        created_by=TRAINING,
        file_name=file_name,
        format=format_of(file_name),
        size_bytes=artifact.size_bytes,
        checksum=f"sha256:{artifact.sha256}",
        crc32c=crc32c,
        storage_ref=object_name(stage, model.model_id, version, file_name),
        metrics=usable_metrics(job.output.metrics),
        training_job_id=job.job_id,
        release_notes=notes,
        # As training resolved it; its own limit on a job's episodes is the same as ours.
        lineage=Lineage.model_construct(
            episode_ids=job.config.episode_ids,
            episodes_digest=job.config.episodes_digest,
            model_base=job.config.model_base,
        ),
    )


def usable_notes(card: bytes) -> str:
    """Return a model card as release notes: text, without control characters, not too long."""
    text = card.decode("utf-8", "replace").replace("\r\n", "\n")
    return _CONTROL.sub("", text)[: limits.MODEL_MAX_NOTES_CHARS].strip()


def usable_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite, plainly named numbers among what a trainer reported."""
    usable = {
        name: float(value)
        for name, value in metrics.items()
        if _METRIC_NAME.fullmatch(name)
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }
    return dict(sorted(usable.items())[: limits.MODEL_MAX_METRICS])


# --- Aliases ------------------------------------------------------------------------------------


def alias_set(
    present: AliasRecord | None,
    alias: str,
    target: VersionRecord,
    request: SetAliasRequest,
    *,
    by: str,
    now: datetime,
) -> AliasRecord | None:
    """Return the alias once it points at ``target``; None when it does already.

    Raises:
        ProblemError: ``model.version_pending``, ``model.version_deleted`` or ``model.alias_moved``.
    """
    check_served(target)
    points_at = present.version if present else None
    if points_at == target.version:
        # A repeated request: its first answer was lost.
        return None
    expected = request.expected_version
    if expected is not None and expected != (points_at or 0):
        where = f"points at version {points_at}" if points_at else "points nowhere"
        field = FieldProblem(ALIAS_MOVED.code, "expected_version", f"{alias} {where}")
        raise ProblemError(ALIAS_MOVED, errors=[field])
    first = AliasRecord(
        model_id=target.model_id,
        alias=alias,
        owner_id=target.owner_id,
        revision=0,
        version=None,
        at=now,
        by=by,
        reason="",
    )
    return _moved(present or first, target.version, by=by, reason=request.reason, now=now)


def alias_removed(present: AliasRecord, *, by: str, reason: str, now: datetime) -> AliasRecord:
    """Return the alias once it points nowhere."""
    return _moved(present, None, by=by, reason=reason, now=now)


def _moved(
    present: AliasRecord, version: int | None, *, by: str, reason: str, now: datetime
) -> AliasRecord:
    # As precise as answers show it, so that asking about a moment that was shown finds it. Two
    # servers' clocks differ: each change is later than the one before it.
    at = now.replace(microsecond=now.microsecond // 1000 * 1000)
    if present.revision:
        at = max(at, present.at + timedelta(milliseconds=1))
    return present.model_copy(
        update={
            "revision": present.revision + 1,
            "version": version,
            "previous_version": present.version,
            "at": at,
            "by": by,
            "reason": reason,
        }
    )
