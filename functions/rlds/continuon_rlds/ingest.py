"""Ingest: from uploaded objects to a verdict, applied exactly once.

The steps, in order: lease, validate, promote, report, document, message, done. Every step can be
repeated, and each is skipped or repeats itself harmlessly when an earlier worker died after it:

* the **lease** is one conditional write on the episode's document, keyed by the generations read;
* **promotion** copies exact generations to names that only this code writes, and only creates;
* the **document** is written while the lease is still ours, and carries the verdict;
* the **message** follows the document and may be sent twice if the worker dies between the two
  writes; its ``event_id`` attribute lets consumers apply it once.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from continuon.contracts.episodes import EpisodeStatus
from continuon.errors import FieldProblem, ProblemError
from continuon.platform import leases
from continuon.platform.documents import storable
from continuon.platform.faults import crash_point
from continuon.platform.pubsub import publish
from continuon.rlds import (
    EpisodeMember,
    ExpectedIdentity,
    Report,
    codes,
    detect_packaging,
    validate_members,
    validate_stream,
)
from continuon.rlds.report import Finding
from continuon_rlds import service
from continuon_rlds.errors import CHECKSUM_MISMATCH, UPLOAD_INCOMPLETE
from continuon_rlds.layout import (
    RawObject,
    parse_raw_name,
    rejected_report_name,
    validated_prefix,
)
from continuon_rlds.records import EpisodeRecord
from continuon_rlds.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from continuon.platform.objects import StoredObject
    from continuon_rlds.store import EpisodeStore

__all__ = ["Busy", "Outcome", "Verdict", "ingest_episode", "ingest_event"]

_LOGGER: Final = logging.getLogger("continuon.rlds")
_METADATA: Final = "metadata.json"
_REPORT: Final = "report.json"
_SNIFF_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class Verdict:
    """The episode has a verdict; ``report`` is at hand when this worker made it."""

    record: EpisodeRecord
    report: Report | None


@dataclass(frozen=True, slots=True)
class Busy:
    """Another worker is at it until ``until``."""

    until: datetime


Outcome = Verdict | Busy


async def ingest_event(store: EpisodeStore, object_name: str, now: datetime) -> Outcome | None:
    """Handle the finalize event of one object; None when there is nothing to do.

    The event's own generation is not trusted to be the newest: the present objects are read.
    """
    raw = parse_raw_name(object_name)
    if raw is None:
        return None
    if not raw.is_archive and raw.path != _METADATA and not await _may_be_last(store, raw):
        return None
    try:
        return await ingest_episode(store, raw.robot_id, raw.episode_id, now=now)
    except ProblemError as problem:
        if problem.type is not UPLOAD_INCOMPLETE:
            raise
        return None  # a later file's event will find the episode complete


async def _may_be_last(store: EpisodeStore, raw: RawObject) -> bool:
    # Clients upload metadata.json last, so one class B look spares a class A listing for each blob.
    prefix = f"episodes/raw/{raw.robot_id}/{raw.episode_id}"
    return await store.stat(f"{prefix}/{_METADATA}") is not None


async def ingest_episode(
    store: EpisodeStore,
    robot_id: str,
    episode_id: str,
    *,
    now: datetime,
    checksum: str | None = None,
) -> Outcome | None:
    """Bring one uploaded episode to its verdict, or find the verdict that is there.

    Args:
        store: Documents and objects.
        robot_id: As in the objects' names.
        episode_id: As in the objects' names.
        now: The invocation's reading of the clock.
        checksum: Lower-case hex SHA-256 that the caller expects of a one-object episode.

    Returns:
        The verdict, or who is busy with it, or None when no such upload was ever granted.

    Raises:
        ProblemError: ``episode.upload_incomplete`` or ``episode.checksum_mismatch``.
        UnavailableError: A store failed; the ingest may be repeated.
        LeaseLostError: This worker was too slow; another has taken over.
    """
    snapshot = await store.snapshot(episode_id)
    data = snapshot.to_dict()
    record = EpisodeRecord.from_document(data) if data else None
    if record is None or record.robot_id != robot_id:
        # Nobody was given a URL for this name: an administrator put the object there.
        _LOGGER.warning("object without an announced episode", extra=_fields(episode_id))
        return None
    if record.is_settled and record.announced:
        _check_checksum(record.sha256, checksum)
        return Verdict(record, None)
    # A verdict without its message: the worker died in between, and what it read may be deleted.
    objects = [] if record.is_settled else await _uploaded_objects(store, record)
    lease = await leases.take(
        store.reference(episode_id),
        field="ingest",
        key=record.ingest["key"]
        if record.is_settled
        else service.ingest_key({stored.name: stored.generation for stored in objects}),
        lease_for=timedelta(seconds=settings().continuon_ingest_lease_s),
        now=now,
        snapshot=snapshot,
    )
    if isinstance(lease, leases.InProgress):
        # Even with a verdict: its worker may die before the message, so the event must come again.
        return Busy(lease.until)
    if isinstance(lease, leases.Completed):
        return Verdict(record, None)
    crash_point("ingest.leased")
    async with leases.released_on_error(lease):
        if record.is_settled:
            return Verdict(await _finish(store, lease, record), None)
        return await _work(store, record, objects, lease, now=now, checksum=checksum)


async def _uploaded_objects(store: EpisodeStore, record: EpisodeRecord) -> list[StoredObject]:
    """Return what was uploaded, complete and in the announced sizes.

    Raises:
        ProblemError: ``episode.upload_incomplete``, naming each file that is missing.
    """
    if record.upload.is_archive:
        found = await store.stat(f"{record.storage_ref}/{record.upload.files[0].path}")
        objects = [found] if found else []
    else:
        objects = await store.list(record.storage_ref)
    present = {stored.name for stored in objects}
    wanted = {f"{record.storage_ref}/{file.path}": file.path for file in record.upload.files}
    if missing := [path for name, path in wanted.items() if name not in present]:
        errors = [FieldProblem(UPLOAD_INCOMPLETE.code, path, "is missing") for path in missing]
        raise ProblemError(UPLOAD_INCOMPLETE, errors=errors)
    return [stored for stored in objects if stored.name in wanted]


async def _work(
    store: EpisodeStore,
    record: EpisodeRecord,
    objects: Sequence[StoredObject],
    lease: leases.Lease,
    *,
    now: datetime,
    checksum: str | None,
) -> Verdict:
    report = await asyncio.to_thread(_validate, store, record, objects)
    _check_checksum(report.sha256, checksum)
    crash_point("ingest.validated")
    if report.no_upload:
        # Neither the data nor what it says about itself may stay.
        report = msgspec.structs.replace(report, metadata=None)
    if report.is_valid:
        await _promote(store, record, objects)
    storage_ref, report_ref = _destinations(record, report)
    await store.put_report(report_ref, report.to_json())
    crash_point("ingest.reported")
    fields = service.verdict_fields(report, storage_ref=storage_ref, report_ref=report_ref, now=now)
    lease = await lease.write({**fields, "metadata": storable(fields["metadata"])})
    crash_point("ingest.recorded")
    settled = record.model_copy(update={**fields, "status": EpisodeStatus(fields["status"])})
    return Verdict(await _finish(store, lease, settled), report)


def _destinations(record: EpisodeRecord, report: Report) -> tuple[str, str]:
    if report.is_valid:
        validated = validated_prefix(record.robot_id, record.episode_id)
        return validated, f"{validated}/{_REPORT}"
    return record.storage_ref, rejected_report_name(record.robot_id, record.episode_id)


async def _promote(
    store: EpisodeStore, record: EpisodeRecord, objects: Sequence[StoredObject]
) -> None:
    target = validated_prefix(record.robot_id, record.episode_id)
    for stored in objects:
        await store.copy(stored, target + stored.name.removeprefix(record.storage_ref))
        crash_point("ingest.promoting")
    crash_point("ingest.promoted")


async def _finish(store: EpisodeStore, lease: leases.Lease, record: EpisodeRecord) -> EpisodeRecord:
    """Do what follows a written verdict, then close the work record. May be repeated."""
    if codes.PRIVACY_NO_UPLOAD in record.problems:
        # The one case in which we delete: the recording itself says that it must not leave.
        await store.delete_objects(await store.list(record.storage_ref))
        crash_point("ingest.deleted")
    if record.status is EpisodeStatus.VALIDATED:
        body = {
            "episode_id": record.episode_id,
            "robot_id": record.robot_id,
            "robot_model": record.robot_model,
            "owner_id": record.owner_id,
            "training_eligible": record.training_eligible,
            "quality": record.quality,
            "storage_ref": record.storage_ref,
        }
        attributes = {"event_id": f"{record.episode_id}:{lease.key}", "type": "episode-validated"}
        await publish(settings().continuon_validated_topic, json.dumps(body).encode(), attributes)
        crash_point("ingest.published")
    await lease.write({"announced": True}, completed=True)
    crash_point("ingest.completed")
    _LOGGER.info("episode %s", record.status.value, extra=_fields(record.episode_id))
    return record.model_copy(update={"announced": True})


def _validate(
    store: EpisodeStore, record: EpisodeRecord, objects: Sequence[StoredObject]
) -> Report:
    expected = ExpectedIdentity(
        robot_id=record.robot_id,
        episode_id=None if record.upload.episode_id_is_minted else record.episode_id,
    )
    if record.upload.is_archive:
        report = _validate_archive(store, objects[0], expected)
    else:
        members = (
            EpisodeMember(
                path=stored.name.removeprefix(f"{record.storage_ref}/"),
                size=stored.size_bytes,
                chunks=store.stream(stored),
            )
            for stored in objects
        )
        report = validate_members(members, expected=expected)
    return _with_announced_checksum(report, record)


def _validate_archive(
    store: EpisodeStore, stored: StoredObject, expected: ExpectedIdentity
) -> Report:
    chunks = store.stream(stored)
    first = next(chunks, b"")
    packaging = detect_packaging(first[:_SNIFF_BYTES], stored.name, stored.content_type)

    def whole() -> Iterator[bytes]:
        yield first
        yield from chunks

    return validate_stream(whole(), packaging=packaging, expected=expected)


def _with_announced_checksum(report: Report, record: EpisodeRecord) -> Report:
    announced = record.upload.files[0].sha256 if record.upload.is_archive else None
    if announced is None or report.sha256 in (None, announced):
        return report
    finding = Finding(
        code=codes.OBJECT_CHECKSUM,
        message="The stored object differs from the checksum that was announced.",
        file=record.upload.files[0].path,
    )
    return msgspec.structs.replace(
        report,
        verdict="invalid",
        problems=[finding, *report.problems],
        totals={**report.totals, finding.code: 1},
    )


def _check_checksum(found: str | None, wanted: str | None) -> None:
    if wanted is not None and found != wanted:
        errors = [FieldProblem(CHECKSUM_MISMATCH.code, "checksum", f"is not sha256:{found}")]
        raise ProblemError(CHECKSUM_MISMATCH, errors=errors)


def _fields(episode_id: str) -> dict[str, dict[str, str]]:
    return {"fields": {"episode_id": episode_id}}
