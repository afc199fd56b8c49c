"""Jobs that wait to be fetched: a notebook, a laptop or a lab machine leases them over HTTPS.

There is no machine to push to, so nothing is submitted. The job's document is the queue, and its
lease says whether a worker has it; a worker learns of a cancellation from the answer to its next
call (``stop``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_training.executors.base import (
    ExecutorRefusedError,
    LogChunk,
    WorkState,
    WorkStatus,
)

if TYPE_CHECKING:
    from continuon_training.executors.base import Submitted, Work

__all__ = ["PullExecutor", "create"]


def create() -> PullExecutor:
    """Return the executor; it has no settings."""
    return PullExecutor()


class PullExecutor:
    """See the module."""

    name = "pull"
    starts_work = False

    async def submit(self, work: Work) -> Submitted:
        """Refuse: a caller that gets here has not asked ``starts_work``.

        Raises:
            ExecutorRefusedError: ``executor.pull``.
        """
        message = f"{work.name} waits for a worker to lease it; nothing can start it."
        raise ExecutorRefusedError("executor.pull", message)

    async def poll(self, name: str) -> WorkStatus:
        """Answer PENDING; the job's lease knows more."""
        message = f"{name} is known by its lease only."
        return WorkStatus(state=WorkState.PENDING, message=message)

    async def cancel(self, name: str) -> None:
        """Do nothing: the worker asks."""

    async def logs(self, name: str, offset: int = 0) -> LogChunk:  # noqa: ARG002 - the protocol
        """Return nothing: a worker sends its output to the API."""
        return LogChunk("", offset, complete=True)
