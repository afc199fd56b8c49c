"""A backend that is full, or does not answer, seen by the dispatcher."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from conftest import local_services
from continuon.contracts.training import JobStatus
from continuon.errors import UnavailableError
from continuon.platform.firestore import firestore_client
from continuon_training import dispatch
from continuon_training.executors.base import (
    ExecutorQuotaError,
    ExecutorUnavailableError,
    LogChunk,
    Submitted,
    Work,
    WorkState,
    WorkStatus,
)
from continuon_training.store import JobStore
from job_records import queued

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

NOW = datetime.now(UTC)


class Unwilling:
    """A backend that answers every submission with ``error``; it has no works."""

    name = "subprocess"
    starts_work = True

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = 0

    async def submit(self, work: Work) -> Submitted:
        assert work.secrets["CONTINUON_JOB_TOKEN"]
        self.asked += 1
        raise self.error

    async def poll(self, name: str) -> WorkStatus:
        assert name
        return WorkStatus(state=WorkState.GONE)

    async def cancel(self, name: str) -> None:
        assert name

    async def logs(self, name: str, offset: int = 0) -> LogChunk:
        assert name
        return LogChunk("", offset, complete=True)


@pytest.fixture(scope="module")
def firestore_host() -> Iterator[str]:
    with local_services("firestore") as ports:
        yield f"127.0.0.1:{ports['firestore']}"


@pytest.fixture
async def store(firestore_host: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobStore]:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_host)
    firestore_client.cache_clear()
    client = firestore_client()
    yield JobStore()
    # The client's own close() leaves the channel's coroutine unawaited.
    await client._firestore_api.transport.close()
    firestore_client.cache_clear()


async def _waiting(store: JobStore, name: str) -> str:
    episode = {"episode_id": name, "owner_id": "olivia", "robot_id": "r", "robot_model": "arm"}
    fields = {**episode, "status": "validated", "training_eligible": True}
    await firestore_client().document(f"rlds_episodes/{name}").set(fields)
    config: dict[str, Any] = {"episode_ids": [name], "episode_count": 1}
    record = queued(job_id=f"job_{name * 20}"[:24], config=config, token_hashes=[])
    await store.create(record, actor="olivia")
    return record.job_id


async def test_a_full_backend_keeps_the_job_queued_and_counts_no_failed_start(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Unwilling(ExecutorQuotaError("The cluster", retry_after_s=90))
    monkeypatch.setattr(dispatch, "executor", lambda _name: full)
    job = await _waiting(store, "q")
    message = json.dumps({"job_id": job, "attempt": 1}).encode()
    for _ in range(8):
        await dispatch.dispatch_message(message, NOW)
    record = await store.find(job)
    assert record is not None
    assert (record.status, record.attempt, record.error) == (JobStatus.QUEUED, 1, None)
    assert (record.dispatch, record.token_hashes) == ({}, [])
    assert record.next_dispatch_at == NOW + timedelta(seconds=90)
    assert full.asked == 8


async def test_a_backend_that_does_not_answer_has_the_message_delivered_again(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Unwilling(ExecutorUnavailableError("The cluster", "timed out"))
    monkeypatch.setattr(dispatch, "executor", lambda _name: silent)
    job = await _waiting(store, "u")
    message = json.dumps({"job_id": job, "attempt": 1}).encode()
    for _ in range(5):
        with pytest.raises(UnavailableError):
            # A lease that was given back is free at once, whatever the clocks say.
            await dispatch.dispatch_message(message, datetime.now(UTC) + timedelta(seconds=1))
    record = await store.find(job)
    assert record is not None
    assert record.status is JobStatus.QUEUED
    assert record.dispatch["attempt"] == 5
    assert record.dispatch["problem"] == "The cluster is unavailable: timed out"
    assert len(record.token_hashes) == 5
    letters: list[tuple[bytes, str]] = []

    async def send(data: bytes, reason: str) -> None:
        letters.append((data, reason))

    monkeypatch.setattr(dispatch, "send_dead_letter", send)
    await dispatch.dispatch_message(message, datetime.now(UTC) + timedelta(seconds=1))
    assert letters == [
        (message, "5 starts failed; the last: The cluster is unavailable: timed out")
    ]
    assert silent.asked == 5
