"""How a trainer ends when it does not finish, and what its exit status says about that."""

from __future__ import annotations

from enum import IntEnum

from continuon_cloud.errors import ClientError

__all__ = ["CloudLostError", "StoppedError", "TrainerContextError", "TrainerExit"]


class TrainerExit(IntEnum):
    """The exit status of a trainer, contract 1.

    Attributes:
        COMPLETED: The model is stored and reported.
        FAILED: The training failed and said so; the same job would fail again.
        USAGE: It was not started as contract 1 says.
        STOPPED: It was told to stop: cancelled, out of money or time, or replaced.
        LOST: The cloud did not answer for too long; the job goes on from its last checkpoint.
        TERMINATED: SIGTERM; the job goes on from its last checkpoint.
    """

    COMPLETED = 0
    FAILED = 1
    USAGE = 2
    STOPPED = 3
    LOST = 4
    TERMINATED = 143


class TrainerContextError(ClientError):
    """The environment is not that of a trainer."""

    code = "trainer.environment"


class StoppedError(ClientError):
    """The trainer is to end now; nothing that it still does will be kept.

    Attributes:
        reason: ``cancelled``, ``budget``, ``timeout``, ``superseded``, ``ended``,
            ``terminated`` or ``unauthorised``.
    """

    code = "trainer.stopped"

    def __init__(self, reason: str) -> None:
        super().__init__(f"told to stop: {reason}")
        self.reason = reason


class CloudLostError(ClientError):
    """The cloud did not answer for so long that somebody else may have the job by now."""

    code = "trainer.cloud_lost"
