"""Callbacks of training jobs: their secret, what became of them, and receiving them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from continuon import limits
from continuon.auth import webhooks
from continuon.auth.webhooks import WebhookError
from continuon.contracts.webhooks import WebhookDeliveryList, WebhookSecret, WebhookSecretState
from continuon_cloud.answers import read, segment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from continuon_cloud.transport import Transport

__all__ = ["WebhookClient", "WebhookError", "verify_webhook"]

_SECRET = "/api/v1/training/webhook-secret"  # noqa: S105 - a path


class WebhookClient:
    """The signed-in person's callbacks; `ContinuonClient.webhooks` is one.

    Every method raises :class:`~continuon_cloud.errors.ApiProblem` when the service refuses and
    :class:`~continuon_cloud.errors.UnreachableError` when there is no answer.

    Args:
        transport: Of the client.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def new_secret(self) -> WebhookSecret:
        """Make a secret; the one before it signs for a day more. It is shown this once."""
        return read(WebhookSecret, await self._transport.call("PUT", _SECRET))

    async def secrets(self) -> WebhookSecretState:
        """Return which secrets sign, without the secrets."""
        return read(WebhookSecretState, await self._transport.call("GET", _SECRET))

    async def deliveries(self, job_id: str) -> WebhookDeliveryList:
        """Return a job's callbacks with every attempt."""
        job = segment(job_id)
        path = f"/api/v1/training/jobs/{job}/deliveries"
        return read(WebhookDeliveryList, await self._transport.call("GET", path))


def verify_webhook(
    headers: Mapping[str, str],
    body: bytes,
    secret: str,
    *,
    now: datetime | None = None,
    tolerance_s: int = limits.WEBHOOK_TOLERANCE_S,
) -> str:
    """Check that a callback is the cloud's, is recent, and was not changed; return its id.

    Verify before the body is decoded, answer with any 2xx, and act on each id once: a callback may
    arrive more than once.

    Args:
        headers: Of the request; case does not matter.
        body: Of the request, byte for byte.
        secret: What ``continuon webhooks new-secret`` showed.
        now: The receiver's clock; this machine's when left out.
        tolerance_s: How far the callback's timestamp may be from it, either way.

    Raises:
        WebhookError: It is not to be believed; ``code`` says why.
    """
    moment = now or datetime.now(UTC)
    return webhooks.verify_webhook(
        headers, body, secret=secret, now=moment, tolerance_s=tolerance_s
    )
