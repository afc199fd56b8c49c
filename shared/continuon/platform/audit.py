"""The audit log: who did what to whom, append only, written in the commit of the deed itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from continuon.platform.firestore import firestore_client
from continuon.platform.logging import current_trace_id

if TYPE_CHECKING:
    from datetime import datetime

    from google.cloud.firestore import AsyncTransaction, AsyncWriteBatch

__all__ = ["append_audit"]

_AUDIT: Final = "audit_log"


def append_audit(
    batch: AsyncWriteBatch | AsyncTransaction,
    *,
    actor: str,
    action: str,
    subject: str,
    now: datetime,
    outcome: Literal["done", "refused"] = "done",
    detail: str = "",
) -> None:
    """Add an entry to ``batch``: it exists exactly if what it reports was done.

    Args:
        batch: The deed's own batch.
        actor: A user id, or ``robots/{robot_id}``.
        action: For example ``robot.claim``.
        subject: Path of the document it was done to.
        now: The invocation's reading of the clock.
        outcome: ``refused`` for what was asked for and not done; its batch holds nothing else.
        detail: A sentence: why, or what came of it.
    """
    entry: dict[str, Any] = {
        "actor": actor,
        "action": action,
        "subject": subject,
        "outcome": outcome,
        "at": now,
        "trace_id": current_trace_id.get(),
    }
    if detail:
        entry["detail"] = detail
    batch.create(firestore_client().collection(_AUDIT).document(), entry)
