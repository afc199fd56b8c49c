"""What Google's unmodified client does is counted as Firestore's price list counts it.

https://firebase.google.com/docs/firestore/pricing
"""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.cloud import firestore

from cloud_project import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import LocalCloudProcess


class Bench:
    """A collection of three documents, and the meter."""

    def __init__(self, cloud: LocalCloudProcess) -> None:
        self._hub = cloud.urls["hub"]
        self.client = firestore.Client(project="demo-continuon")
        self.collection = self.client.collection(f"billing-{uuid.uuid4().hex}")
        for number in range(3):
            self.collection.document(f"d{number}").set({"n": number})

    def bill(self, work: Callable[[], object]) -> dict[str, int]:
        httpx.post(f"{self._hub}/meter/reset").raise_for_status()
        work()
        totals: dict[str, int] = httpx.get(f"{self._hub}/meter").json()["totals"]
        return totals


@pytest.fixture
def bench(local_cloud: LocalCloudProcess, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", local_cloud.env["FIRESTORE_EMULATOR_HOST"])
    return Bench(local_cloud)


READS: dict[str, tuple[Callable[[Any], object], int]] = {
    "a document": (lambda c: c.document("d0").get(), 1),
    "a missing document": (lambda c: c.document("none").get(), 1),
    "the results of a query": (lambda c: list(c.stream()), 3),
    "no results": (lambda c: list(c.where("n", ">", 9).stream()), 1),
    "skipped results": (lambda c: list(c.order_by("n").offset(2).limit(1).stream()), 3),
    "a projection": (lambda c: list(c.select(["n"]).stream()), 3),
    "a count": (lambda c: c.count().get(), 1),
    "a count of nothing": (lambda c: c.where("n", ">", 9).count().get(), 1),
}


@pytest.mark.parametrize("case", READS)
@pytest.mark.filterwarnings("ignore:Detected filter using positional arguments")
def test_reads(bench: Bench, case: str) -> None:
    work, reads = READS[case]
    assert bench.bill(lambda: work(bench.collection)) == {"firestore.read": reads}


def test_documents_asked_for_together_are_read_one_by_one(bench: Bench) -> None:
    references = [bench.collection.document(name) for name in ("d0", "d1", "none")]
    assert bench.bill(lambda: list(bench.client.get_all(references))) == {"firestore.read": 3}


def test_an_aggregation_is_a_read_per_thousand_index_entries(bench: Bench) -> None:
    for start in (0, 500, 1000):
        batch = bench.client.batch()
        for number in range(start, min(start + 500, 1001)):
            batch.set(bench.collection.document(f"m{number}"), {"many": 1})
        batch.commit()
    counted: Any = bench.collection.where(filter=firestore.FieldFilter("many", "==", 1)).count()
    assert bench.bill(counted.get) == {"firestore.read": 2}


def test_writes_and_deletes_of_a_batch(bench: Bench) -> None:
    batch = bench.client.batch()
    batch.set(bench.collection.document("new"), {"n": 1})
    batch.update(bench.collection.document("d0"), {"n": 5})
    batch.delete(bench.collection.document("d1"))
    assert bench.bill(batch.commit) == {"firestore.write": 2, "firestore.delete": 1}


def test_a_transaction_is_its_reads_and_writes(bench: Bench) -> None:
    document = bench.collection.document("d0")

    @firestore.transactional
    def increment(transaction: firestore.Transaction) -> None:
        snapshot = document.get(transaction=transaction)
        transaction.update(document, {"n": snapshot.get("n") + 1})

    totals = bench.bill(lambda: increment(bench.client.transaction()))
    assert totals == {"firestore.read": 1, "firestore.write": 1}


def test_a_refused_commit_costs_no_write(bench: Bench) -> None:
    def create() -> None:
        with pytest.raises(Exception, match="lready exists"):
            bench.collection.document("d0").create({"n": 1})

    assert "firestore.write" not in bench.bill(create)


def test_a_listener_reads_what_it_is_sent(bench: Bench) -> None:
    arrived = threading.Event()

    def listen() -> None:
        watch = bench.collection.on_snapshot(lambda *_: arrived.set())
        wait_until(arrived.is_set)
        arrived.clear()
        bench.collection.document("d0").update({"n": 7})
        wait_until(arrived.is_set)
        watch.unsubscribe()  # type: ignore[no-untyped-call] # upstream has no types

    assert bench.bill(listen) == {"firestore.read": 4, "firestore.write": 1}
