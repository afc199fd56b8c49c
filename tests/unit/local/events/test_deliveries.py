"""The delivery store: nothing twice from the outbox, nothing lost by a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from continuon_local.events.deliveries import DeliveryKind, DeliveryState, DeliveryStore
from continuon_local.events.outbox import OutboxEvent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FN = ("fn", "us-central1")


def event(event_id: str = "e1", source: str = "//s") -> OutboxEvent:
    return OutboxEvent(
        id=event_id, type="t", source=source, subject="s", time="2026-01-01T00:00:00Z", data=b"data"
    )


@pytest.fixture
def store() -> Iterator[DeliveryStore]:
    opened = DeliveryStore(None)
    yield opened
    opened.close()


def add(store: DeliveryStore, *events: OutboxEvent, now_s: float = 100) -> None:
    for one in events:
        store.add(one, [FN], kind=DeliveryKind.EVENT, now_s=now_s)


def test_an_outbox_row_routed_twice_is_delivered_once(store: DeliveryStore) -> None:
    add(store, event(), event(), event(source="//another"))
    assert store.counts()["pending"] == 2
    (first, second) = store.take_due(*FN, now_s=100, limit=9)
    store.acknowledge(first.id, 200)
    add(store, event())
    assert store.take_due(*FN, now_s=200, limit=9) == []
    assert second.event.source == "//another"


def test_only_due_deliveries_are_taken_in_order_up_to_the_limit(store: DeliveryStore) -> None:
    add(store, event("late"), now_s=300)
    add(store, event("a"), event("b"), event("c"), now_s=100)
    taken = store.take_due(*FN, now_s=200, limit=2)
    assert [one.event.id for one in taken] == ["a", "b"]
    assert [one.state for one in taken] == [DeliveryState.DELIVERING] * 2
    assert [one.attempts for one in taken] == [1, 1]
    assert store.take_due(*FN, now_s=200, limit=0) == []
    assert store.next_due_s(*FN) == 100
    assert store.next_due_s("other", "us-central1") is None


def test_a_postponed_delivery_keeps_its_data_and_history(store: DeliveryStore) -> None:
    add(store, event())
    (taken,) = store.take_due(*FN, now_s=100, limit=1)
    store.postpone(taken.id, 500, "trouble", until_s=110)
    assert store.take_due(*FN, now_s=109, limit=1) == []
    (again,) = store.take_due(*FN, now_s=110, limit=1)
    assert (again.attempts, again.last_status, again.last_error) == (2, 500, "trouble")
    assert again.event == event()


def test_an_acknowledged_delivery_frees_its_data_and_a_failed_one_keeps_it(
    store: DeliveryStore,
) -> None:
    add(store, event("good"), event("bad"))
    good, bad = store.take_due(*FN, now_s=100, limit=2)
    store.acknowledge(good.id, 204)
    store.fail(bad.id, 500, "given up")
    by_id = {row.event.id: row for row in store.list()}
    assert (by_id["good"].state, by_id["good"].event.data) == ("acknowledged", b"")
    assert (by_id["bad"].state, by_id["bad"].event.data) == ("failed", b"data")
    assert [row.event.id for row in store.list(state="failed")] == ["bad"]


def test_what_a_moved_clock_put_off_is_due_soon_after_a_restart(store: DeliveryStore) -> None:
    add(store, event(), now_s=90_000)
    store.requeue_interrupted(latest_s=160)
    assert store.next_due_s(*FN) == 160


def test_what_a_dead_process_was_delivering_is_pending_again(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    before = DeliveryStore(path)
    add(before, event())
    before.take_due(*FN, now_s=100, limit=1)
    before.close()
    after = DeliveryStore(path)
    assert after.requeue_interrupted(latest_s=100) == 1
    (taken,) = after.take_due(*FN, now_s=100, limit=1)
    assert taken.attempts == 2
    after.close()
