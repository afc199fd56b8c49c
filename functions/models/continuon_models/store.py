"""Models and their versions in Firestore."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, Final

from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore import FieldFilter

from continuon.contracts.models import VersionStatus
from continuon.errors import FieldProblem, ProblemError, UnavailableError
from continuon.platform.audit import append_audit
from continuon.platform.firestore import RPC, firestore_client, firestore_errors
from continuon.platform.objects import ObjectStore
from continuon.platform.transactions import fetch, transact
from continuon.platform.unary import create_documents
from continuon_models.errors import (
    ALIAS_POINTS_HERE,
    KEY_REUSED,
    MODEL_NOT_FOUND,
    VERSION_DELETED,
)
from continuon_models.records import (
    JobRecord,
    ModelRecord,
    RegistrationRecord,
    VersionRecord,
)
from continuon_models.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from continuon.platform.firestore import Snapshot
    from continuon.platform.objects import StoredObject

__all__ = ["ModelStore", "version_of"]

_LOGGER: Final = logging.getLogger("continuon.models")
_MODELS: Final = "models"
_VERSIONS: Final = "versions"
_ALIASES: Final = "aliases"
_REGISTRATIONS: Final = "registrations"
_DOWNLOADS: Final = "downloads"
_JOBS: Final = "training_jobs"
_ARTIFACTS: Final = "artifacts"
_MODEL_CARD: Final = "model_card"
_MAX_CARDS: Final = 20
"""Model cards of one job that are looked at: one for each attempt, of which there are few."""


_ATTEMPTS: Final = 40
"""Of a write that others were faster at. One of them succeeds each time, so this many writers at
once are served; a model has one or two."""

_MAX_PAUSE_S: Final = 0.25
"""Before the next attempt: about what a commit takes, so that those who lost do not meet again."""

_DOWNLOAD_SHARDS: Final = 10
"""Documents that a version's downloads are counted in. One takes about a write a second for long,
so a version takes ten downloads a second."""


class ModelStore:
    """Reads and writes of the models codebase, in the words of the domain."""

    def __init__(self) -> None:
        self._documents = firestore_client()
        self.objects = ObjectStore(settings().continuon_rlds_bucket)

    # --- Models ---------------------------------------------------------------------------------

    def _model(self, model_id: str) -> firestore.AsyncDocumentReference:
        return self._documents.collection(_MODELS).document(model_id)

    async def model(self, model_id: str) -> ModelRecord | None:
        """Return a model's record, or None."""
        with firestore_errors():
            snapshot = await self._model(model_id).get(**RPC)
        data = snapshot.to_dict()
        return ModelRecord.model_validate(data) if data else None

    async def create_model(self, record: ModelRecord) -> ModelRecord | None:
        """Create a model; return the one that is there when its id is taken, else None."""
        try:
            await create_documents({self._model(record.model_id): record.model_dump()})
        except exceptions.AlreadyExists:
            return await self.model(record.model_id)
        return None

    async def rename(self, record: ModelRecord, name: str, now: datetime) -> ModelRecord:
        """Give a model another name."""
        fields = {"name": name, "updated_at": now}
        with firestore_errors():
            await self._model(record.model_id).update(fields, **RPC)
        return record.model_copy(update=fields)

    async def models(
        self, owner_id: str, *, after: tuple[datetime, str] | None, size: int
    ) -> list[ModelRecord]:
        """Return up to ``size`` of an owner's models, newest first."""
        descending = firestore.Query.DESCENDING
        query = (
            self._documents.collection(_MODELS)
            .where(filter=FieldFilter("owner_id", "==", owner_id))
            .order_by("created_at", direction=descending)
            .order_by("__name__", direction=descending)
            .limit(size)
        )
        if after is not None:
            moment, model_id = after
            query = query.start_after({"created_at": moment, "__name__": self._model(model_id)})
        return [ModelRecord.model_validate(s.to_dict() or {}) for s in await fetch(query)]

    # --- Versions -------------------------------------------------------------------------------

    def _version(self, model_id: str, version: int) -> firestore.AsyncDocumentReference:
        versions = self._model(model_id).collection(_VERSIONS)
        reference: firestore.AsyncDocumentReference = versions.document(str(version))
        return reference

    async def version(self, model_id: str, version: int) -> VersionRecord | None:
        """Return a version's record, or None."""
        with firestore_errors():
            snapshot = await self._version(model_id, version).get(**RPC)
        return version_of(snapshot)

    async def register(
        self,
        model_id: str,
        key: str,
        fingerprint: str,
        make: Callable[[ModelRecord, int], VersionRecord],
    ) -> VersionRecord:
        """Return the version of registration ``key``; if there is none, make the next one.

        Number, version and registration are written in one commit that only creates, so numbers
        have no gaps, and one key makes one version, however many ask at once.

        Args:
            model_id: An existing model.
            key: Names the registration.
            fingerprint: Of what is asked.
            make: Returns the record of a version, given the model and the number.

        Raises:
            ProblemError: ``model.key_reused``, or ``model.not_found``.
            UnavailableError: Firestore failed, or others were faster every time.
        """
        for _ in range(_ATTEMPTS):
            if known := await self.registered(model_id, key, fingerprint):
                return known
            model = await self.model(model_id)
            if model is None:
                raise ProblemError(MODEL_NOT_FOUND)
            made = make(model, model.latest_version + 1)
            if await self._create_version(made, key, fingerprint):
                return made
            # Another took this number, or our own commit arrived and its answer was lost.
            await asyncio.sleep(random.uniform(0, _MAX_PAUSE_S))  # noqa: S311 - jitter
        raise UnavailableError("Firestore")

    async def _create_version(self, made: VersionRecord, key: str, fingerprint: str) -> bool:
        """Write version, number and registration; False, and nothing, when one of them is there."""
        entry = RegistrationRecord(version=made.version, fingerprint=fingerprint)
        batch = self._documents.batch()
        batch.create(self._registration(made.model_id, key), entry.model_dump())
        batch.create(self._version(made.model_id, made.version), made.model_dump())
        counted = {"latest_version": made.version, "updated_at": made.created_at}
        batch.update(self._model(made.model_id), counted)
        try:
            with firestore_errors():
                await batch.commit(**RPC)
        except exceptions.AlreadyExists:
            return False
        return True

    async def registered(self, model_id: str, key: str, fingerprint: str) -> VersionRecord | None:
        """Return the version that registration ``key`` has made, or None.

        Raises:
            ProblemError: ``model.key_reused``.
        """
        with firestore_errors():
            snapshot = await self._registration(model_id, key).get(**RPC)
        data = snapshot.to_dict()
        if not data:
            return None
        entry = RegistrationRecord.model_validate(data)
        if entry.fingerprint != fingerprint:
            raise ProblemError(KEY_REUSED, f"It registered version {entry.version}.")
        return await self.version(model_id, entry.version)

    def _registration(self, model_id: str, key: str) -> firestore.AsyncDocumentReference:
        registrations = self._model(model_id).collection(_REGISTRATIONS)
        reference: firestore.AsyncDocumentReference = registrations.document(key)
        return reference

    async def make_ready(
        self, record: VersionRecord, stored: StoredObject, now: datetime
    ) -> VersionRecord:
        """Let a version be served, unless it was deleted meanwhile; doing it twice changes nothing.

        Raises:
            ProblemError: ``model.version_deleted``.
        """
        reference = self._version(record.model_id, record.version)
        fields = {
            "status": VersionStatus.READY.value,
            "ready_at": now,
            "crc32c": stored.crc32c,
            "generation": stored.generation,
        }

        async def work(transaction: firestore.AsyncTransaction) -> VersionRecord:
            present = version_of(await reference.get(transaction=transaction, **RPC))
            if present is None or present.status is VersionStatus.DELETED:
                raise ProblemError(VERSION_DELETED)
            if present.status is VersionStatus.READY:
                return present
            transaction.update(reference, fields)
            return present.model_copy(update={**fields, "status": VersionStatus.READY})

        return await transact(work)

    async def set_notes(self, record: VersionRecord, notes: str) -> VersionRecord:
        """Replace the release notes."""
        with firestore_errors():
            await self._version(record.model_id, record.version).update(
                {"release_notes": notes}, **RPC
            )
        return record.model_copy(update={"release_notes": notes})

    async def delete_version(
        self, record: VersionRecord, *, actor: str, now: datetime
    ) -> VersionRecord:
        """Take a version out of service for good, unless an alias points at it.

        Raises:
            ProblemError: ``model.alias_points_here``.
        """
        reference = self._version(record.model_id, record.version)
        aliases = self._model(record.model_id).collection(_ALIASES)
        pointing = aliases.where(filter=FieldFilter("version", "==", record.version))
        fields = {"status": VersionStatus.DELETED.value, "deleted_at": now}

        async def work(transaction: firestore.AsyncTransaction) -> VersionRecord:
            present = version_of(await reference.get(transaction=transaction, **RPC))
            if present is None or present.status is VersionStatus.DELETED:
                return record
            found = await pointing.get(transaction=transaction, **RPC)
            if names := sorted(snapshot.id for snapshot in found):
                errors = [FieldProblem(ALIAS_POINTS_HERE.code, n, "points here") for n in names]
                raise ProblemError(ALIAS_POINTS_HERE, errors=errors)
            transaction.update(reference, fields)
            append_audit(
                transaction, actor=actor, action="model.delete", subject=record.ref, now=now
            )
            return present.model_copy(update={**fields, "status": VersionStatus.DELETED})

        return await transact(work)

    async def versions(
        self, model_id: str, *, before: int | None, size: int
    ) -> list[VersionRecord]:
        """Return up to ``size`` versions of a model, newest first, those below ``before``."""
        query = (
            self._model(model_id)
            .collection(_VERSIONS)
            .order_by("version", direction=firestore.Query.DESCENDING)
            .limit(size)
        )
        if before is not None:
            query = query.where(filter=FieldFilter("version", "<", before))
        return _versions_of(await fetch(query))

    async def search(
        self,
        owner_id: str,
        *,
        episode_id: str | None,
        model_base: str | None,
        after: tuple[datetime, str] | None,
        size: int,
    ) -> list[VersionRecord]:
        """Return an owner's versions, of all models, by an episode or by what they build on."""
        if episode_id is not None:
            wanted = FieldFilter("lineage.episode_ids", "array_contains", episode_id)
        else:
            wanted = FieldFilter("lineage.model_base", "==", model_base)
        descending = firestore.Query.DESCENDING
        query = (
            self._documents.collection_group(_VERSIONS)
            .where(filter=FieldFilter("owner_id", "==", owner_id))
            .where(filter=wanted)
            .order_by("created_at", direction=descending)
            .order_by("__name__", direction=descending)
            .limit(size)
        )
        if after is not None:
            moment, position = after
            model_id, _, version = position.rpartition("@")
            reference = self._version(model_id, int(version))
            query = query.start_after({"created_at": moment, "__name__": reference})
        return _versions_of(await fetch(query))

    # --- Downloads ------------------------------------------------------------------------------

    async def count_download(self, record: VersionRecord) -> None:
        """Count one granted download: one write, to one of ten documents.

        A failure is logged and not raised: who wants a model shall not wait for a statistic.
        """
        shard = str(random.randrange(_DOWNLOAD_SHARDS))  # noqa: S311 - spreads load
        counts = self._version(record.model_id, record.version).collection(_DOWNLOADS)
        try:
            with firestore_errors():
                await counts.document(shard).set(
                    {"count": firestore.Increment(1)}, merge=True, **RPC
                )
        except UnavailableError:
            _LOGGER.warning("download not counted", extra={"fields": {"version": record.ref}})

    async def download_counts(self, records: Sequence[VersionRecord]) -> list[int]:
        """Return how often each was downloaded: one billed read each, an aggregation over ten."""

        async def count(record: VersionRecord) -> int:
            counts = self._version(record.model_id, record.version).collection(_DOWNLOADS)
            with firestore_errors():
                found = await counts.sum("count", alias="n").get(**RPC)
            return int(found[0][0].value)

        return list(await asyncio.gather(*(count(record) for record in records)))

    # --- Training jobs --------------------------------------------------------------------------

    async def job(self, job_id: str) -> JobRecord | None:
        """Return what a job's document says of its result, or None."""
        with firestore_errors():
            snapshot = await self._documents.collection(_JOBS).document(job_id).get(**RPC)
        data = snapshot.to_dict()
        return JobRecord.model_validate({**data, "job_id": job_id}) if data else None

    async def card_of(self, job_id: str, folder: str) -> str | None:
        """Return the name of the model card that a trainer announced in ``folder``, or None."""
        artifacts = self._documents.collection(_JOBS).document(job_id).collection(_ARTIFACTS)
        query = artifacts.where(filter=FieldFilter("kind", "==", _MODEL_CARD)).limit(_MAX_CARDS)
        refs = [str((found.to_dict() or {}).get("ref")) for found in await fetch(query)]
        return min((ref for ref in refs if ref.startswith(f"{folder}/")), default=None)

    async def update_job(self, job_id: str, fields: Mapping[str, Any]) -> None:
        """Write field paths of a job's document; one that was deleted stays deleted."""
        try:
            with firestore_errors():
                await self._documents.collection(_JOBS).document(job_id).update(dict(fields), **RPC)
        except exceptions.NotFound:
            _LOGGER.warning("job is gone", extra={"fields": {"job_id": job_id}})


def version_of(snapshot: Snapshot) -> VersionRecord | None:
    """Return the version that a document describes, or None when there is none."""
    data = snapshot.to_dict()
    return VersionRecord.model_validate(data) if data else None


def _versions_of(snapshots: Sequence[Snapshot]) -> list[VersionRecord]:
    return [VersionRecord.model_validate(snapshot.to_dict() or {}) for snapshot in snapshots]
