"""Callbacks and their secrets in Firestore."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore import FieldFilter

from continuon.contracts.webhooks import DeliveryStatus
from continuon.platform.audit import append_audit
from continuon.platform.firestore import RPC, firestore_client, firestore_errors
from continuon.platform.transactions import fetch, transact
from continuon_training.webhooks.records import DeliveryRecord, SecretsRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from typing import Any

__all__ = ["HeldDelivery", "WebhookStore"]

_JOBS: Final = "training_jobs"
_DELIVERIES: Final = "webhook_deliveries"
_SECRETS: Final = "webhook_secrets"
_LISTED: Final = 20


class HeldDelivery:
    """A delivery as it was read; writing it succeeds while nobody else has written it."""

    def __init__(
        self, reference: firestore.AsyncDocumentReference, record: DeliveryRecord, seen: Any
    ) -> None:
        self._reference = reference
        self.record = record
        self._seen = seen

    async def write(self, record: DeliveryRecord) -> bool:
        """Write what changed; False when another worker wrote first.

        Raises:
            UnavailableError: Firestore failed; nothing is known about the write.
        """
        fields = record.difference(self.record)
        option = firestore.AsyncClient.write_option(last_update_time=self._seen)
        try:
            with firestore_errors():
                result = await self._reference.update(fields, option=option, **RPC)
        except (exceptions.FailedPrecondition, exceptions.NotFound):
            return False
        self.record, self._seen = record, result.update_time
        return True


class WebhookStore:
    """Reads and writes of callbacks, in the words of the domain."""

    def __init__(self) -> None:
        self._documents = firestore_client()

    # --- Secrets --------------------------------------------------------------------------------

    def _secrets(self, owner_id: str) -> firestore.AsyncDocumentReference:
        # A hash, because an administrator may choose a uid that no document can be named after.
        name = hashlib.sha256(owner_id.encode()).hexdigest()
        return self._documents.collection(_SECRETS).document(name)

    async def secrets(self, owner_id: str) -> SecretsRecord:
        """Return an owner's secrets; none when there never was one."""
        with firestore_errors():
            snapshot = await self._secrets(owner_id).get(**RPC)
        return _secrets_of(snapshot.to_dict(), owner_id)

    async def change_secrets(
        self,
        owner_id: str,
        change: Callable[[SecretsRecord], SecretsRecord],
        *,
        now: datetime,
    ) -> SecretsRecord:
        """Replace an owner's secrets by what ``change`` makes of them."""
        reference = self._secrets(owner_id)

        async def work(transaction: firestore.AsyncTransaction) -> SecretsRecord:
            snapshot = await reference.get(transaction=transaction, **RPC)
            changed = change(_secrets_of(snapshot.to_dict(), owner_id))
            transaction.set(reference, changed.model_dump())
            append_audit(
                transaction,
                actor=owner_id,
                action="webhook.secret",
                subject=reference.path,
                now=now,
            )
            return changed

        return await transact(work)

    # --- Deliveries -----------------------------------------------------------------------------

    async def create(self, record: DeliveryRecord) -> HeldDelivery | None:
        """Create a delivery, or find the one that is there."""
        deliveries = self._documents.collection(_JOBS).document(record.job_id)
        reference: firestore.AsyncDocumentReference = deliveries.collection(_DELIVERIES).document(
            record.delivery_id
        )
        try:
            with firestore_errors():
                await reference.create(record.model_dump(), **RPC)
        except exceptions.AlreadyExists:
            pass
        with firestore_errors():
            snapshot = await reference.get(**RPC)
        return _held(snapshot)

    async def due(self, now: datetime, *, size: int) -> list[HeldDelivery]:
        """Return deliveries that are due, the longest due first."""
        query = (
            self._documents.collection_group(_DELIVERIES)
            .where(filter=FieldFilter("status", "==", DeliveryStatus.PENDING.value))
            .where(filter=FieldFilter("next_attempt_at", "<=", now))
            .order_by("next_attempt_at")
            .limit(size)
        )
        held = [_held(snapshot) for snapshot in await fetch(query)]
        return [one for one in held if one is not None]

    async def of_job(self, job_id: str) -> list[DeliveryRecord]:
        """Return the deliveries of a job."""
        query = self._documents.collection(_JOBS).document(job_id).collection(_DELIVERIES)
        held = [_held(snapshot) for snapshot in await fetch(query.limit(_LISTED))]
        return [one.record for one in held if one is not None]


def _secrets_of(data: dict[str, Any] | None, owner_id: str) -> SecretsRecord:
    return SecretsRecord.model_validate(data) if data else SecretsRecord(owner_id=owner_id)


def _held(snapshot: Any) -> HeldDelivery | None:
    data = snapshot.to_dict()
    if not data:
        return None
    record = DeliveryRecord.model_validate(data)
    return HeldDelivery(snapshot.reference, record, snapshot.update_time)
