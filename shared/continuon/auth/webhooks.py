"""Signatures of the callbacks that the cloud sends, for both ends. Pure.

The signed text is ``{timestamp}.{delivery_id}.`` and then the body, byte for byte. While a secret
is being replaced there is one signature for each secret that is valid.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final

from continuon import limits
from continuon.errors import ContinuonError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

__all__ = [
    "DELIVERY_HEADER",
    "EVENT_HEADER",
    "SIGNATURE_HEADER",
    "TIMESTAMP_HEADER",
    "WebhookError",
    "sign_webhook",
    "verify_webhook",
]

DELIVERY_HEADER: Final = "Continuon-Delivery"
EVENT_HEADER: Final = "Continuon-Event"
SIGNATURE_HEADER: Final = "Continuon-Signature"
TIMESTAMP_HEADER: Final = "Continuon-Timestamp"

_SCHEME: Final = "v1="
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
_DELIVERY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class WebhookError(ContinuonError):
    """A callback is not to be believed.

    Attributes:
        code: ``webhook.malformed``, ``webhook.too_old`` or ``webhook.signature_invalid``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _signature(secret: str, timestamp: int, delivery_id: str, body: bytes) -> str:
    text = f"{timestamp}.{delivery_id}.".encode() + body
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def sign_webhook(
    secrets: Iterable[str], *, timestamp: int, delivery_id: str, event: str, body: bytes
) -> dict[str, str]:
    """Return the headers of a callback.

    Args:
        secrets: Every secret that its receiver may have.
        timestamp: When it is sent, in Unix seconds.
        delivery_id: The same at each repetition.
        event: What happened; not covered by the signature, the body says it too.
        body: As it is sent.
    """
    signed = (_SCHEME + _signature(one, timestamp, delivery_id, body) for one in secrets)
    return {
        DELIVERY_HEADER: delivery_id,
        EVENT_HEADER: event,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: ",".join(signed),
    }


def verify_webhook(
    headers: Mapping[str, str],
    body: bytes,
    *,
    secret: str,
    now: datetime,
    tolerance_s: int = limits.WEBHOOK_TOLERANCE_S,
) -> str:
    """Check that a callback is the cloud's, is recent, and was not changed; return its id.

    A callback may arrive more than once: act on each id once.

    Args:
        headers: Of the request; case does not matter.
        body: Of the request, before it is decoded.
        secret: The receiver's.
        now: The receiver's clock, with its time zone.
        tolerance_s: How far the timestamp may be from ``now``, either way.

    Raises:
        WebhookError: It is not to be believed; ``code`` says why.
    """
    found = {name.lower(): value for name, value in headers.items()}
    timestamp = found.get(TIMESTAMP_HEADER.lower(), "")
    delivery_id = found.get(DELIVERY_HEADER.lower(), "")
    if not _TIMESTAMP.fullmatch(timestamp) or not _DELIVERY.fullmatch(delivery_id):
        raise WebhookError("webhook.malformed", "timestamp or delivery id is missing or malformed")
    expected = _signature(secret, int(timestamp), delivery_id, body)
    offered = found.get(SIGNATURE_HEADER.lower(), "").split(",")
    # All are compared, each in constant time: the time taken says nothing about a match.
    matches = [
        hmac.compare_digest((_SCHEME + expected).encode(), one.strip().encode()) for one in offered
    ]
    if not any(matches):
        raise WebhookError("webhook.signature_invalid", "no signature was made with this secret")
    if abs(now.timestamp() - int(timestamp)) > tolerance_s:
        raise WebhookError("webhook.too_old", f"sent more than {tolerance_s} s away from now")
    return delivery_id
