"""Receiving the callbacks of training jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from continuon import limits
from continuon.auth import webhooks
from continuon.auth.webhooks import WebhookError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["WebhookError", "verify_webhook"]


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
        secret: What ``PUT /api/v1/training/webhook-secret`` showed.
        now: The receiver's clock; this machine's when left out.
        tolerance_s: How far the callback's timestamp may be from it, either way.

    Raises:
        WebhookError: It is not to be believed; ``code`` says why.
    """
    moment = now or datetime.now(UTC)
    return webhooks.verify_webhook(
        headers, body, secret=secret, now=moment, tolerance_s=tolerance_s
    )
