"""Stop whatever still runs for a job at its backend. May be repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon.contracts.training import Backend
from continuon_training.executors import executor
from continuon_training.executors.base import ExecutorRefusedError, work_name

if TYPE_CHECKING:
    from continuon_training.records import JobRecord
    from continuon_training.store import JobStore

__all__ = ["clean_up"]


async def clean_up(store: JobStore, record: JobRecord) -> None:
    """Cancel the works of earlier attempts, and the present one's if the job has ended.

    The present attempt's work is cancelled by its name even where no dispatcher recorded it: one
    may have died between its submission and its record.

    Raises:
        UnavailableError: The backend or Firestore did not answer; try again later.
    """
    if record.config.backend is Backend.PULL:
        return
    names = list(record.backend.stale)
    if record.status.is_final:
        names.append(record.backend.name or work_name(record.job_id, record.attempt))
    try:
        backend = executor(record.config.backend.value)
        for name in names:
            await backend.cancel(name)
    except ExecutorRefusedError:
        # The backend is not installed here any more: nothing of ours can reach its works.
        pass
    await store.change(record.job_id, lambda present: _cleaned(present, record))


def _cleaned(present: JobRecord, seen: JobRecord) -> JobRecord:
    """Return the job without what was stopped; what came up since then stays due."""
    left = [name for name in present.backend.stale if name not in seen.backend.stale]
    ended_since = present.status.is_final and not seen.status.is_final
    due = present.backend.cleanup_at if left or ended_since else None
    work = present.backend.model_copy(update={"stale": left, "cleanup_at": due})
    return present.model_copy(update={"backend": work})
