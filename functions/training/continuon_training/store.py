"""Training jobs in Firestore."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore import FieldFilter

from continuon.contracts.training import Backend, JobConfig, JobStatus
from continuon.errors import ProblemError
from continuon.platform.audit import append_audit
from continuon.platform.firestore import RPC, firestore_client, firestore_errors
from continuon_training.errors import JOB_CHANGED, JOB_NOT_FOUND
from continuon_training.records import JobRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from google.cloud.firestore import AsyncDocumentReference, AsyncQuery

    from continuon.platform.firestore import Snapshot

__all__ = ["JOBS", "JobStore", "changed_fields"]

JOBS: Final = "training_jobs"
_BUDGETS: Final = "training_budgets"
_TRIES: Final = 8
"""Conditional writes before a change is given up: a trainer, the watchdog and its owner may write
one job at the same time, and each loses to another at most a few times."""

_LIGHT: Final = [
    *(name for name in JobRecord.model_fields if name != "config"),
    *(f"config.{name}" for name in JobConfig.model_fields if name != "episode_ids"),
]
"""Everything of a job but its list of episodes, which may be half a megabyte."""


def changed_fields(before: JobRecord, after: JobRecord) -> dict[str, Any]:
    """Return what has to be written so that ``before`` becomes ``after``, by field path."""
    old, new = before.to_document(), after.to_document()
    old_config, new_config = old.pop("config"), new.pop("config")
    fields = {name: value for name, value in new.items() if value != old[name]}
    for name, value in new_config.items():
        if value != old_config[name]:
            fields[f"config.{name}"] = value
    return fields


class JobStore:
    """Reads and writes of jobs, in the words of the domain.

    Records are read without their lists of episodes unless ``whole`` is asked for.
    """

    def __init__(self) -> None:
        self._documents = firestore_client()

    def reference(self, job_id: str) -> AsyncDocumentReference:
        """Return the reference of a job's document."""
        return self._documents.collection(JOBS).document(job_id)

    async def snapshot(self, job_id: str, *, whole: bool = False) -> Snapshot:
        """Read a job's document: one billed read."""
        with firestore_errors():
            return await self.reference(job_id).get(None if whole else _LIGHT, **RPC)

    async def find(self, job_id: str, *, whole: bool = False) -> JobRecord | None:
        """Return a job's record, or None."""
        data = (await self.snapshot(job_id, whole=whole)).to_dict()
        return JobRecord.from_document(data) if data else None

    async def create(
        self,
        record: JobRecord,
        *,
        actor: str,
        action: str = "training.create",
        also: Callable[[firestore.AsyncWriteBatch], None] | None = None,
    ) -> bool:
        """Create a job that must not exist, with its audit entry, in one commit.

        Args:
            record: The job.
            actor: Who asked for it.
            action: How the audit log calls it.
            also: Adds writes to the same commit.

        Returns:
            False when the job exists already; nothing was written.
        """
        batch = self._documents.batch()
        reference = self.reference(record.job_id)
        batch.create(reference, record.to_document())
        append_audit(
            batch, actor=actor, action=action, subject=reference.path, now=record.created_at
        )
        if also is not None:
            also(batch)
        try:
            with firestore_errors():
                await batch.commit(**RPC)
        except exceptions.AlreadyExists:
            return False
        return True

    async def change(
        self,
        job_id: str,
        decide: Callable[[JobRecord], JobRecord],
        *,
        audit: tuple[str, str, datetime] | None = None,
        snapshot: Snapshot | None = None,
        whole: bool = False,
    ) -> tuple[JobRecord, JobRecord]:
        """Apply ``decide`` to a job, on the condition that nobody wrote in between.

        ``decide`` is called again with the newer record where somebody did; it may raise, and then
        nothing is written. When it changes nothing, nothing is written either.

        Args:
            job_id: The job.
            decide: Pure: from the present record to the one that is to be.
            audit: Actor, action and moment of an entry for the audit log, in the same commit.
            snapshot: The job as just read, where it was.
            whole: Whether ``decide`` needs the list of episodes.

        Returns:
            The record before and after.

        Raises:
            ProblemError: ``job.not_found``, or ``job.changed`` after many lost races.
            UnavailableError: Firestore failed; nothing is known about the write.
        """
        reference = self.reference(job_id)
        for _ in range(_TRIES):
            snapshot = snapshot or await self.snapshot(job_id, whole=whole)
            data = snapshot.to_dict()
            if not data:
                raise ProblemError(JOB_NOT_FOUND)
            before = JobRecord.from_document(data)
            after = decide(before)
            fields = changed_fields(before, after)
            if not fields:
                return before, after
            if await self._write(reference, fields, snapshot, audit):
                return before, after
            snapshot = None
        raise ProblemError(JOB_CHANGED, retry_after_s=1)

    async def _write(
        self,
        reference: AsyncDocumentReference,
        fields: Mapping[str, Any],
        snapshot: Snapshot,
        audit: tuple[str, str, datetime] | None,
    ) -> bool:
        option = self._documents.write_option(last_update_time=snapshot.update_time)
        batch = self._documents.batch()
        batch.update(reference, dict(fields), option=option)
        if audit is not None:
            actor, action, now = audit
            append_audit(batch, actor=actor, action=action, subject=reference.path, now=now)
        try:
            with firestore_errors():
                await batch.commit(**RPC)
        except (exceptions.FailedPrecondition, exceptions.NotFound):
            return False
        return True

    async def mark_announced(self, job_id: str) -> None:
        """Write down that the end of a job was published."""
        with firestore_errors():
            await self.reference(job_id).update({"announced": True}, **RPC)

    # --- Lists ----------------------------------------------------------------------------------

    async def page(
        self,
        *,
        owner_id: str,
        filters: Sequence[FieldFilter],
        after: tuple[datetime, str] | None,
        size: int,
    ) -> list[JobRecord]:
        """Return up to ``size`` of an owner's jobs, newest first."""
        query = self._jobs().where(filter=FieldFilter("owner_id", "==", owner_id))
        for one in filters:
            query = query.where(filter=one)
        descending = firestore.Query.DESCENDING
        query = query.order_by("created_at", direction=descending)
        query = query.order_by("__name__", direction=descending).limit(size)
        if after is not None:
            moment, job_id = after
            query = query.start_after({"created_at": moment, "__name__": self.reference(job_id)})
        return await self._records(query)

    async def waiting_for(self, owner_id: str, label: str, *, size: int) -> list[JobRecord]:
        """Return an owner's oldest jobs that wait for a worker with ``label``."""
        query = (
            self._jobs()
            .where(filter=FieldFilter("owner_id", "==", owner_id))
            .where(filter=FieldFilter("status", "==", JobStatus.QUEUED.value))
            .where(filter=FieldFilter("config.backend", "==", Backend.PULL.value))
            .where(filter=FieldFilter("config.backend_label", "==", label))
            .order_by("queued_at")
            .limit(size)
        )
        return await self._records(query)

    async def with_status(
        self, status: JobStatus, *, after: str | None, size: int
    ) -> list[JobRecord]:
        """Return jobs in ``status`` by id, from behind ``after`` on."""
        query = self._jobs().where(filter=FieldFilter("status", "==", status.value))
        query = query.order_by("__name__").limit(size)
        if after is not None:
            query = query.start_after({"__name__": self.reference(after)})
        return await self._records(query)

    async def queued_since(self, moment: datetime, *, size: int) -> list[JobRecord]:
        """Return jobs that have waited since ``moment`` or longer, the longest first."""
        query = self._jobs().where(filter=FieldFilter("status", "==", JobStatus.QUEUED.value))
        query = query.where(filter=FieldFilter("queued_at", "<=", moment))
        return await self._records(query.order_by("queued_at").limit(size))

    async def due(self, field: str, now: datetime, *, size: int) -> list[JobRecord]:
        """Return jobs whose moment in ``field`` has come, the longest due first."""
        query = self._jobs().where(filter=FieldFilter(field, "<=", now))
        return await self._records(query.order_by(field).limit(size))

    async def unannounced(self, *, size: int) -> list[JobRecord]:
        """Return jobs that ended without their end being published."""
        query = self._jobs().where(filter=FieldFilter("announced", "==", False))  # noqa: FBT003
        return await self._records(query.limit(size))

    def _jobs(self) -> AsyncQuery:
        return self._documents.collection(JOBS).select(_LIGHT)

    async def _records(self, query: AsyncQuery) -> list[JobRecord]:
        with firestore_errors():
            snapshots = await query.get(**RPC)
        return [JobRecord.from_document(snapshot.to_dict() or {}) for snapshot in snapshots]

    # --- Money ----------------------------------------------------------------------------------

    async def used_usd(self, owner_id: str, month: str) -> float:
        """Return what an owner's jobs of ``month`` have cost until their last write."""
        query = (
            self._documents.collection(JOBS)
            .where(filter=FieldFilter("owner_id", "==", owner_id))
            .where(filter=FieldFilter("month", "==", month))
        )
        with firestore_errors():
            # Upstream declares the method without self.
            results = await query.sum("cost_usd", alias="usd").get(**RPC)  # type: ignore[call-arg]
        return float(results[0][0].value or 0.0)

    def _budget(self, owner_id: str) -> AsyncDocumentReference:
        # A hash, because an administrator may choose a uid that no document can be named after.
        name = hashlib.sha256(owner_id.encode()).hexdigest()
        return self._documents.collection(_BUDGETS).document(name)

    async def monthly_limit_usd(self, owner_id: str) -> float | None:
        """Return what the owner allowed for a month, or None for the default."""
        with firestore_errors():
            snapshot = await self._budget(owner_id).get(**RPC)
        value = (snapshot.to_dict() or {}).get("monthly_limit_usd")
        return None if value is None else float(value)

    async def set_monthly_limit_usd(self, owner_id: str, limit: float, now: datetime) -> None:
        """Write what the owner allows for a month."""
        reference = self._budget(owner_id)
        batch = self._documents.batch()
        fields = {"owner_id": owner_id, "monthly_limit_usd": limit, "updated_at": now}
        batch.set(reference, fields)
        append_audit(
            batch, actor=owner_id, action="training.budget", subject=reference.path, now=now
        )
        with firestore_errors():
            await batch.commit(**RPC)
