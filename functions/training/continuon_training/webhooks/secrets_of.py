"""The secrets that callbacks are signed with: made, replaced with an overlap, told once. Pure."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from continuon import limits
from continuon_training.webhooks.records import SecretRecord, SecretsRecord

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["rotated", "valid"]

_SECRET_BYTES: Final = 32
_ID_BYTES: Final = 4


def rotated(present: SecretsRecord, now: datetime) -> SecretsRecord:
    """Return the secrets with a new one in front; the others sign for a day more."""
    end = now + timedelta(seconds=limits.WEBHOOK_SECRET_OVERLAP_S)
    kept = [
        key.model_copy(update={"expires_at": min(key.expires_at or end, end)})
        for key in valid(present, now)
    ]
    new = SecretRecord(
        key_id=f"whk_{secrets.token_hex(_ID_BYTES)}",
        created_at=now,
        secret=f"whsec_{secrets.token_urlsafe(_SECRET_BYTES)}",
    )
    return present.model_copy(update={"keys": [new, *kept][: limits.WEBHOOK_MAX_SECRETS]})


def valid(present: SecretsRecord, now: datetime) -> list[SecretRecord]:
    """Return the secrets that sign at ``now``, newest first."""
    return [key for key in present.keys if key.expires_at is None or key.expires_at > now]
