"""Dead letters: a message that nobody could apply ends its job, and the job says why."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from continuon.contracts.training import JobError, JobStatus
from continuon.errors import ProblemError
from continuon_training import service
from continuon_training.announcements import announce_finished
from continuon_training.cleanup import clean_up
from continuon_training.dispatch import parse_message
from continuon_training.errors import JOB_NOT_FOUND
from continuon_training.store import JobStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from continuon_training.dispatch import JobMessage
    from continuon_training.records import JobRecord

__all__ = ["bury"]

_LOGGER: Final = logging.getLogger("continuon.training")
_PUBSUB_COUNT: Final = "CloudPubSubDeadLetterSourceDeliveryCount"
"""Attribute that Pub/Sub itself adds where a subscription has a dead-letter policy."""


async def bury(data: bytes, attributes: Mapping[str, str], now: datetime) -> None:
    """Fail the job that a dead letter is about, if it still waits for that start.

    Raises:
        UnavailableError: A store failed: the message has to come again.
    """
    message, reason = parse_message(data), _reason(attributes)
    if message is None:
        # Nothing to fail: the letter stays in the log, whole.
        fields = {"reason": reason, "message_data": data[:1000].decode("utf-8", "replace")}
        _LOGGER.error("dead letter without a job", extra={"fields": fields})
        return
    store = JobStore()

    def failed(present: JobRecord) -> JobRecord:
        if not _waits(present, message):
            return present
        return service.fail(present, JobError(code="job.dispatch_failed", message=reason), now)

    try:
        before, after = await store.change(message.job_id, failed)
    except ProblemError as problem:
        if problem.type is not JOB_NOT_FOUND:
            raise
        _LOGGER.exception("dead letter of no job", extra={"fields": {"job_id": message.job_id}})
        return
    if after.status is not before.status or after.announced is False:
        await announce_finished(store, after)
        # What fails here is done by the watchdog: the job has ended all the same.
        await clean_up(store, after)


def _waits(record: JobRecord, message: JobMessage) -> bool:
    return record.status is JobStatus.QUEUED and record.attempt == message.attempt


def _reason(attributes: Mapping[str, str]) -> str:
    if reason := attributes.get("reason"):
        return reason
    if count := attributes.get(_PUBSUB_COUNT):
        return f"The job could not be dispatched in {count} deliveries."
    return "The job could not be dispatched."
