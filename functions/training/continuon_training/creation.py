"""How a job comes to be: pure, but for what it is given."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from continuon.contracts.training import Backend, JobConfig, JobRequest, JobStatus
from continuon.errors import FieldProblem, ProblemError
from continuon_training import money, selection
from continuon_training.errors import BACKEND_DISABLED, BACKEND_LABEL_REQUIRED
from continuon_training.records import JobRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from continuon_training.money import PriceTable

__all__ = ["check_backend", "job_id", "new_job", "request_digest", "retried"]

_ID_CHARS: Final = 20
_ID_BYTES: Final = 13
"""104 bits give 21 characters of base32, of which 20 are kept."""


def job_id(owner_id: str, idempotency_key: str | None) -> str:
    """Return the id of a new job: random, or the same for the same key of the same owner."""
    if idempotency_key is None:
        source = secrets.token_bytes(_ID_BYTES)
    else:
        source = hashlib.sha256(f"{owner_id}\n{idempotency_key}".encode()).digest()
    return f"job_{base64.b32encode(source).decode().lower()[:_ID_CHARS]}"


def request_digest(request: JobRequest) -> str:
    """Return what two requests have in common exactly if they ask for the same."""
    text = json.dumps(request.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def check_backend(request: JobRequest, enabled: Iterable[Backend]) -> None:
    """Check that this deployment can run the job.

    Raises:
        ProblemError: ``job.backend_disabled`` or ``job.backend_label_required``.
    """
    allowed = sorted(backend.value for backend in enabled)
    if request.backend.value not in allowed:
        field = FieldProblem(
            BACKEND_DISABLED.code, "backend", f"is not one of {', '.join(allowed)}"
        )
        raise ProblemError(
            BACKEND_DISABLED, f"It has: {', '.join(allowed) or 'none'}.", errors=[field]
        )
    if request.backend is Backend.PULL and request.backend_label is None:
        field = FieldProblem(BACKEND_LABEL_REQUIRED.code, "backend_label", "is missing")
        raise ProblemError(BACKEND_LABEL_REQUIRED, errors=[field])


def new_job(
    request: JobRequest,
    *,
    owner_id: str,
    episode_ids: Sequence[str],
    model_base: str | None,
    name: str,
    prices: PriceTable,
    redispatch_s: int,
    now: datetime,
) -> JobRecord:
    """Return the record of a job that is about to be queued over ``episode_ids``.

    ``model_base`` is what `bases.resolve` has made of the request's; the digest is of what was
    asked, so that a repetition is one also after an alias moved.

    Raises:
        ProblemError: ``job.no_episodes`` or ``job.episodes_too_large``.
    """
    selection.check_size(episode_ids)
    fields = request.model_dump(exclude={"type", "episode_ids", "model_base"})
    ordered = sorted(episode_ids)
    config = JobConfig(
        **fields,
        model_base=model_base,
        episode_ids=ordered,
        episode_count=len(ordered),
        episodes_digest=selection.digest(ordered),
    )
    return JobRecord(
        job_id=name,
        owner_id=owner_id,
        type=request.type,
        status=JobStatus.QUEUED,
        created_at=now,
        updated_at=now,
        queued_at=now,
        config=config,
        request_digest=request_digest(request),
        month=money.month_of(now),
        next_dispatch_at=_redispatch(config.backend, now, redispatch_s),
        usd_per_hour=money.usd_per_hour(prices, config.backend, config.resources),
    )


def retried(
    record: JobRecord,
    *,
    name: str,
    episode_ids: Sequence[str],
    prices: PriceTable,
    redispatch_s: int,
    now: datetime,
) -> JobRecord:
    """Return a new job that does what an ended one did, from its newest checkpoint on.

    Raises:
        ProblemError: ``job.no_episodes``.
    """
    selection.check_size(episode_ids)
    fresh = JobRecord(
        job_id=name,
        owner_id=record.owner_id,
        type=record.type,
        status=JobStatus.QUEUED,
        created_at=now,
        updated_at=now,
        queued_at=now,
        config=record.config,
        request_digest=record.request_digest,
        month=money.month_of(now),
        next_dispatch_at=_redispatch(record.config.backend, now, redispatch_s),
        usd_per_hour=money.usd_per_hour(prices, record.config.backend, record.config.resources),
        checkpoint=record.checkpoint,
        step=record.checkpoint.step if record.checkpoint else None,
        retry_of=record.job_id,
    )
    same = len(episode_ids) == len(record.config.episode_ids)
    return fresh if same else selection.with_episodes(fresh, episode_ids)


def _redispatch(backend: Backend, now: datetime, redispatch_s: int) -> datetime | None:
    """Return when the job's message counts as lost; a pull job has none."""
    return None if backend is Backend.PULL else now + timedelta(seconds=redispatch_s)
