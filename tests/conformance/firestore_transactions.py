"""Transactions: what they see, when they fail, and with which code."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Any

from google.cloud import firestore

from conformance.answers import attempt
from conformance.model import Area, FirestoreGround

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.cloud.firestore import Transaction

__all__ = ["AREAS"]

transactions = Area("firestore", "transactions")


def _untyped(value: Any) -> Any:
    """Return ``value`` where the client's own types have gaps."""
    return value


def _begin(ground: FirestoreGround, options: dict[str, Any] | None = None) -> bytes:
    request: dict[str, Any] = {"database": ground.database}
    if options is not None:
        request["options"] = options
    return bytes(ground.api.begin_transaction(request=request).transaction)


def _write(ground: FirestoreGround, path: str = "d", number: int = 1) -> dict[str, Any]:
    name = f"{ground.root}/{ground.case}/{path}"
    return {"update": {"name": name, "fields": {"n": {"integer_value": number}}}}


def _commit(ground: FirestoreGround, transaction: bytes, writes: list[dict[str, Any]]) -> Any:
    request = {"database": ground.database, "writes": writes, "transaction": transaction}
    return len(ground.api.commit(request=request).write_results)


def _rollback(ground: FirestoreGround, transaction: bytes) -> Any:
    request = {"database": ground.database, "transaction": transaction}
    return ground.api.rollback(request=request)


def _read(ground: FirestoreGround, transaction: bytes, path: str = "d") -> Any:
    name = f"{ground.root}/{ground.case}/{path}"
    found = ground.api.get_document(request={"name": name, "transaction": transaction})
    return found.fields["n"].integer_value


