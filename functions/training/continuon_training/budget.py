"""An account's money of one month."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon import limits
from continuon.errors import ProblemError
from continuon_training.errors import BUDGET_EXHAUSTED

if TYPE_CHECKING:
    from continuon_training.records import JobRecord
    from continuon_training.store import JobStore

__all__ = ["check_month", "monthly_limit_usd"]


async def monthly_limit_usd(store: JobStore, owner_id: str) -> float:
    """Return what an account may spend in a month."""
    limit = await store.monthly_limit_usd(owner_id)
    return limits.DEFAULT_MONTHLY_BUDGET_USD if limit is None else limit


async def check_month(store: JobStore, record: JobRecord) -> None:
    """Check that the account has money left in the job's month; what costs nothing needs none.

    Raises:
        ProblemError: ``budget.exhausted``.
    """
    if record.usd_per_hour <= 0:
        return
    limit = await monthly_limit_usd(store, record.owner_id)
    used = await store.used_usd(record.owner_id, record.month)
    if used >= limit:
        raise ProblemError(
            BUDGET_EXHAUSTED, f"{used:.2f} of {limit:.2f} USD of {record.month} are used."
        )
