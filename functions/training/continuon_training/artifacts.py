"""Checkpoints and results: announced, uploaded by signed URL, and checked before they count."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from google.api_core import exceptions

from continuon import limits
from continuon.contracts.episodes import SignedUpload
from continuon.contracts.training import ArtifactResponse
from continuon.errors import FieldProblem, ProblemError
from continuon.platform.firestore import RPC, firestore_client, firestore_errors
from continuon.platform.objects import ObjectStore
from continuon.platform.storage import url_signer
from continuon_training.errors import ARTIFACT_INCOMPLETE, ARTIFACT_MISMATCH, ARTIFACT_UNKNOWN
from continuon_training.records import ArtifactRecord
from continuon_training.settings import settings
from continuon_training.store import JOBS

if TYPE_CHECKING:
    from google.cloud.firestore import AsyncDocumentReference

    from continuon.contracts.training import ArtifactRequest
    from continuon_training.records import JobRecord

__all__ = ["announce", "complete", "read_url"]

_CONTENT_TYPE: Final = "application/octet-stream"


def _reference(job_id: str, ref: str) -> AsyncDocumentReference:
    # A hash, because a reference is an object's name and holds slashes.
    name = hashlib.sha256(ref.encode()).hexdigest()[:32]
    path = (JOBS, job_id, "artifacts", name)
    reference: AsyncDocumentReference = firestore_client().document(*path)
    return reference


async def announce(record: JobRecord, request: ArtifactRequest, now: datetime) -> ArtifactResponse:
    """Write down what is going to be stored, and answer with the right to store it.

    The same announcement again renews the URL. The URL is bound to the length, and stores its
    object once: nothing that is there is replaced.

    Raises:
        ProblemError: ``artifact.mismatch``.
    """
    ref = f"training/{record.job_id}/{record.attempt}/{request.name}"
    wanted = ArtifactRecord(ref=ref, attempt=record.attempt, **request.model_dump())
    reference, present = _reference(record.job_id, ref), False
    try:
        with firestore_errors():
            await reference.create(wanted.model_dump(), **RPC)
    except exceptions.AlreadyExists:
        known = await _find(record.job_id, ref)
        if known is None or (known.size_bytes, known.sha256) != (
            wanted.size_bytes,
            wanted.sha256,
        ):
            raise ProblemError(ARTIFACT_MISMATCH) from None
        present = await _objects().stat(ref) is not None
    upload = await asyncio.to_thread(_signed, wanted, already_uploaded=present)
    lifetime = timedelta(seconds=limits.UPLOAD_URL_TTL_S)
    return ArtifactResponse(ref=ref, upload=upload, expires_at=now + lifetime)


def _signed(wanted: ArtifactRecord, *, already_uploaded: bool) -> SignedUpload:
    size = str(wanted.size_bytes)
    resumable = wanted.size_bytes >= limits.RESUMABLE_THRESHOLD_BYTES
    headers = {
        "content-type": _CONTENT_TYPE,
        "x-goog-if-generation-match": "0",
        "x-goog-content-length-range": f"{size},{size}",
    }
    if resumable:
        headers["x-goog-resumable"] = "start"
    url = url_signer(settings().continuon_rlds_bucket).sign(
        wanted.ref,
        method="POST" if resumable else "PUT",
        lifetime=timedelta(seconds=limits.UPLOAD_URL_TTL_S),
        headers=headers,
    )
    return SignedUpload(
        path=wanted.name,
        url=url,
        method="POST" if resumable else "PUT",
        headers=headers,
        resumable=resumable,
        already_uploaded=already_uploaded,
    )


async def complete(job_id: str, ref: str, *, field: str) -> ArtifactRecord:
    """Return the record of an object that is stored as it was announced for this job.

    Raises:
        ProblemError: ``artifact.unknown`` or ``artifact.incomplete``, naming ``field``.
    """
    record = await _find(job_id, ref)
    if record is None:
        error = FieldProblem(ARTIFACT_UNKNOWN.code, field, "was not announced for this job")
        raise ProblemError(ARTIFACT_UNKNOWN, errors=[error])
    await _verify(record, field)
    return record


async def _verify(record: ArtifactRecord, field: str) -> None:
    objects = _objects()
    stored = await objects.stat(record.ref)
    if stored is None:
        raise _incomplete(field, "is not stored; its upload did not end")
    if stored.size_bytes != record.size_bytes:
        raise _incomplete(field, f"has {stored.size_bytes} bytes, not {record.size_bytes}")
    if stored.size_bytes > limits.VERIFY_ARTIFACT_BYTES:
        return
    found = await objects.sha256(stored)
    if found != record.sha256:
        raise _incomplete(field, f"has the SHA-256 {found}, not {record.sha256}")


def _incomplete(field: str, message: str) -> ProblemError:
    error = FieldProblem(ARTIFACT_INCOMPLETE.code, field, message)
    return ProblemError(ARTIFACT_INCOMPLETE, f"The object {message}.", errors=[error])


async def _find(job_id: str, ref: str) -> ArtifactRecord | None:
    with firestore_errors():
        snapshot = await _reference(job_id, ref).get(**RPC)
    data = snapshot.to_dict()
    return ArtifactRecord.model_validate(data) if data else None


def _objects() -> ObjectStore:
    return ObjectStore(settings().continuon_rlds_bucket)


async def read_url(ref: str, *, generation: int | None = None) -> str:
    """Return a signed URL that reads a stored object, or exactly that generation of it."""
    signer = url_signer(settings().continuon_rlds_bucket)
    lifetime = timedelta(seconds=limits.DOWNLOAD_URL_TTL_S)
    query = None if generation is None else {"generation": str(generation)}
    return await asyncio.to_thread(signer.sign, ref, method="GET", lifetime=lifetime, query=query)
