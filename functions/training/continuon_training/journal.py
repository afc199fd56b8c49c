"""What a trainer writes down as it goes: metrics and logs, below its job's document.

One document for each request, not for each row: a plot of 10,000 points costs 20 writes. The caps
are counted on the job in the same commit, so they hold however requests overlap, to within one.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore import FieldFilter

from continuon import limits
from continuon.contracts.training import LogChunk, MetricRow
from continuon.platform.documents import restored, storable
from continuon.platform.firestore import RPC, firestore_client, firestore_errors
from continuon_training.store import JOBS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from google.cloud.firestore import AsyncCollectionReference

    from continuon_training.records import JobRecord

__all__ = ["Journal"]

_PAGE: Final = 50
"""Documents in one answer: at most 25,000 rows of metrics, or 3.2 MB of a log."""


class Journal:
    """Metrics and logs of one job."""

    def __init__(self, job_id: str) -> None:
        self._documents = firestore_client()
        self._job = self._documents.collection(JOBS).document(job_id)

    async def add_metrics(
        self, record: JobRecord, rows: Sequence[MetricRow], now: datetime
    ) -> tuple[int, bool]:
        """Store rows; return how many, and whether the job's cap cut some off.

        The same rows of the same attempt sent again are stored once.
        """
        left = max(0, limits.MAX_METRIC_ROWS - record.metric_rows)
        kept = [row.model_dump(exclude_none=True) for row in rows[:left]]
        if not kept:
            return 0, True
        latest: dict[str, float] = {}
        for row in rows[:left]:
            prefix = f"{row.split}/" if row.split else ""
            extra = row.__pydantic_extra__ or {}
            latest |= {f"{prefix}{name}": value for name, value in extra.items()}
        text = json.dumps([record.attempt, kept], sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        entry = {"attempt": record.attempt, "at": now, "rows": kept}
        step = max(row.step for row in rows[:left])
        changes = {
            "metric_rows": firestore.Increment(len(kept)),
            "metrics": {**record.metrics, **latest},
            "step": max(step, record.step or 0),
        }
        stored = await self._add("metrics", name, entry, changes)
        return (len(kept) if stored else 0), len(kept) < len(rows)

    async def add_log(
        self, record: JobRecord, sequence: int, text: str, now: datetime
    ) -> tuple[bool, bool]:
        """Store one chunk; return whether it was new, and whether the job's cap refused it."""
        size = len(text.encode())
        if record.log_bytes + size > limits.MAX_LOG_BYTES:
            return False, True
        # Document names sort as attempts and sequences do: the log's order needs no index.
        name = f"{record.attempt:03d}-{sequence:08d}"
        entry = {"attempt": record.attempt, "sequence": sequence, "at": now, "text": text}
        changes = {"log_bytes": firestore.Increment(size)}
        return await self._add("logs", name, entry, changes), False

    async def _add(
        self, collection: str, name: str, entry: dict[str, Any], changes: dict[str, Any]
    ) -> bool:
        batch = self._documents.batch()
        batch.create(self._job.collection(collection).document(name), storable_rows(entry))
        batch.update(self._job, changes)
        try:
            with firestore_errors():
                await batch.commit(**RPC)
        except exceptions.AlreadyExists:
            return False
        return True

    async def metrics(self, after: tuple[datetime, str] | None) -> tuple[list[MetricRow], Any]:
        """Return rows behind ``after`` in the order they came, and where they end."""
        query = self._job.collection("metrics").order_by("at").order_by("__name__").limit(_PAGE)
        if after is not None:
            moment, name = after
            reference = self._job.collection("metrics").document(name)
            query = query.start_after({"at": moment, "__name__": reference})
        with firestore_errors():
            snapshots = await query.get(**RPC)
        rows = [
            MetricRow.model_validate(row)
            for snapshot in snapshots
            for row in restored((snapshot.to_dict() or {})["rows"])
        ]
        last = snapshots[-1] if snapshots else None
        return rows, ((last.get("at"), last.id) if last is not None else after)

    async def logs(self, after: str | None) -> tuple[list[LogChunk], str | None]:
        """Return chunks behind the one named ``after``, and the name of the last."""
        collection: AsyncCollectionReference = self._job.collection("logs")
        query = collection.order_by("__name__").limit(_PAGE)
        if after is not None:
            query = query.where(filter=FieldFilter("__name__", ">", collection.document(after)))
        with firestore_errors():
            snapshots = await query.get(**RPC)
        chunks = [LogChunk.model_validate(snapshot.to_dict() or {}) for snapshot in snapshots]
        return chunks, (snapshots[-1].id if snapshots else after)


def storable_rows(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry whose rows, which strangers named, can be held by a document."""
    return {**entry, "rows": storable(entry["rows"])} if "rows" in entry else entry
