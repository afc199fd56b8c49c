"""Episodes in Firestore and Cloud Storage."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore import FieldFilter

from continuon.platform.audit import append_audit
from continuon.platform.firestore import RPC, firestore_client, firestore_errors
from continuon.platform.storage import STORAGE, storage_client, storage_errors
from continuon.platform.unary import create_documents
from continuon_rlds.records import EpisodeRecord
from continuon_rlds.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from google.cloud.storage import Blob, Bucket

    from continuon.platform.firestore import Snapshot
    from continuon.platform.identity import Nonce

__all__ = ["EpisodeStore", "StoredObject"]

T = TypeVar("T")

_EPISODES: Final = "rlds_episodes"
_ROBOTS: Final = "robots"
_READ_BYTES: Final = 256 * 1024
_RANGE_BYTES: Final = 8 * 1024 * 1024
"""One ranged read of an object: one class B operation and the memory that an ingest holds."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as listed: its name, the generation that was listed, and what it holds."""

    name: str
    generation: int
    size_bytes: int
    content_type: str | None
    crc32c: str | None

    @classmethod
    def of(cls, blob: Blob) -> StoredObject:
        """Read a listed blob."""
        generation, size = int(blob.generation or 0), int(blob.size or 0)
        return cls(blob.name, generation, size, blob.content_type, blob.crc32c)


async def _in_thread(call: Callable[[], T]) -> T:
    # The Storage client is synchronous; its transport is thread-safe.
    with storage_errors():
        return await asyncio.to_thread(call)


class EpisodeStore:
    """Reads and writes of the rlds codebase, in the words of the domain."""

    def __init__(self) -> None:
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

    # --- Objects --------------------------------------------------------------------------------

    @property
    def _bucket(self) -> Bucket:
        return storage_client().bucket(settings().continuon_rlds_bucket)

    async def stat(self, name: str) -> StoredObject | None:
        """Return an object's present state, or None: one class B operation."""

        def call() -> StoredObject | None:
            blob = self._bucket.get_blob(name, **STORAGE)
            return StoredObject.of(blob) if blob else None

        return await _in_thread(call)

    async def list(self, prefix: str) -> list[StoredObject]:
        """Return the objects under ``prefix/``: one class A operation for each 1,000."""

        def call() -> list[StoredObject]:
            blobs = self._bucket.list_blobs(prefix=f"{prefix}/", **STORAGE)
            return [StoredObject.of(blob) for blob in blobs]

        return await _in_thread(call)

    def stream(self, stored: StoredObject) -> Iterator[bytes]:
        """Yield an object's bytes, exactly that generation. Blocks: call it from a thread.

        Raises:
            UnavailableError: The store failed; the read may be repeated.
        """
        blob = self._bucket.blob(stored.name, generation=stored.generation)
        with (
            storage_errors(),
            blob.open("rb", chunk_size=_RANGE_BYTES, raw_download=True, **STORAGE) as reader,
        ):
            # The size is known: asking for more would cost one more operation to learn the end.
            remaining = stored.size_bytes
            while remaining > 0 and (chunk := reader.read(min(_READ_BYTES, remaining))):
                remaining -= len(chunk)
                yield chunk

    async def copy(self, source: StoredObject, destination: str) -> None:
        """Copy exactly that generation to ``destination``, unless it is there already.

        A destination that exists was made by an earlier attempt at the same ingest: robots cannot
        write there.
        """

        def call() -> None:
            blob = self._bucket.blob(source.name)
            target = self._bucket.blob(destination)
            token: str | None = None
            while True:
                token, _, _ = target.rewrite(
                    blob,
                    token=token,
                    if_generation_match=0,
                    if_source_generation_match=source.generation,
                    **STORAGE,
                )
                if token is None:
                    return

        try:
            await _in_thread(call)
        except exceptions.PreconditionFailed:
            copied = await self.stat(destination)
            if copied is None or copied.crc32c != source.crc32c:
                raise

    async def put_report(self, name: str, report: bytes) -> None:
        """Store a report; one that is there already is the same ingest's and stays."""

        def call() -> None:
            self._bucket.blob(name).upload_from_string(
                report,
                content_type="application/json",
                if_generation_match=0,
                **STORAGE,
            )

        try:
            await _in_thread(call)
        except exceptions.PreconditionFailed:
            return

    async def read_report(self, name: str) -> bytes | None:
        """Return a stored report, or None."""

        def call() -> bytes | None:
            try:
                body: bytes = self._bucket.blob(name).download_as_bytes(**STORAGE)
            except exceptions.NotFound:
                return None
            return body

        return await _in_thread(call)

    async def delete_objects(self, objects: Sequence[StoredObject]) -> None:
        """Delete exactly the listed generations; one that is gone already is no error."""

        def call() -> None:
            for stored in objects:
                blob = self._bucket.blob(stored.name, generation=stored.generation)
                try:
                    blob.delete(**STORAGE)
                except exceptions.NotFound:
                    continue

        await _in_thread(call)
