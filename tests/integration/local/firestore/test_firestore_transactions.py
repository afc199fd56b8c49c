"""Transactions isolate, and contenders take turns."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore import FieldFilter

THREADS = 8


def test_contended_increments_are_neither_lost_nor_given_up(client: Any, items: Any) -> None:
    reference = items.document("counter")
    reference.set({"n": 0})

    @firestore.transactional
    def increment(transaction: firestore.Transaction) -> None:
        n = reference.get(transaction=transaction).get("n")
        transaction.update(reference, {"n": n + 1})

    with ThreadPoolExecutor(THREADS) as pool:
        for each in [pool.submit(increment, client.transaction()) for _ in range(40)]:
            each.result()
    assert reference.get().get("n") == 40


def test_transfers_in_opposite_directions_do_not_deadlock(client: Any, items: Any) -> None:
    accounts = [items.document("a"), items.document("b")]
    for account in accounts:
        account.set({"n": 100})

    @firestore.transactional
    def move(transaction: firestore.Transaction, source: Any, target: Any) -> None:
        have = source.get(transaction=transaction).get("n")
        had = target.get(transaction=transaction).get("n")
        transaction.update(source, {"n": have - 1})
        transaction.update(target, {"n": had + 1})

    with ThreadPoolExecutor(THREADS) as pool:
        moves = [
            pool.submit(move, client.transaction(max_attempts=50), *accounts[:: 1 - 2 * (k % 2)])
            for k in range(30)
        ]
        for each in moves:
            each.result()
    assert [account.get().get("n") for account in accounts] == [100, 100]


def test_reads_repeat_and_a_changed_read_aborts_the_commit(client: Any, items: Any) -> None:
    reference, other = items.document("x"), items.document("y")
    reference.set({"n": 1})
    transaction = client.transaction()
    transaction._begin()
    # Two documents read at once: the transaction holds a consistent view of both.
    assert reference.get(transaction=transaction).get("n") == 1
    reference.set({"n": 2})  # waits for the idle transaction, then goes ahead
    assert reference.get(transaction=transaction).get("n") == 1
    assert not other.get(transaction=transaction).exists
    transaction.set(other, {"n": 1})
    with pytest.raises(exceptions.Aborted):
        transaction._commit()
    assert not other.get().exists


def test_a_phantom_aborts_the_commit(client: Any, items: Any) -> None:
    query = items.where(filter=FieldFilter("open", "==", value=True))
    transaction = client.transaction()
    transaction._begin()
    assert list(query.stream(transaction=transaction)) == []
    items.document("closed").set({"open": False})
    items.document("phantom").set({"open": True})
    transaction.set(items.document("none-open"), {})
    with pytest.raises(exceptions.Aborted):
        transaction._commit()


def test_unrelated_changes_do_not_abort(client: Any, items: Any) -> None:
    query = items.where(filter=FieldFilter("open", "==", value=True))
    transaction = client.transaction()
    transaction._begin()
    assert list(query.stream(transaction=transaction)) == []
    items.document("closed").set({"open": False})
    transaction.set(items.document("none-open"), {})
    transaction._commit()
    assert items.document("none-open").get().exists


def test_workers_claim_each_task_once(client: Any, items: Any) -> None:
    for number in range(10):
        items.document(f"task{number}").set({"owner": ""})
    free = items.where(filter=FieldFilter("owner", "==", "")).limit(1)

    @firestore.transactional
    def claim(transaction: firestore.Transaction) -> str:
        (task,) = free.stream(transaction=transaction)
        transaction.update(task.reference, {"owner": threading.current_thread().name})
        return str(task.id)

    with ThreadPoolExecutor(THREADS) as pool:
        claims = [pool.submit(claim, client.transaction(max_attempts=50)) for _ in range(10)]
        claimed = [each.result() for each in claims]
    assert sorted(claimed) == [f"task{number}" for number in range(10)]


def test_a_read_only_transaction_sees_one_moment_and_blocks_nobody(client: Any, items: Any) -> None:
    reference = items.document("x")
    reference.set({"n": 1})
    transaction = client.transaction(read_only=True)
    transaction._begin()
    assert reference.get(transaction=transaction).get("n") == 1
    began = time.monotonic()
    reference.set({"n": 2})
    items.document("y").set({})
    assert time.monotonic() - began < 1
    assert reference.get(transaction=transaction).get("n") == 1
    assert [each.id for each in items.stream(transaction=transaction)] == ["x"]
    transaction._rollback()


def test_an_unknown_transaction_is_an_invalid_argument(client: Any, items: Any) -> None:
    transaction = client.transaction()
    transaction._begin()
    transaction._id = b"never heard of"
    transaction.set(items.document("x"), {})
    with pytest.raises(exceptions.InvalidArgument):
        transaction._commit()
    assert not items.document("x").get().exists


def test_a_rolled_back_transaction_writes_nothing_and_frees_its_locks(
    client: Any, items: Any
) -> None:
    reference = items.document("x")
    transaction = client.transaction()
    transaction._begin()
    assert not reference.get(transaction=transaction).exists
    transaction._rollback()
    began = time.monotonic()
    reference.set({"n": 1})
    assert time.monotonic() - began < 1
