"""The engine through bad days, and what its events say."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud.firestore_v1._helpers import encode_value

from continuon_local.database import open_database
from continuon_local.events.outbox import Outbox
from continuon_local.firestore import transactions
from continuon_local.firestore.engine import Engine, Reader
from continuon_local.firestore.errors import StatusError
from continuon_local.firestore.events import EventRecorder, changed_paths, pattern_to_regex
from continuon_local.firestore.messages import (
    BeginTransactionRequest,
    Document,
    GetDocumentRequest,
    Message,
    Write,
)
from continuon_local.firestore.times import to_timestamp
from continuon_local.service import ServiceContext
from own_messages import own

if TYPE_CHECKING:
    from pathlib import Path

DATABASE = "projects/p/databases/(default)"
ROOT = f"{DATABASE}/documents"
READ_WRITE = BeginTransactionRequest().options


def make(connection: sqlite3.Connection, context: ServiceContext | None = None) -> Engine:
    context = context or ServiceContext(data_dir=None)
    return Engine(context, connection, EventRecorder(Outbox(connection)))


def put(path: str, text: str) -> Message:
    write = Write(update={"name": f"{ROOT}/{path}"})
    write.update.fields["s"].string_value = text
    return write


async def texts(engine: Engine, *paths: str, reader: Reader | None = None) -> list[str | None]:
    names = [f"{ROOT}/{path}" for path in paths]
    _, found = await engine.read_documents(reader or Reader(), names, "")
    return [
        None if each is None else Document.FromString(each.data).fields["s"].string_value
        for each in found
    ]


async def test_a_full_disk_fails_the_commit_and_spoils_nothing(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "firestore.db")
    engine = make(connection)
    await engine.commit(DATABASE, [put("c/before", "kept")], b"", "")
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 8}")
    too_much = [put(f"new/d{number}", "x" * 50_000) for number in range(4)]
    with pytest.raises(sqlite3.OperationalError, match="full"):
        await engine.commit(DATABASE, too_much, b"", "")
    assert await texts(engine, "c/before", "new/d0") == ["kept", None]
    connection.execute("PRAGMA max_page_count = 100000")
    await engine.commit(DATABASE, [put("new/d0", "later")], b"", "")
    connection.close()

    reopened = make(open_database(tmp_path / "firestore.db"))
    assert await texts(reopened, "c/before", "new/d0", "new/d1") == ["kept", "later", None]


async def test_the_clock_moves_forward_only_and_so_do_versions() -> None:
    context = ServiceContext(data_dir=None)
    engine = make(open_database(None), context)
    first = await engine.commit(DATABASE, [put("c/a", "1")], b"", "")
    context.clock.advance(timedelta(days=1))
    second = await engine.commit(DATABASE, [put("c/a", "2")], b"", "")
    assert second.commit_time - first.commit_time >= 86_400_000_000
    too_old = GetDocumentRequest(read_time=to_timestamp(first.commit_time))
    with pytest.raises(StatusError, match="too old"):
        engine.reader(DATABASE, too_old)


async def test_an_idle_transaction_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "TRANSACTION_IDLE_S", 0.01)
    engine = make(open_database(None))
    transaction = engine.begin(DATABASE, READ_WRITE)
    await texts(engine, "c/a", reader=Reader(transaction=transaction))
    await asyncio.sleep(0.05)
    with pytest.raises(StatusError, match="expired"):
        await engine.commit(DATABASE, [put("c/b", "lost")], transaction.id, "")
    assert await texts(engine, "c/a", "c/b") == [None, None]
    assert engine.transactions.locks.is_free(f"{ROOT}/c/a")


async def test_a_transaction_of_another_database_is_refused() -> None:
    engine = make(open_database(None))
    transaction = engine.begin(DATABASE, READ_WRITE)
    with pytest.raises(StatusError, match="another database"):
        engine.transactions.get("projects/p/databases/other", transaction.id)


async def test_a_waiting_reader_sees_what_the_holder_committed() -> None:
    engine = make(open_database(None))
    await engine.commit(DATABASE, [put("c/a", "0")], b"", "")
    one, other = (Reader(transaction=engine.begin(DATABASE, READ_WRITE)) for _ in range(2))
    assert await texts(engine, "c/a", reader=one) == ["0"]
    waiting = asyncio.create_task(texts(engine, "c/a", reader=other))
    await asyncio.sleep(0)
    assert one.transaction is not None
    assert other.transaction is not None
    await engine.commit(DATABASE, [put("c/a", "1")], one.transaction.id, "")
    assert await waiting == ["1"]
    await engine.commit(DATABASE, [put("c/a", "2")], other.transaction.id, "")
    assert await texts(engine, "c/a") == ["2"]


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("users/{uid}", "users/x", True),
        ("users/{uid}", "users/x/notes/y", False),
        ("users/{uid}/{rest=**}", "users/x/notes/y", True),
        ("users/*", "users/x", True),
        ("users/x", "users/y", False),
        ("a.c/{id}", "abc/x", False),
        ("**", "users/x", True),
    ],
)
def test_trigger_patterns_match_document_paths(pattern: str, path: str, *, matches: bool) -> None:
    assert bool(pattern_to_regex(pattern).fullmatch(path)) is matches


def test_the_update_mask_names_what_differs_as_deep_as_it_differs() -> None:
    def fields(data: dict[str, Any]) -> Message:
        message = Document()
        for name, value in data.items():
            message.fields[name].CopyFrom(own(encode_value(value)))
        return message.fields

    old = fields({"same": 1, "map": {"a": 1, "b": 2}, "gone": 1, "list": [1]})
    new = fields({"same": 1, "map": {"a": 1, "b": 3}, "odd.name": 1, "list": [1, 2]})
    assert list(changed_paths(old, new)) == ["gone", "list", "map.b", "`odd.name`"]
