"""From a completed training job to a version of a model, exactly once.

The steps, in order: check the artifact, make the model, take a number, copy, serve, tell the job.
Each can be repeated, and is skipped or repeats itself harmlessly when an earlier delivery died
after it:

* the **artifact** is read before a number is taken, so a bad one leaves no version behind;
* the **number** belongs to the job: whoever comes second finds the first one's version;
* the **copy** is of exactly the generation that was checked, to a name that holds nothing;
* the version is **served** once its copy is there, and the job is told last.

Two deliveries at once walk the same path side by side, so there is no lease to wait for.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from google.api_core import exceptions

from continuon.contracts.models import VersionStatus
from continuon.contracts.training import JobStatus
from continuon.errors import ProblemError
from continuon.platform.faults import crash_point
from continuon_models import service
from continuon_models.completion import serve
from continuon_models.errors import ARTIFACT_MISSING, ARTIFACT_UNSUITABLE, VERSION_DELETED

if TYPE_CHECKING:
    from datetime import datetime

    from continuon.platform.objects import StoredObject
    from continuon_models.records import JobArtifactRecord, JobRecord, ModelRecord, VersionRecord
    from continuon_models.store import ModelStore

__all__ = ["register_job"]

_LOGGER: Final = logging.getLogger("continuon.models")
_MAX_CARD_BYTES: Final = 256 * 1024
"""A model card is read into memory; a larger file is none."""

_REGISTERED: Final = "registered"
_REFUSED: Final = "refused"


async def register_job(store: ModelStore, job_id: str, now: datetime) -> VersionRecord | None:
    """Register the result of a job, or find that it is registered, or record why it cannot be.

    Returns:
        The version, or None when there is none: no such job, not completed, or refused.

    Raises:
        UnavailableError: A store failed; the event has to come again.
    """
    job = await store.job(job_id)
    if job is None or job.status != JobStatus.COMPLETED:
        # A message is never newer than the document, so waiting would not change the answer.
        _LOGGER.info("nothing to register", extra={"fields": {"job_id": job_id}})
        return None
    if job.output.model_ref is not None or _is_refused(job):
        return None
    try:
        record = await _register(store, job, now)
    except ProblemError as problem:
        await _refuse(store, job_id, problem, now)
        return None
    crash_point("register.ready")
    told = {"status": _REGISTERED, "version": record.version, "at": now}
    fields = {"output.model_ref": record.ref, "output.registration": told}
    await store.update_job(job_id, fields)
    crash_point("register.told")
    _LOGGER.info("registered", extra={"fields": {"job_id": job_id, "model_ref": record.ref}})
    return record


def _is_refused(job: JobRecord) -> bool:
    return (job.output.registration or {}).get("status") == _REFUSED


async def _refuse(store: ModelStore, job_id: str, problem: ProblemError, now: datetime) -> None:
    told: dict[str, Any] = {
        "status": _REFUSED,
        "code": problem.type.code,
        "message": problem.detail,
        "at": now,
    }
    await store.update_job(job_id, {"output.registration": told})
    fields = {"job_id": job_id, "code": problem.type.code}
    _LOGGER.warning("not registered: %s", problem, extra={"fields": fields})


async def _register(store: ModelStore, job: JobRecord, now: datetime) -> VersionRecord:
    artifact = job.output.artifact
    if artifact is None:
        raise ProblemError(ARTIFACT_MISSING, "The job completed without an artifact.")
    model = await _model(store, job, now)
    crash_point("register.model")
    key = service.job_key(job.job_id)
    known = await store.registered(model.model_id, key, artifact.sha256)
    if known is not None and known.status is VersionStatus.READY:
        # An earlier delivery died before it told the job. What it copied from may be gone by now.
        return known
    source = await _checked(store, artifact)
    notes = await _notes(store, job.job_id, artifact)
    crash_point("register.checked")
    record = await store.register(
        model.model_id,
        key,
        artifact.sha256,
        lambda present, version: service.version_of_job(
            job, artifact, present, version, crc32c=source.crc32c, notes=notes, now=now
        ),
    )
    crash_point("register.numbered")
    if record.status is VersionStatus.READY:
        return record
    if record.status is VersionStatus.DELETED:
        raise ProblemError(VERSION_DELETED)
    copied = await _copied(store, source, record)
    crash_point("register.copied")
    return await serve(store, record, copied, now)


async def _model(store: ModelStore, job: JobRecord, now: datetime) -> ModelRecord:
    wanted = service.model_of_job(job, now)
    existing = await store.model(wanted.model_id)
    if existing is None:
        # Found after all: another delivery, or another account, was faster.
        existing = await store.create_model(wanted)
    if existing is not None:
        service.check_fits(existing, job)
    return existing or wanted


async def _checked(store: ModelStore, artifact: JobArtifactRecord) -> StoredObject:
    """Return the generation of the artifact that has the announced size and digest.

    Raises:
        ProblemError: ``model.artifact_missing`` or ``model.artifact_unsuitable``.
    """
    source = await store.objects.stat(artifact.ref)
    if source is None:
        raise ProblemError(ARTIFACT_MISSING, f"There is no object {artifact.ref}.")
    if source.size_bytes != artifact.size_bytes:
        message = f"{artifact.size_bytes} bytes were announced, {source.size_bytes} are stored."
        raise ProblemError(ARTIFACT_UNSUITABLE, message)
    try:
        sha256 = await store.objects.sha256(source)
    except exceptions.NotFound as error:
        raise ProblemError(ARTIFACT_MISSING, f"{artifact.ref} was deleted.") from error
    if sha256 != artifact.sha256:
        message = f"SHA-256 {artifact.sha256} was announced, {sha256} is stored."
        raise ProblemError(ARTIFACT_UNSUITABLE, message)
    return source


async def _notes(store: ModelStore, job_id: str, artifact: JobArtifactRecord) -> str:
    """Return the model card that the trainer stored beside its model; empty when there is none."""
    name = await store.card_of(job_id, artifact.ref.rpartition("/")[0])
    card = await store.objects.stat(name) if name else None
    if card is None or card.size_bytes > _MAX_CARD_BYTES:
        return ""
    return service.usable_notes(await store.objects.read(card))


async def _copied(store: ModelStore, source: StoredObject, record: VersionRecord) -> StoredObject:
    try:
        return await store.objects.copy(source, record.storage_ref)
    except exceptions.NotFound as error:
        # Gone between check and copy. The number stays taken by a version that is never served.
        raise ProblemError(ARTIFACT_MISSING, f"{source.name} was deleted.") from error
