"""Leases on a real Firestore: one worker at a time, and the work done once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud.firestore import AsyncDocumentReference

from continuon.platform.leases import (
    Completed,
    InProgress,
    Lease,
    LeaseLostError,
    released_on_error,
    take,
)

NOW = datetime(2026, 1, 4, 12, 0, 0, tzinfo=UTC)
LEASE = timedelta(seconds=60)


async def ask(
    reference: AsyncDocumentReference, *, now: datetime = NOW, key: str = "work-1"
) -> Lease | InProgress | Completed:
    snapshot = await reference.get()
    return await take(
        reference, field="ingest", key=key, lease_for=LEASE, now=now, snapshot=snapshot
    )


async def held(reference: AsyncDocumentReference, **options: Any) -> Lease:
    lease = await ask(reference, **options)
    assert isinstance(lease, Lease)
    return lease


async def fields(reference: AsyncDocumentReference) -> dict[str, Any]:
    return (await reference.get()).to_dict() or {}


@pytest.fixture(autouse=True)
async def _document(reference: AsyncDocumentReference) -> None:
    await reference.set({"status": "raw"})


async def test_of_eight_workers_one_gets_the_work(reference: AsyncDocumentReference) -> None:
    snapshot = await reference.get()
    outcomes = await asyncio.gather(
        *(
            take(reference, field="ingest", key="k", lease_for=LEASE, now=NOW, snapshot=snapshot)
            for _ in range(8)
        )
    )
    leases = [outcome for outcome in outcomes if isinstance(outcome, Lease)]
    assert len(leases) == 1
    assert all(isinstance(o, InProgress) for o in outcomes if o is not leases[0])
    record = (await fields(reference))["ingest"]
    assert record["token"] == leases[0].token
    assert record["attempt"] == 1


async def test_a_lease_whose_answer_was_lost_is_held_all_the_same(
    reference: AsyncDocumentReference, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = await reference.get()
    update = AsyncDocumentReference.update

    async def repeated(*arguments: Any, **options: Any) -> Any:
        # What the client does when the connection breaks after the service has written.
        await update(*arguments, **options)
        return await update(*arguments, **options)

    monkeypatch.setattr(AsyncDocumentReference, "update", repeated)
    lease = await take(
        reference, field="ingest", key="k", lease_for=LEASE, now=NOW, snapshot=snapshot
    )
    monkeypatch.undo()
    assert isinstance(lease, Lease)
    await lease.write({"status": "validated"}, completed=True)
    assert (await fields(reference))["status"] == "validated"


async def test_workers_that_come_while_it_is_done_are_told_until_when(
    reference: AsyncDocumentReference,
) -> None:
    await held(reference)
    outcome = await ask(reference, now=NOW + LEASE - timedelta(seconds=1))
    assert outcome == InProgress(NOW + LEASE)


async def test_the_work_of_a_dead_worker_is_taken_over_by_one(
    reference: AsyncDocumentReference,
) -> None:
    dead = await held(reference)
    outcomes = await asyncio.gather(*(ask(reference, now=NOW + LEASE) for _ in range(8)))
    (lease,) = [outcome for outcome in outcomes if isinstance(outcome, Lease)]
    assert (dead.attempt, lease.attempt) == (1, 2)
    assert lease.token != dead.token


async def test_who_lost_the_lease_writes_nothing_more(reference: AsyncDocumentReference) -> None:
    slow = await held(reference)
    await held(reference, now=NOW + LEASE)
    before = await fields(reference)
    with pytest.raises(LeaseLostError):
        await slow.write({"status": "validated"})
    with pytest.raises(LeaseLostError):
        await slow.write({}, completed=True)
    assert await fields(reference) == before


async def test_a_lease_on_a_deleted_document_is_lost(reference: AsyncDocumentReference) -> None:
    lease = await held(reference)
    await reference.delete()
    with pytest.raises(LeaseLostError):
        await lease.write({"status": "validated"})
    assert not (await reference.get()).exists


async def test_a_document_deleted_meanwhile_gives_no_lease(
    reference: AsyncDocumentReference,
) -> None:
    snapshot = await reference.get()
    await reference.delete()
    outcome = await take(
        reference, field="ingest", key="k", lease_for=LEASE, now=NOW, snapshot=snapshot
    )
    assert isinstance(outcome, InProgress)
    assert not (await reference.get()).exists


async def test_someone_elses_write_to_another_field_does_not_lose_the_lease(
    reference: AsyncDocumentReference,
) -> None:
    lease = await held(reference)
    await reference.update({"training_job_id": "job-1"})
    lease = await lease.write({"status": "validated"})
    await reference.update({"training_job_id": "job-2"})
    await lease.write({}, completed=True)
    document = await fields(reference)
    assert (document["status"], document["training_job_id"]) == ("validated", "job-2")
    assert document["ingest"]["state"] == "completed"


async def test_writes_of_the_lease_and_of_others_at_once_all_arrive(
    reference: AsyncDocumentReference,
) -> None:
    lease = await held(reference)
    others = [reference.update({f"other_{n}": n}) for n in range(5)]
    await asyncio.gather(lease.write({"status": "validated"}), *others)
    document = await fields(reference)
    assert document["status"] == "validated"
    assert [document[f"other_{n}"] for n in range(5)] == list(range(5))


async def test_finished_work_is_found_and_never_done_again(
    reference: AsyncDocumentReference,
) -> None:
    lease = await held(reference)
    await lease.write({"status": "validated"}, completed=True)
    outcome = await ask(reference, now=NOW + 10 * LEASE)
    assert isinstance(outcome, Completed)
    assert (outcome.snapshot.to_dict() or {})["status"] == "validated"


async def test_another_generation_is_new_work_with_its_own_attempts(
    reference: AsyncDocumentReference,
) -> None:
    lease = await held(reference)
    await lease.write({}, completed=True)
    again = await held(reference, key="work-2")
    assert again.attempt == 1


async def test_another_generation_waits_for_the_worker_of_the_first(
    reference: AsyncDocumentReference,
) -> None:
    await held(reference)
    assert isinstance(await ask(reference, key="work-2"), InProgress)


async def test_a_released_lease_is_free_at_once(reference: AsyncDocumentReference) -> None:
    now = datetime.now(UTC)
    lease = await held(reference, now=now)
    await lease.write({"status": "half"})
    await lease.release()
    again = await held(reference, now=now + timedelta(seconds=5))
    assert again.attempt == 2


async def test_releasing_finished_or_lost_work_changes_nothing(
    reference: AsyncDocumentReference,
) -> None:
    lost = await held(reference)
    new = await held(reference, now=NOW + LEASE)
    await lost.release()
    done = await new.write({}, completed=True)
    before = await fields(reference)
    await done.release()
    assert await fields(reference) == before


async def test_work_that_fails_is_released_and_keeps_its_own_error(
    reference: AsyncDocumentReference,
) -> None:
    now = datetime.now(UTC)
    lease = await held(reference, now=now)
    with pytest.raises(ZeroDivisionError):
        await _fail(lease)
    assert isinstance(await ask(reference, now=now + timedelta(seconds=5)), Lease)


async def test_the_error_of_the_work_survives_a_failing_release(
    reference: AsyncDocumentReference,
) -> None:
    lease = await held(reference)
    await reference.delete()
    with pytest.raises(ZeroDivisionError):
        await _fail(lease)


async def _fail(lease: Lease) -> None:
    async with released_on_error(lease):
        raise ZeroDivisionError
