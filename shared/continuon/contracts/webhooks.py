"""Callbacks out of the cloud: their secret, and what became of each delivery."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from continuon.contracts.base import Contract, Timestamp

__all__ = [
    "DeliveryStatus",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookDeliveryList",
    "WebhookKey",
    "WebhookSecret",
    "WebhookSecretState",
]


class DeliveryStatus(StrEnum):
    """Where a delivery is on its way."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookKey(Contract):
    """A secret that callbacks are signed with, without the secret."""

    key_id: str
    created_at: Timestamp
    expires_at: Timestamp | None = Field(
        default=None, description="When it signs no more; absent for the newest."
    )


class WebhookSecretState(Contract):
    """The secrets that your callbacks are signed with now, newest first."""

    keys: list[WebhookKey]


class WebhookSecret(WebhookSecretState):
    """A new secret. It is shown this once."""

    secret: str = Field(description="Shown once; keep it where your receiver can read it.")


class WebhookAttempt(Contract):
    """One try to deliver."""

    at: Timestamp
    status: int | None = Field(default=None, description="The receiver's answer, if there was one.")
    error: str | None = Field(default=None, description="Why there was none, or why it is no use.")


class WebhookDelivery(Contract):
    """One callback. It may arrive more than once, always with the same id and body."""

    delivery_id: str
    job_id: str
    event: str = Field(examples=["training.job.completed"])
    url: str
    status: DeliveryStatus
    created_at: Timestamp
    attempts: int
    next_attempt_at: Timestamp | None = None
    delivered_at: Timestamp | None = None
    history: list[WebhookAttempt] = Field(default_factory=list)


class WebhookDeliveryList(Contract):
    """The callbacks of a job."""

    deliveries: list[WebhookDelivery]
