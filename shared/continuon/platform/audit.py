"""The audit log: who did what to whom, append only, written in the commit of the deed itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from continuon.platform.firestore import firestore_client
from continuon.platform.logging import current_trace_id

if TYPE_CHECKING:
    from datetime import datetime

    from google.cloud.firestore import AsyncWriteBatch

__all__ = ["append_audit"]

_AUDIT: Final = "audit_log"


def append_audit(
    batch: AsyncWriteBatch, *, actor: str, action: str, subject: str, now: datetime
) -> None:
    """Add an entry to ``batch``: it exists exactly if what it reports was done.

    Args:
        batch: The deed's own batch.
        actor: A user id, or ``robots/{robot_id}``.
        action: For example ``robot.claim``.
        subject: Path of the document it was done to.
        now: The invocation's reading of the clock.
    """
    entry: dict[str, Any] = {
        "actor": actor,
        "action": action,
        "subject": subject,
        "outcome": "done",
        "at": now,
        "trace_id": current_trace_id.get(),
    }
    batch.create(firestore_client().collection(_AUDIT).document(), entry)
