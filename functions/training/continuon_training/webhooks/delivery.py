"""From the end of a job to its callback, delivered at least once.

The delivery is a document before anything is sent. Each attempt first claims it, in one
conditional write that also says when the claimant counts as dead; so a worker that dies leaves a
delivery that comes due again. The first attempt is the event's, the others are the schedule's: an
event that was raised again and again would make other users' callbacks wait for one bad receiver.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from continuon import limits
from continuon.auth.webhooks import sign_webhook
from continuon.contracts.training import JOB_ID, JobStatus
from continuon.contracts.webhooks import DeliveryStatus, WebhookAttempt
from continuon.errors import ProblemError
from continuon.platform.faults import crash_point
from continuon_training.store import JobStore
from continuon_training.webhooks.records import DeliveryRecord
from continuon_training.webhooks.rules import check_url, next_attempt
from continuon_training.webhooks.secrets_of import valid
from continuon_training.webhooks.sender import Sender, Sent
from continuon_training.webhooks.settings import settings
from continuon_training.webhooks.store import WebhookStore

if TYPE_CHECKING:
    from continuon_training.records import JobRecord
    from continuon_training.webhooks.store import HeldDelivery

__all__ = ["deliver_due", "finished_message"]

_LOGGER: Final = logging.getLogger("continuon.training")
_AT_ONCE: Final = 10
_GONE: Final = 410
"""A receiver that says so is not asked again (RFC 9110 section 15.5.11)."""

_REGISTRATION_WAIT: Final = timedelta(seconds=10)
"""How long the event waits for the result to be registered, which usually takes under a second."""

_REGISTRATION_PATIENCE: Final = timedelta(minutes=5)
"""How long a callback is put off until its result is registered; then it is sent without."""

_POLL_S: Final = 0.5
_BROKEN: Final = "broken"
_TICK_S: Final = 35.0
"""How long one run of the schedule begins new rounds: the last one takes up to twice an attempt's
ten seconds, and the function is stopped after 60."""


async def finished_message(data: bytes, now: datetime) -> None:
    """Handle a message of `training-finished`; one that names no job is logged and acknowledged.

    Raises:
        UnavailableError: Firestore failed; the message has to come again.
    """
    try:
        job_id = json.loads(data)["job_id"]
    except (KeyError, TypeError, ValueError, RecursionError):
        job_id = None
    if not isinstance(job_id, str) or not JOB_ID.fullmatch(job_id):
        _LOGGER.error("malformed message of a finished job")
        return
    await _job_finished(job_id, now)


async def _job_finished(job_id: str, now: datetime) -> None:
    """Make the delivery and try it once."""
    jobs, store = JobStore(), WebhookStore()
    job = await jobs.find(job_id)
    if job is None or not job.status.is_final or job.config.callback_url is None:
        return
    held = await store.create(_delivery(job, job.config.callback_url, now))
    crash_point("webhook.recorded")
    if held is None or not _is_due(held.record, now):
        return
    job = await _registered(jobs, job)
    await _attempt(store, Sender(), held, job, now)


async def deliver_due(now: datetime) -> dict[str, int]:
    """Try what is due, the longest due first, for most of a minute; return how many of each end."""
    store, jobs, sender = WebhookStore(), JobStore(), Sender()
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(held: HeldDelivery) -> str:
        async with slots:
            job = await jobs.find(held.record.job_id)
            return await _attempt(store, sender, held, job, datetime.now(UTC))

    ends: Counter[str] = Counter()
    deadline = time.monotonic() + _TICK_S
    # Whatever was tried is due later, so that each round finds others.
    while due := await store.due(now, size=limits.WEBHOOK_DUE_AT_ONCE):
        found = await asyncio.gather(*(one(held) for held in due), return_exceptions=True)
        ends.update(_word(end) for end in found)
        if ends[_BROKEN] or time.monotonic() > deadline:
            break
    return dict(ends)


def _word(end: str | BaseException) -> str:
    if isinstance(end, str):
        return end
    _LOGGER.error("callback not tried", exc_info=end)
    return _BROKEN


def _delivery(job: JobRecord, url: str, now: datetime) -> DeliveryRecord:
    digest = hashlib.sha256(f"{job.job_id}\n{job.status.value}".encode()).hexdigest()
    return DeliveryRecord(
        delivery_id=f"dlv_{digest[:24]}",
        job_id=job.job_id,
        owner_id=job.owner_id,
        event=f"training.job.{job.status.value}",
        url=url,
        status=DeliveryStatus.PENDING,
        created_at=now,
        next_attempt_at=now,
        expires_at=now + timedelta(seconds=limits.WEBHOOK_KEPT_S),
    )


def _is_due(record: DeliveryRecord, now: datetime) -> bool:
    due_at = record.next_attempt_at
    return record.status is DeliveryStatus.PENDING and due_at is not None and due_at <= now


def _awaits_registration(job: JobRecord) -> bool:
    output = job.output
    has_artifact = output is not None and output.artifact is not None
    is_registered = output is not None and output.registration is not None
    return job.status is JobStatus.COMPLETED and has_artifact and not is_registered


def _is_waiting(record: DeliveryRecord, job: JobRecord | None, now: datetime) -> bool:
    """Say whether the callback is put off, so that it can name the model that the job made."""
    if record.body is not None or job is None or not _awaits_registration(job):
        return False
    return now < record.created_at + _REGISTRATION_PATIENCE


async def _registered(jobs: JobStore, job: JobRecord) -> JobRecord:
    """Return the job once its result is registered, or as it is when that takes too long."""
    deadline = datetime.now(UTC) + _REGISTRATION_WAIT
    while _awaits_registration(job) and datetime.now(UTC) < deadline:
        await asyncio.sleep(_POLL_S)
        job = await jobs.find(job.job_id) or job
    return job


async def _attempt(
    store: WebhookStore,
    sender: Sender,
    held: HeldDelivery,
    job: JobRecord | None,
    now: datetime,
) -> str:
    """Claim a delivery, send it, write down what came of it; return that in a word."""
    record = held.record
    if _is_waiting(record, job, now):
        later = now + timedelta(seconds=limits.WEBHOOK_BACKOFF_S[0])
        await held.write(record.model_copy(update={"next_attempt_at": later}))
        return "waiting"
    claimed = record.model_copy(
        update={
            "attempts": record.attempts + 1,
            "next_attempt_at": now + timedelta(seconds=limits.WEBHOOK_CLAIM_S),
            "body": record.body or _body(record, job),
        }
    )
    if not await held.write(claimed):
        return "taken"
    crash_point("webhook.claimed")
    sent = await _send(store, sender, claimed, now)
    crash_point("webhook.sent")
    ended = _after(claimed, sent, datetime.now(UTC))
    # Not ours any more: another worker took over, and writes what came of its own attempt.
    await held.write(ended)
    fields = {"delivery_id": record.delivery_id, "status": sent.status, "attempt": ended.attempts}
    _LOGGER.info("callback %s", ended.status.value, extra={"fields": fields})
    return ended.status.value


async def _send(store: WebhookStore, sender: Sender, record: DeliveryRecord, now: datetime) -> Sent:
    secrets = valid(await store.secrets(record.owner_id), now)
    if not secrets:
        return Sent(None, "there is no secret to sign with")
    try:
        target = check_url(record.url, settings().allowed_hosts)
    except ProblemError as problem:
        return Sent(None, problem.detail)
    body = (record.body or "").encode()
    headers = sign_webhook(
        [key.secret for key in secrets],
        timestamp=int(datetime.now(UTC).timestamp()),
        delivery_id=record.delivery_id,
        event=record.event,
        body=body,
    )
    fixed = {
        "host": _authority(target.host, target.port, is_tls=target.is_tls),
        "content-type": "application/json",
        "user-agent": "continuon-webhooks/1",
        "content-length": str(len(body)),
    }
    return await sender.send(target, record.url, fixed | headers, body)


def _authority(host: str, port: int, *, is_tls: bool) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port == (443 if is_tls else 80) else f"{name}:{port}"


def _after(record: DeliveryRecord, sent: Sent, now: datetime) -> DeliveryRecord:
    """Return the delivery once an attempt ended as ``sent``."""
    attempt = WebhookAttempt(at=now, status=sent.status, error=sent.error)
    update: dict[str, Any] = {"history": [*record.history, attempt]}
    if sent.is_delivered:
        update |= {"status": DeliveryStatus.DELIVERED, "delivered_at": now}
        return record.model_copy(update={**update, "next_attempt_at": None})
    again = None if sent.status == _GONE else next_attempt(record.attempts, now)
    if again is None:
        update["status"] = DeliveryStatus.FAILED
    return record.model_copy(update={**update, "next_attempt_at": again})


def _body(record: DeliveryRecord, job: JobRecord | None) -> str:
    """Return what is sent: small, and without anything that a log should not hold."""
    told: dict[str, Any] = {"job_id": record.job_id}
    if job is not None:
        told = job.public().model_dump(
            mode="json",
            include={
                "job_id",
                "type",
                "status",
                "created_at",
                "started_at",
                "completed_at",
                "attempt",
                "cost_usd",
                "error",
                "output",
            },
        )
        told["robot_model"] = job.config.robot_model
    document = {
        "type": record.event,
        "delivery_id": record.delivery_id,
        "created_at": record.model_dump(mode="json")["created_at"],
        "job": told,
    }
    return json.dumps(document, separators=(",", ":"))
