"""Random transfers between accounts: whatever interleaves, money is neither made nor lost.

Run with patient locks (contenders take turns) and with none (everything rests on validation).
"""

from __future__ import annotations

import asyncio
import random

import pytest

from continuon_local.database import open_database
from continuon_local.events.outbox import Outbox
from continuon_local.firestore import transactions
from continuon_local.firestore.engine import Engine, Reader
from continuon_local.firestore.errors import StatusError
from continuon_local.firestore.events import EventRecorder
from continuon_local.firestore.messages import (
    BeginTransactionRequest,
    Document,
    Message,
    StructuredQuery,
    Write,
)
from continuon_local.firestore.query import compile_query
from continuon_local.grpc_wire.codes import Code
from continuon_local.service import ServiceContext

DATABASE = "projects/p/databases/(default)"
ROOT = f"{DATABASE}/documents"
ACCOUNTS = [f"{ROOT}/accounts/{name}" for name in "abcd"]
ALL = compile_query(ROOT, StructuredQuery(from_=[{"collection_id": "accounts"}]))
EACH = 100
READ_WRITE = BeginTransactionRequest().options


def put(name: str, amount: int) -> Message:
    return Write(update={"name": name, "fields": {"n": {"integer_value": amount}}})


def amount(data: bytes) -> int:
    return int(Document.FromString(data).fields["n"].integer_value)


def is_aborted(error: StatusError) -> bool:
    return error.code is Code.ABORTED


async def transfer(engine: Engine, chance: random.Random) -> bool:
    """Move money once; return whether the commit went through."""
    transaction = engine.begin(DATABASE, READ_WRITE)
    reader = Reader(transaction=transaction)
    source, target = chance.sample(ACCOUNTS, 2)
    _, (had,) = await engine.read_documents(reader, [source], "")
    await asyncio.sleep(chance.choice([0, 0, 0.001]))
    if chance.random() < 0.5:
        _, everything = await engine.query(reader, ALL)
        assert sum(amount(row.data) for row in everything.rows) == EACH * len(ACCOUNTS)
    _, (have,) = await engine.read_documents(reader, [target], "")
    await asyncio.sleep(0)
    assert had is not None
    assert have is not None
    moved = chance.randrange(1, 10)
    writes = [put(source, amount(had.data) - moved), put(target, amount(have.data) + moved)]
    try:
        await engine.commit(DATABASE, writes, transaction.id, "")
    except StatusError as error:
        if not is_aborted(error):
            raise
        return False
    return True


@pytest.mark.parametrize("patience_s", [0.0, 3.0])
async def test_transfers_keep_the_total_and_every_view_of_it_consistent(
    monkeypatch: pytest.MonkeyPatch, patience_s: float
) -> None:
    monkeypatch.setattr(transactions, "_LOCK_PATIENCE_S", patience_s)
    monkeypatch.setattr("continuon_local.firestore.locks._POLL_S", 0.001 if not patience_s else 1)
    connection = open_database(None)
    engine = Engine(ServiceContext(data_dir=None), connection, EventRecorder(Outbox(connection)))
    await engine.commit(DATABASE, [put(name, EACH) for name in ACCOUNTS], b"", "")
    chance = random.Random(11)  # noqa: S311 - repeatable test data

    async def teller() -> int:
        return sum([await transfer(engine, chance) for _ in range(20)])

    done = sum(await asyncio.gather(*(teller() for _ in range(8))))
    _, everything = await engine.query(Reader(), ALL)
    assert sum(amount(row.data) for row in everything.rows) == EACH * len(ACCOUNTS)
    assert done > 80 if patience_s else done > 10


async def test_write_skew_is_prevented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "_LOCK_PATIENCE_S", 0.0)
    monkeypatch.setattr("continuon_local.firestore.locks._POLL_S", 0.001)
    connection = open_database(None)
    engine = Engine(ServiceContext(data_dir=None), connection, EventRecorder(Outbox(connection)))
    await engine.commit(DATABASE, [put(name, 1) for name in ACCOUNTS[:2]], b"", "")
    readers = [Reader(transaction=engine.begin(DATABASE, READ_WRITE)) for _ in range(2)]
    for reader in readers:
        # Both see two on duty, so each believes that it may leave.
        await engine.read_documents(reader, ACCOUNTS[:2], "")
    outcomes = []
    for reader, name in zip(readers, ACCOUNTS, strict=False):
        assert reader.transaction is not None
        leave = engine.commit(DATABASE, [put(name, 0)], reader.transaction.id, "")
        (outcome,) = await asyncio.gather(leave, return_exceptions=True)
        outcomes.append(isinstance(outcome, StatusError) and is_aborted(outcome))
    assert outcomes == [False, True]