@transactions.case
def read_modify_write(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    reference.set({"n": 1})

    @firestore.transactional
    def increment(transaction: Transaction) -> int:
        seen = reference.get(transaction=transaction).get("n")
        transaction.update(reference, {"n": seen + 1})
        return int(seen)

    return [increment(ground.client.transaction()), reference.get()]


@transactions.case
def exception_rolls_back(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")

    @firestore.transactional
    def fail(transaction: Transaction) -> None:
        transaction.set(reference, {"n": 1})
        raise ValueError("given up")

    return [attempt(partial(fail, ground.client.transaction())), reference.get()]


@transactions.case
def read_after_write_is_refused(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")

    @firestore.transactional
    def read(transaction: Transaction) -> Any:
        transaction.set(reference, {"n": 1})
        return reference.get(transaction=transaction).exists

    return attempt(lambda: read(ground.client.transaction()))


@transactions.case
def failed_precondition_inside(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")

    @firestore.transactional
    def act(transaction: Transaction) -> None:
        transaction.set(ground.docs.document("other"), {})
        transaction.update(reference, {"n": 1})

    outcome = attempt(lambda: act(ground.client.transaction()))
    return [outcome, ground.docs.document("other").get()]


@transactions.case
def created_twice(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    reference.set({})

    @firestore.transactional
    def act(transaction: Transaction) -> None:
        transaction.create(reference, {"n": 1})

    return attempt(lambda: act(ground.client.transaction()))


@transactions.case
def query_inside(ground: FirestoreGround) -> Any:
    for number in range(3):
        ground.docs.document(str(number)).set({"n": number})

    positive = ground.docs.where(filter=firestore.FieldFilter("n", ">", 0))

    @firestore.transactional
    def act(transaction: Transaction) -> Any:
        return [s.id for s in transaction.get(positive)]

    return act(ground.client.transaction())


@transactions.case
def aggregation_inside(ground: FirestoreGround) -> Any:
    ground.docs.document("a").set({"n": 1})

    @firestore.transactional
    def act(transaction: Transaction) -> Any:
        return _untyped(ground.docs).count().get(transaction=transaction)[0][0].value

    return act(ground.client.transaction())


@transactions.case
def empty_commit(ground: FirestoreGround) -> Any:
    return _commit(ground, _begin(ground), [])


@transactions.case
def committed_twice(ground: FirestoreGround) -> Any:
    transaction = _begin(ground)
    writes = [_write(ground)]
    return [attempt(lambda: _commit(ground, transaction, writes)) for _ in range(2)]


@transactions.case
def committed_after_rollback(ground: FirestoreGround) -> Any:
    transaction = _begin(ground)
    ground.api.rollback(request={"database": ground.database, "transaction": transaction})
    return attempt(lambda: _commit(ground, transaction, [_write(ground)]))


@transactions.case
def read_after_commit(ground: FirestoreGround) -> Any:
    transaction = _begin(ground)
    _commit(ground, transaction, [_write(ground)])
    return attempt(lambda: _read(ground, transaction))


@transactions.case
def read_after_rollback(ground: FirestoreGround) -> Any:
    ground.docs.document("d").set({"n": 1})
    transaction = _begin(ground)
    ground.api.rollback(request={"database": ground.database, "transaction": transaction})
    return attempt(lambda: _read(ground, transaction))


@transactions.case
def rolled_back_twice(ground: FirestoreGround) -> Any:
    request = {"database": ground.database, "transaction": _begin(ground)}
    return [attempt(partial(ground.api.rollback, request=request)) for _ in range(2)]


_IDS: dict[str, bytes] = {"rubbish": b"rubbish", "long": b"x" * 100, "one_byte": b"\x01"}
_VERBS: dict[str, Callable[[FirestoreGround, bytes], Any]] = {
    "commit": lambda g, t: _commit(g, t, [_write(g)]),
    "read": _read,
    "rollback": _rollback,
}


def _unknown(ground: FirestoreGround, *, verb: str, name: str) -> Any:
    ground.docs.document("d").set({"n": 1})
    return _VERBS[verb](ground, _IDS[name])


for _verb in _VERBS:
    for _name in _IDS:
        transactions.add(f"{_verb}_with_{_name}_id", partial(_unknown, verb=_verb, name=_name))


@transactions.case
def rollback_without_id(ground: FirestoreGround) -> Any:
    return ground.api.rollback(request={"database": ground.database})


@transactions.case
def read_only_cannot_write(ground: FirestoreGround) -> Any:
    transaction = _begin(ground, {"read_only": {}})
    return attempt(lambda: _commit(ground, transaction, [_write(ground)]))


@transactions.case
def read_only_sees_one_moment(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    reference.set({"n": 1})
    transaction = _begin(ground, {"read_only": {}})
    first = _read(ground, transaction)
    reference.set({"n": 2})
    return [first, _read(ground, transaction), reference.get().to_dict()]


@transactions.case
def read_only_in_the_past(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    moment = reference.set({"n": 1}).update_time
    reference.set({"n": 2})
    transaction = _begin(ground, {"read_only": {"read_time": moment}})
    return _read(ground, transaction)


@transactions.case
def read_only_in_the_future(ground: FirestoreGround) -> Any:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    return len(_begin(ground, {"read_only": {"read_time": later}})) > 0


@transactions.case
def read_only_long_ago(ground: FirestoreGround) -> Any:
    earlier = dt.datetime.now(dt.UTC) - dt.timedelta(hours=2)
    return len(_begin(ground, {"read_only": {"read_time": earlier}})) > 0


@transactions.case
def retry_of_a_finished_transaction(ground: FirestoreGround) -> Any:
    first = _begin(ground)
    _commit(ground, first, [])
    second = _begin(ground, {"read_write": {"retry_transaction": first}})
    return [len(second) > 0, second != first]


@transactions.case
def retry_of_rubbish(ground: FirestoreGround) -> Any:
    return len(_begin(ground, {"read_write": {"retry_transaction": b"rubbish"}})) > 0


@transactions.case
def begun_by_a_read(ground: FirestoreGround) -> Any:
    ground.docs.document("d").set({"n": 1})
    request = {
        "database": ground.database,
        "documents": [f"{ground.root}/{ground.case}/d"],
        "new_transaction": {"read_write": {}},
    }
    answers = list(ground.api.batch_get_documents(request=request))
    transaction = next(bytes(a.transaction) for a in answers if a.transaction)
    found = [a.found.fields["n"].integer_value for a in answers if a.found.name]
    return [found, _commit(ground, transaction, [_write(ground, number=2)])]


@transactions.case
def two_readers_commit_one_after_another(ground: FirestoreGround) -> Any:
    """Both have read the document; the second one to commit must not overwrite unseen data."""
    ground.docs.document("d").set({"n": 1})
    first, second = _begin(ground), _begin(ground)
    _read(ground, first)
    _read(ground, second)
    ground.api.rollback(request={"database": ground.database, "transaction": second})
    outcome = attempt(lambda: _commit(ground, first, [_write(ground, number=2)]))
    late = attempt(lambda: _commit(ground, second, [_write(ground, number=3)]))
    return [outcome, late, ground.docs.document("d").get().to_dict()]


@transactions.case
def disjoint_transactions_both_commit(ground: FirestoreGround) -> Any:
    first, second = _begin(ground), _begin(ground)
    outcomes = [
        attempt(lambda: _commit(ground, first, [_write(ground, "a")])),
        attempt(lambda: _commit(ground, second, [_write(ground, "b")])),
    ]
    return [outcomes, sorted(s.id for s in ground.docs.stream())]


@transactions.case
def two_commits_without_reads(ground: FirestoreGround) -> Any:
    first, second = _begin(ground), _begin(ground)
    outcomes = [
        attempt(lambda: _commit(ground, first, [_write(ground, number=1)])),
        attempt(lambda: _commit(ground, second, [_write(ground, number=2)])),
    ]
    return [outcomes, ground.docs.document("d").get().to_dict()]


@transactions.case
def sees_what_it_read_first(ground: FirestoreGround) -> Any:
    ground.docs.document("d").set({"n": 1})
    transaction = _begin(ground)
    seen = [_read(ground, transaction), _read(ground, transaction)]
    return [seen, _commit(ground, transaction, [_write(ground, number=5)])]


@transactions.case
def missing_read_then_created(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")

    @firestore.transactional
    def act(transaction: Transaction) -> bool:
        exists = reference.get(transaction=transaction).exists
        transaction.create(reference, {"n": 1})
        return bool(exists)

    return [act(ground.client.transaction()), reference.get()]


AREAS = [transactions]
