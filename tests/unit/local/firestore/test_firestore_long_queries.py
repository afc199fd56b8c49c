"""Long queries let others work meanwhile, and still see one moment."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore
from google.cloud.firestore import FieldFilter
from google.cloud.firestore_v1.base_vector_query import DistanceMeasure
from google.cloud.firestore_v1.vector import Vector

from continuon_local.database import open_database
from continuon_local.events.outbox import Outbox
from continuon_local.firestore import query_run
from continuon_local.firestore.engine import Engine, Reader
from continuon_local.firestore.events import EventRecorder
from continuon_local.firestore.messages import Message, Write
from continuon_local.firestore.query import compile_query
from continuon_local.service import ServiceContext
from own_messages import own

if TYPE_CHECKING:
    from continuon_local.firestore.query import CompiledQuery

DATABASE = "projects/p/databases/(default)"
ROOT = f"{DATABASE}/documents"
CLIENT = firestore.Client(project="p", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
ITEMS: Any = CLIENT.collection("items")
COUNT = 1500
NEAREST: Any = ITEMS.find_nearest(
    "v", Vector([1.0]), limit=1000, distance_measure=DistanceMeasure.EUCLIDEAN
)


def put(number: int, generation: int) -> Message:
    write = Write(update={"name": f"{ROOT}/items/d{number:05d}"})
    write.update.fields["n"].integer_value = number
    write.update.fields["generation"].integer_value = generation
    vector = write.update.fields["v"].map_value.fields
    vector["__type__"].string_value = "__vector__"
    vector["value"].array_value.values.add(double_value=number)
    return write


def compiled(query: Any) -> CompiledQuery:
    message = query._to_protobuf()
    return compile_query(ROOT, own(message))


@pytest.fixture
async def engine() -> Engine:
    connection = open_database(None)
    made = Engine(ServiceContext(data_dir=None), connection, EventRecorder(Outbox(connection)))
    await made.commit(DATABASE, [put(number, 0) for number in range(COUNT)], b"", "")
    return made


@pytest.mark.parametrize(
    "query",
    [
        ITEMS.order_by("__name__"),
        ITEMS.order_by("n", direction="DESCENDING"),
        ITEMS.where(filter=FieldFilter("n", ">=", 0)),
        ITEMS.where(filter=FieldFilter("n", ">=", 0)).order_by("n").limit(COUNT - 1),
        CLIENT.collection_group("items"),
        NEAREST,
    ],
)
async def test_commits_during_a_query_do_not_show_in_it(
    engine: Engine, query: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_run, "_TURN_S", 0.0)
    running = asyncio.create_task(engine.query(Reader(), compiled(query)))
    generation = 0
    while not running.done():
        generation += 1
        numbers = [(generation * 7 + each * 191) % COUNT for each in range(8)]
        writes = [put(number, generation) for number in dict.fromkeys(numbers)]
        writes += [Write(delete=f"{ROOT}/items/d{(generation * 13 + 5) % COUNT:05d}")]
        names = {write.update.name for write in writes[:-1]}
        await engine.commit(DATABASE, writes[: -1 if writes[-1].delete in names else None], b"", "")
        await asyncio.sleep(0)
    assert generation > 3
    read_time, result = await running
    expected = query_run.run_query(engine.store, compiled(query), read_time)
    seen = [(row.name, row.version) for row in result.rows]
    assert seen == [(row.name, row.version) for row in expected.rows]
    assert all(version <= read_time for _, version in seen)


async def test_a_long_query_does_not_hold_up_the_others(engine: Engine) -> None:
    for start in range(COUNT, 10_000, 1000):
        writes = [put(number, 0) for number in range(start, start + 1000)]
        await engine.commit(DATABASE, writes, b"", "")
    query = compiled(ITEMS.where(filter=FieldFilter("generation", ">=", 0)))
    await engine.query(Reader(), query)  # the first builds the index
    running = asyncio.create_task(engine.query(Reader(), query))
    turns, longest = 0, 0.0
    while not running.done():
        began = time.monotonic()
        await asyncio.sleep(0)
        longest, turns = max(longest, time.monotonic() - began), turns + 1
    _, result = await running
    assert len(result.rows) == 10_500
    assert turns > 3
    assert longest < 0.5  # about 20 ms on an idle machine; tests run on busy ones
