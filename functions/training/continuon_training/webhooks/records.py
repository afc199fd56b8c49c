"""The documents of callbacks."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from continuon.contracts.base import Contract, Timestamp
from continuon.contracts.webhooks import (
    DeliveryStatus,
    WebhookAttempt,
    WebhookDelivery,
    WebhookKey,
)

__all__ = ["DeliveryRecord", "SecretRecord", "SecretsRecord"]


class SecretRecord(WebhookKey):
    """One secret. It is kept as it is, because signing needs it; no rule lets anyone read it."""

    secret: str

    def public(self) -> WebhookKey:
        """Return what may be shown again."""
        return WebhookKey.model_validate(self.model_dump())


class SecretsRecord(Contract):
    """``webhook_secrets/{hash of the uid}``: those that sign, newest first."""

    owner_id: str
    keys: list[SecretRecord] = Field(default_factory=list)


class DeliveryRecord(Contract):
    """``training_jobs/{job_id}/webhook_deliveries/{delivery_id}``.

    Attributes:
        body: What is sent, fixed before the first attempt so that every attempt sends the same.
        next_attempt_at: When it is due; while a worker is at it, when that worker counts as dead.
        expires_at: For Firestore's TTL.
    """

    delivery_id: str
    job_id: str
    owner_id: str
    event: str
    url: str
    status: DeliveryStatus
    created_at: Timestamp
    attempts: int = 0
    next_attempt_at: Timestamp | None = None
    delivered_at: Timestamp | None = None
    body: str | None = None
    history: list[WebhookAttempt] = Field(default_factory=list)
    expires_at: Timestamp

    def public(self) -> WebhookDelivery:
        """Return what the job's owner sees."""
        return WebhookDelivery.model_validate(self.model_dump())

    def difference(self, before: DeliveryRecord) -> dict[str, Any]:
        """Return the fields in which this differs from what it was."""
        old, new = before.model_dump(), self.model_dump()
        return {name: value for name, value in new.items() if value != old[name]}
