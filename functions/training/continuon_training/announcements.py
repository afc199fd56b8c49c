"""What training tells the rest through Pub/Sub. Every message may be sent twice."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Final

from continuon.errors import UnavailableError
from continuon.platform.faults import crash_point
from continuon.platform.pubsub import publish
from continuon_training.settings import settings

if TYPE_CHECKING:
    from continuon_training.records import JobRecord
    from continuon_training.store import JobStore

__all__ = ["announce_finished", "request_dispatch", "send_dead_letter"]

_LOGGER: Final = logging.getLogger("continuon.training")


async def request_dispatch(record: JobRecord) -> None:
    """Ask the dispatcher to look at a job: to start its present attempt, or to stop its work.

    Raises:
        UnavailableError: Pub/Sub did not confirm.
    """
    body = {"job_id": record.job_id, "attempt": record.attempt}
    attributes = {
        "event_id": f"{record.job_id}:{record.attempt}:{record.status.value}",
        "type": "training-job",
    }
    await publish(settings().continuon_jobs_topic, json.dumps(body).encode(), attributes)


async def send_dead_letter(data: bytes, reason: str) -> None:
    """Send a message that nobody could apply to the dead letters, with the reason.

    Raises:
        UnavailableError: Pub/Sub did not confirm; the message must not be acknowledged.
    """
    await publish(settings().continuon_dead_jobs_topic, data, {"reason": reason[:500]})


async def announce_finished(store: JobStore, record: JobRecord) -> None:
    """Publish that a job ended, and write down that it was published.

    A failure is logged and left to the watchdog: the job has ended all the same.
    """
    body = {"job_id": record.job_id, "status": record.status.value, "owner_id": record.owner_id}
    attributes = {"event_id": f"{record.job_id}:finished", "type": "training-finished"}
    try:
        await publish(settings().continuon_finished_topic, json.dumps(body).encode(), attributes)
        crash_point("finish.published")
        await store.mark_announced(record.job_id)
    except UnavailableError:
        fields = {"job_id": record.job_id}
        _LOGGER.warning("end of a job not announced yet", extra={"fields": fields})
