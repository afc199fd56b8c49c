"""Episodes in Firestore and Cloud Storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore import FieldFilter

from continuon.platform.audit import append_audit
from continuon.platform.firestore import RPC, firestore_client, firestore_errors
from continuon.platform.objects import ObjectStore, in_thread
from continuon.platform.storage import STORAGE
from continuon.platform.unary import create_documents
from continuon_rlds.records import EpisodeRecord
from continuon_rlds.settings import settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from continuon.platform.firestore import Snapshot
    from continuon.platform.identity import Nonce
    from continuon.platform.objects import StoredObject

__all__ = ["EpisodeStore"]

_EPISODES: Final = "rlds_episodes"
_ROBOTS: Final = "robots"


class EpisodeStore(ObjectStore):
    """Reads and writes of the rlds codebase, in the words of the domain."""

    def __init__(self) -> None:
        super().__init__(settings().continuon_rlds_bucket)
        self._documents = firestore_client()

    # --- Documents ------------------------------------------------------------------------------

    def reference(self, episode_id: str) -> firestore.AsyncDocumentReference:
        """Return the reference of an episode's document."""
        return self._documents.collection(_EPISODES).document(episode_id)

    async def snapshot(self, episode_id: str) -> Snapshot:
        """Read an episode's document: one billed read."""
        with firestore_errors():
            return await self.reference(episode_id).get(**RPC)

    async def find(self, episode_id: str) -> EpisodeRecord | None:
        """Return an episode's record, or None."""
        snapshot = await self.snapshot(episode_id)
        data = snapshot.to_dict()
        return EpisodeRecord.from_document(data) if data else None

    async def create(self, record: EpisodeRecord, nonce: Nonce | None) -> bool:
        """Create the document and spend the caller's nonce, in one commit of two billed writes.

        Returns:
            False when the episode exists already; the nonce is spent all the same.

        Raises:
            ProblemError: ``signature.replayed``; nothing was written.
        """
        spent = nonce.document if nonce else {}
        episode = {self.reference(record.episode_id): record.to_document()}
        try:
            await create_documents({**spent, **episode})
        except exceptions.AlreadyExists:
            # A commit names no culprit. Spending the nonce alone says whether it was that.
            if nonce is not None:
                await nonce.spend()
            return False
        return True

    async def owner_and_model(self, robot_id: str) -> tuple[str, str] | None:
        """Return a robot's present owner and model, or None when it is not claimed."""
        reference = self._documents.collection(_ROBOTS).document(robot_id)
        with firestore_errors():
            snapshot = await reference.get(["owner_id", "model"], **RPC)
        data = snapshot.to_dict() or {}
        owner = data.get("owner_id")
        return (owner, data.get("model", "")) if owner else None

    async def page(
        self,
        *,
        owner_id: str,
        filters: Mapping[str, Any],
        after: tuple[datetime, str] | None,
        size: int,
    ) -> list[EpisodeRecord]:
        """Return up to ``size`` of an owner's episodes, newest first."""
        query = self._documents.collection(_EPISODES).where(
            filter=FieldFilter("owner_id", "==", owner_id)
        )
        for field, value in filters.items():
            query = query.where(filter=FieldFilter(field, "==", value))
        descending = firestore.Query.DESCENDING
        query = query.order_by("uploaded_at", direction=descending)
        query = query.order_by("__name__", direction=descending).limit(size)
        if after is not None:
            moment, episode_id = after
            query = query.start_after(
                {"uploaded_at": moment, "__name__": self.reference(episode_id)}
            )
        with firestore_errors():
            snapshots = await query.get(**RPC)
        return [EpisodeRecord.from_document(s.to_dict() or {}) for s in snapshots]

    async def delete_document(self, record: EpisodeRecord, *, actor: str, now: datetime) -> None:
        """Delete an episode's document and record who did, in one commit."""
        reference = self.reference(record.episode_id)
        batch = self._documents.batch()
        batch.delete(reference)
        append_audit(batch, actor=actor, action="episode.delete", subject=reference.path, now=now)
        with firestore_errors():
            await batch.commit(**RPC)

    # --- Objects, besides those of the base ----------------------------------------------------

    async def put_report(self, name: str, report: bytes) -> None:
        """Store a report; one that is there already is the same ingest's and stays."""

        def call() -> None:
            self.bucket.blob(name).upload_from_string(
                report,
                content_type="application/json",
                if_generation_match=0,
                **STORAGE,
            )

        try:
            await in_thread(call)
        except exceptions.PreconditionFailed:
            return

    async def read_report(self, name: str) -> bytes | None:
        """Return a stored report, or None."""

        def call() -> bytes | None:
            try:
                body: bytes = self.bucket.blob(name).download_as_bytes(**STORAGE)
            except exceptions.NotFound:
                return None
            return body

        return await in_thread(call)

    async def delete_objects(self, objects: Sequence[StoredObject]) -> None:
        """Delete exactly the listed generations; one that is gone already is no error."""
        for stored in objects:
            await self.delete(stored)
