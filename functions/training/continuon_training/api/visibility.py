"""Who may see a job, and what proves a trainer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends, Path, Request

from continuon import limits
from continuon.auth.problems import CREDENTIALS_MISSING
from continuon.contracts.training import JOB_ID
from continuon.errors import ProblemError
from continuon.platform.identity import Now
from continuon.platform.rates import admit
from continuon_training import tokens
from continuon_training.errors import JOB_NOT_FOUND, JOB_SUPERSEDED, JOB_TOKEN_INVALID
from continuon_training.records import JobRecord
from continuon_training.store import JobStore

if TYPE_CHECKING:
    from datetime import datetime

    from continuon.platform.firestore import Snapshot

__all__ = ["IdOfJob", "LiveTrainer", "Trainer", "TrainerCall", "owned_job"]

_BEARER: Final = "bearer "

IdOfJob = Annotated[str, Path(pattern=JOB_ID.pattern)]


async def owned_job(store: JobStore, job_id: str, uid: str, *, whole: bool = False) -> JobRecord:
    """Return the job if it is the caller's.

    Raises:
        ProblemError: ``job.not_found``, for another's job too: 404 says nothing of it.
    """
    record = await store.find(job_id, whole=whole)
    if record is None or record.owner_id != uid:
        raise ProblemError(JOB_NOT_FOUND)
    return record


@dataclass(frozen=True, slots=True)
class TrainerCall:
    """A call whose token is, or was, one of the job's.

    Attributes:
        record: The job as just read, without its list of episodes.
        token: What the trainer showed; compared again at each conditional write.
        snapshot: Where the record came from.
    """

    record: JobRecord
    token: str
    snapshot: Snapshot

    def is_live(self, record: JobRecord) -> bool:
        """Say whether the token is of the job's present attempt."""
        return tokens.is_among(self.token, record.token_hashes)


async def _trainer(request: Request, job_id: IdOfJob, now: Now) -> TrainerCall:
    authorization = request.headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() != _BEARER:
        raise ProblemError(CREDENTIALS_MISSING)
    token = authorization[len(_BEARER) :]
    snapshot = await JobStore().snapshot(job_id)
    data = snapshot.to_dict()
    record = JobRecord.from_document(data) if data else None
    # One answer for "no such job", "another job's token" and "over long ago".
    if record is None or not _is_known(record, token, now):
        raise ProblemError(JOB_TOKEN_INVALID)
    admit(f"job:{job_id}", now)
    return TrainerCall(record, token, snapshot)


def _is_known(record: JobRecord, token: str, now: datetime) -> bool:
    if record.completed_at is not None:
        grace = timedelta(seconds=limits.JOB_TOKEN_GRACE_S)
        if now > record.completed_at + grace:
            return False
    return tokens.is_among(token, [*record.token_hashes, *record.spent_token_hashes])


Trainer = Annotated[TrainerCall, Depends(_trainer)]
"""Whoever has a token of this job, also a spent one: for answers that say "stop"."""


async def _live(call: Trainer) -> TrainerCall:
    if call.record.status.is_final or not call.is_live(call.record):
        raise ProblemError(JOB_SUPERSEDED, f"The job is {call.record.status.value}.")
    return call


LiveTrainer = Annotated[TrainerCall, Depends(_live)]
"""The trainer of the present attempt of a job that has not ended."""
