"""The secret of callbacks, and what became of them."""

from __future__ import annotations

from fastapi import APIRouter

from continuon.contracts.webhooks import (
    WebhookDeliveryList,
    WebhookSecret,
    WebhookSecretState,
)
from continuon.platform.identity import CurrentUser, Now
from continuon_training.api.visibility import IdOfJob, owned_job
from continuon_training.store import JobStore
from continuon_training.webhooks.secrets_of import rotated, valid
from continuon_training.webhooks.store import WebhookStore

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/training", tags=["training"])


@router.put("/webhook-secret")
async def replace_webhook_secret(user: CurrentUser, now: Now) -> WebhookSecret:
    """Make a new secret for your callbacks. It is shown this once.

    The one before it signs for a day more, next to the new one: change your receivers within it.
    """
    changed = await WebhookStore().change_secrets(
        user.uid, lambda present: rotated(present, now), now=now
    )
    keys = [key.public() for key in changed.keys]
    return WebhookSecret(keys=keys, secret=changed.keys[0].secret)


@router.get("/webhook-secret")
async def get_webhook_secret(user: CurrentUser, now: Now) -> WebhookSecretState:
    """Say which secrets sign your callbacks, without the secrets."""
    present = await WebhookStore().secrets(user.uid)
    return WebhookSecretState(keys=[key.public() for key in valid(present, now)])


@router.get("/jobs/{job_id}/deliveries")
async def list_deliveries(job_id: IdOfJob, user: CurrentUser) -> WebhookDeliveryList:
    """List a job's callbacks: each attempt with the receiver's answer, and when the next one is."""
    await owned_job(JobStore(), job_id, user.uid)
    records = await WebhookStore().of_job(job_id)
    return WebhookDeliveryList(deliveries=[record.public() for record in records])
