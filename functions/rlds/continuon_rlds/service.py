"""Decisions about episodes: pure, over contracts, records and a moment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from continuon import limits
from continuon.auth.principals import Principal, RobotPrincipal
from continuon.contracts.episodes import EpisodeStatus, SignedUrlRequest
from continuon.errors import FieldProblem, ProblemError
from continuon.identifiers import mint_episode_id
from continuon_rlds.errors import (
    EPISODE_ID_TAKEN,
    EPISODE_SETTLED,
    ROBOT_MISMATCH,
    ROBOT_REQUIRED,
    UPLOAD_MISMATCH,
)
from continuon_rlds.layout import archive_name, raw_prefix
from continuon_rlds.records import AnnouncedFile, EpisodeRecord, UploadRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from continuon.rlds import Report

__all__ = [
    "UploadGrant",
    "announce",
    "check_renewal",
    "grants",
    "ingest_key",
    "may_read",
    "target_robot",
    "verdict_fields",
]


@dataclass(frozen=True, slots=True)
class UploadGrant:
    """One signed upload to be made: the request that the URL will allow, and nothing else."""

    path: str
    object_name: str
    method: Literal["PUT", "POST"]
    headers: Mapping[str, str]

    @property
    def resumable(self) -> bool:
        """Whether the URL starts a resumable session."""
        return self.method == "POST"


def target_robot(request: SignedUrlRequest, principal: Principal) -> str:
    """Return the robot that the upload is for.

    A robot uploads for itself; a person names one of theirs (whether it is theirs is checked
    against its document, by the caller).

    Raises:
        ProblemError: ``episode.robot_mismatch`` or ``episode.robot_required``.
    """
    if isinstance(principal, RobotPrincipal):
        if request.robot_id not in (None, principal.robot_id):
            raise ProblemError(
                ROBOT_MISMATCH,
                errors=[
                    FieldProblem(ROBOT_MISMATCH.code, "robot_id", "is not the robot that signed")
                ],
            )
        return principal.robot_id
    if request.robot_id is None:
        raise ProblemError(
            ROBOT_REQUIRED,
            errors=[FieldProblem(ROBOT_REQUIRED.code, "robot_id", "must be one of your robots")],
        )
    return request.robot_id


def _episode_id(
    request: SignedUrlRequest, robot_id: str, idempotency_key: str | None, now: datetime
) -> str:
    if request.episode_id is not None:
        return request.episode_id
    if idempotency_key is None:
        return mint_episode_id(now)
    # The same key yields the same id, so a repeated request finds the first one's document.
    digest = hashlib.sha256(f"{robot_id}\n{idempotency_key}".encode()).hexdigest()
    return f"ep_{digest[:32]}"


def _announced_files(request: SignedUrlRequest) -> list[AnnouncedFile]:
    if request.files is None:
        return [
            AnnouncedFile(
                path=archive_name(request.content_type),
                size_bytes=request.size_bytes,
                sha256=request.sha256,
                content_type=request.content_type,
            )
        ]
    return [AnnouncedFile.model_validate(file.model_dump()) for file in request.files]


def announce(
    request: SignedUrlRequest,
    *,
    robot_id: str,
    owner_id: str,
    robot_model: str | None,
    idempotency_key: str | None,
    now: datetime,
) -> EpisodeRecord:
    """Return the record of an episode that is about to be uploaded.

    Raises:
        ProblemError: ``episode.content_type_unsupported``.
    """
    episode_id = _episode_id(request, robot_id, idempotency_key, now)
    return EpisodeRecord(
        episode_id=episode_id,
        robot_id=robot_id,
        owner_id=owner_id,
        robot_model=robot_model or None,
        status=EpisodeStatus.RAW,
        uploaded_at=now,
        metadata=request.metadata.model_dump(exclude_none=True),
        storage_ref=raw_prefix(robot_id, episode_id),
        upload=UploadRecord(
            files=_announced_files(request),
            is_archive=request.files is None,
            episode_id_is_minted=request.episode_id is None,
        ),
    )


def check_renewal(existing: EpisodeRecord, wanted: EpisodeRecord) -> None:
    """Decide whether ``wanted`` may renew the URLs of ``existing``.

    Raises:
        ProblemError: ``episode.id_taken``, ``episode.settled`` or ``episode.upload_mismatch``.
    """
    if (existing.robot_id, existing.owner_id) != (wanted.robot_id, wanted.owner_id):
        raise ProblemError(
            EPISODE_ID_TAKEN,
            errors=[FieldProblem(EPISODE_ID_TAKEN.code, "episode_id", "is another robot's")],
        )
    if existing.is_settled:
        raise ProblemError(EPISODE_SETTLED, f"The episode is {existing.status.value}.")
    before = {(f.path, f.size_bytes, f.sha256) for f in existing.upload.files}
    after = {(f.path, f.size_bytes, f.sha256) for f in wanted.upload.files}
    if before != after:
        path = "content_type" if existing.upload.is_archive else "files"
        raise ProblemError(
            UPLOAD_MISMATCH,
            errors=[FieldProblem(UPLOAD_MISMATCH.code, path, "differs from the first request")],
        )


def grants(record: EpisodeRecord, *, force_resumable: bool) -> list[UploadGrant]:
    """Return the uploads of ``record``, each bound to type, length and generation 0.

    Generation 0 means that the object must not exist: a URL can store its object once, and never
    replaces what is there.
    """
    return [_grant(record.storage_ref, file, force_resumable) for file in record.upload.files]


def _grant(prefix: str, file: AnnouncedFile, force_resumable: bool) -> UploadGrant:  # noqa: FBT001 - private, one caller
    size = file.size_bytes
    length_range = f"1,{limits.MAX_OBJECT_BYTES}" if size is None else f"{size},{size}"
    headers = {
        "content-type": file.content_type,
        "x-goog-content-length-range": length_range,
        "x-goog-if-generation-match": "0",
    }
    large = size is not None and size >= limits.RESUMABLE_THRESHOLD_BYTES
    name = f"{prefix}/{file.path}"
    if large or force_resumable:
        return UploadGrant(file.path, name, "POST", {**headers, "x-goog-resumable": "start"})
    return UploadGrant(file.path, name, "PUT", headers)


def ingest_key(objects: Mapping[str, int]) -> str:
    """Return the key of one ingest: the exact generations that it reads.

    Args:
        objects: Generation by object name.
    """
    lines = "\n".join(f"{name}#{generation}" for name, generation in sorted(objects.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def may_read(record: EpisodeRecord, principal: Principal) -> bool:
    """Say whether ``principal`` may see the episode: its owner, or the robot that recorded it.

    A robot that has changed hands since does not see its former owner's episodes.
    """
    if isinstance(principal, RobotPrincipal):
        return (record.robot_id, record.owner_id) == (principal.robot_id, principal.owner_id)
    return record.owner_id == principal.uid


def verdict_fields(
    report: Report, *, storage_ref: str, report_ref: str, now: datetime
) -> dict[str, Any]:
    """Return the document fields that a verdict sets."""
    problems = {finding.code for finding in report.problems}
    status = EpisodeStatus.VALIDATED if report.is_valid else EpisodeStatus.REJECTED
    return {
        "status": status.value,
        "validated_at": now,
        # What the recording says wins over what was announced before it was read.
        "metadata": report.metadata or {},
        "storage_ref": storage_ref,
        "report_ref": report_ref,
        "steps": report.counts.steps,
        "duration_ms": report.duration_ms,
        "size_bytes": report.bytes,
        "sha256": report.sha256,
        "quality": report.quality.score if report.quality else None,
        "training_eligible": report.is_valid and report.eligibility.training_eligible,
        "problems": {code: n for code, n in report.totals.items() if code in problems},
        "warnings": {code: n for code, n in report.totals.items() if code not in problems},
    }
