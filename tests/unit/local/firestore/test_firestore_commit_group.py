"""Commits that share one fsync: nobody sees what is not on the disk, and all fail or none."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from continuon_local.database import open_database
from continuon_local.events.outbox import Outbox
from continuon_local.firestore.engine import Engine, Reader
from continuon_local.firestore.errors import StatusError
from continuon_local.firestore.events import EventRecorder
from continuon_local.firestore.messages import Document, Message, Write
from continuon_local.grpc_wire.codes import Code
from continuon_local.service import ServiceContext

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

DATABASE = "projects/p/databases/(default)"
ROOT = f"{DATABASE}/documents"


def put(name: str, text: str, **condition: Any) -> Message:
    write = Write(update={"name": f"{ROOT}/c/{name}"}, current_document=condition)
    write.update.fields["s"].string_value = text
    return write


class Cloud:
    """An engine, and what its connection was told to do."""

    def __init__(self, folder: Path) -> None:
        self.connection = open_database(folder / "firestore.db")
        self.outbox = Outbox(self.connection)
        events = EventRecorder(self.outbox)
        events.watch(["c/{id}"])
        self.engine = Engine(ServiceContext(data_dir=None), self.connection, events)
        self.outbox.settle = self.engine.settle
        self.statements: list[str] = []
        self.connection.set_trace_callback(self.statements.append)

    def commit(self, *writes: Message) -> Coroutine[Any, Any, Any]:
        return self.engine.commit(DATABASE, list(writes), b"", "")

    async def text(self, name: str) -> str | None:
        _, (found,) = await self.engine.read_documents(Reader(), [f"{ROOT}/c/{name}"], "")
        return None if found is None else Document.FromString(found.data).fields["s"].string_value

    def is_storing(self) -> bool:
        return self.connection.in_transaction

    def fill_disk(self) -> None:
        (pages,) = self.connection.execute("PRAGMA page_count").fetchone()
        self.connection.execute(f"PRAGMA max_page_count = {pages + 8}")

    def empty_disk(self) -> None:
        self.connection.execute("PRAGMA max_page_count = 1000000")


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path)


async def test_commits_that_arrive_together_are_one_transaction_of_the_disk(cloud: Cloud) -> None:
    heard: list[int] = []
    cloud.engine.subscribe(lambda version, _: heard.append(version))
    results = await asyncio.gather(*(cloud.commit(put(str(n), "x")) for n in range(10)))
    assert cloud.statements.count("COMMIT") == 1
    versions = [result.commit_time for result in results]
    assert versions == sorted(set(versions)) == heard


async def test_who_reads_sees_what_is_on_the_disk(cloud: Cloud) -> None:
    writing = asyncio.create_task(cloud.commit(put("a", "x")))
    await asyncio.sleep(0)
    assert cloud.is_storing()
    assert await cloud.text("a") == "x"
    assert not cloud.is_storing()
    await writing


async def test_events_are_taken_when_they_are_on_the_disk(cloud: Cloud) -> None:
    writing = asyncio.create_task(cloud.commit(put("a", "x")))
    await asyncio.sleep(0)
    assert cloud.is_storing()
    assert len(cloud.outbox.pending()) == 2
    assert not cloud.is_storing()
    await writing


async def test_if_the_disk_refuses_all_fail_and_nothing_has_happened(cloud: Cloud) -> None:
    await cloud.commit(put("a", "before"))
    heard: list[int] = []
    cloud.engine.subscribe(lambda version, _: heard.append(version))
    cloud.fill_disk()
    outcomes = await asyncio.gather(
        cloud.commit(put("a", "after")),
        *(cloud.commit(put(f"big{n}", "x" * 100_000)) for n in range(4)),
        return_exceptions=True,
    )
    cloud.empty_disk()
    failed = [isinstance(outcome, sqlite3.OperationalError) for outcome in outcomes]
    seen = [await cloud.text(name) for name in ("a", "big0", "big1", "big2", "big3")]
    expected: list[str | None] = ["before" if failed[0] else "after"]
    expected += [None if lost else "x" * 100_000 for lost in failed[1:]]
    assert any(failed)
    assert seen == expected
    assert len(heard) == failed.count(False)
    await cloud.commit(put("a", "later"))
    assert await cloud.text("a") == "later"


async def test_a_refusal_is_never_about_what_is_not_on_the_disk(cloud: Cloud) -> None:
    await cloud.commit(put("other", "x"))
    outcomes = await asyncio.gather(
        cloud.commit(put("a", "1", exists=False)),
        cloud.commit(put("a", "2", exists=False)),
        cloud.commit(put("a", "1")),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], StatusError)
    assert outcomes[1].code is Code.ALREADY_EXISTS
    assert await cloud.text("a") == "1"
    # The second had to know first whether the one before it had really happened.
    position = cloud.statements.index("COMMIT", cloud.statements.index("COMMIT") + 1)
    assert cloud.statements[position:].count("BEGIN IMMEDIATE") == 0


async def test_a_client_that_goes_away_takes_no_other_with_it(cloud: Cloud) -> None:
    leaving = asyncio.create_task(cloud.commit(put("a", "x")))
    staying = asyncio.create_task(cloud.commit(put("b", "x")))
    await asyncio.sleep(0)
    leaving.cancel()
    await staying
    assert await cloud.text("b") == "x"
    assert await cloud.text("a") == "x"


async def test_a_listener_that_fails_does_not_undo_a_commit(cloud: Cloud) -> None:
    def fail(_version: int, _changes: object) -> None:
        raise ZeroDivisionError

    cloud.engine.subscribe(fail)
    await asyncio.gather(cloud.commit(put("a", "x")), cloud.commit(put("b", "x")))
    assert await cloud.text("b") == "x"
