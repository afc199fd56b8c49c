"""Queries find the same with indexes as by looking at every document."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore
from google.cloud.firestore import FieldFilter, Or
from google.cloud.firestore_v1._helpers import encode_value

from continuon_local.database import open_database
from continuon_local.events.outbox import Outbox
from continuon_local.firestore.engine import Engine
from continuon_local.firestore.events import EventRecorder
from continuon_local.firestore.messages import Document, Message, Write
from continuon_local.firestore.paths import CollectionPath
from continuon_local.firestore.query import CompiledQuery, compile_query
from continuon_local.firestore.query_run import run_query
from continuon_local.service import ServiceContext
from own_messages import own

DATABASE = "projects/p/databases/(default)"
ROOT = f"{DATABASE}/documents"
CLIENT = firestore.Client(project="p", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
ITEMS: Any = CLIENT.collection("items")
COUNT = 700
LONG = "x" * 200


def fields_of(number: int, noise: random.Random) -> dict[str, Any]:
    data: dict[str, Any] = {
        "n": number % 97,
        "robot": f"r{number % 50}",
        "mixed": noise.choice([None, True, float("nan"), 1, 1.0, "a", b"a", [1], {"a": 1}]),
        "tags": noise.sample(["a", "b", "c", "d"], noise.randrange(4)),
        "long": LONG + str(number % 5),
    }
    if number % 3 == 0:
        del data["n"]
    return data


def put(number: int, data: dict[str, Any]) -> Message:
    write = Write(update={"name": f"{ROOT}/items/d{number:04d}"})
    for name, value in data.items():
        write.update.fields[name].CopyFrom(own(encode_value(value)))
    return write


@pytest.fixture(scope="module")
def engine() -> Engine:
    connection = open_database(None)
    made = Engine(ServiceContext(data_dir=None), connection, EventRecorder(Outbox(connection)))
    noise = random.Random(7)  # noqa: S311 - repeatable test data
    writes = [put(number, fields_of(number, noise)) for number in range(COUNT)]
    asyncio.run(made.commit(DATABASE, writes, b"", ""))
    return made


def compiled(query: Any) -> CompiledQuery:
    return compile_query(ROOT, own(query._to_protobuf()))


def by_looking_at_all(engine: Engine, query: CompiledQuery) -> list[str]:
    collection = engine.store.find_collection(CollectionPath(DATABASE, "items"))
    assert collection is not None
    found = []
    for stored in engine.store.scan(collection):
        document = Document.FromString(stored.data)
        key = query.sort_key(document.name, document.fields)
        if query.predicate(document.name, document.fields) and key and query.is_within(key):
            found.append((key, document.name))
    end = None if query.limit is None else query.offset + query.limit
    return [name for _, name in sorted(found)][query.offset : end]


def where(field: str, op: str, value: Any) -> Any:
    return ITEMS.where(filter=FieldFilter(field, op, value))


QUERIES = [
    where("robot", "==", "r7"),
    where("robot", "in", ["r7", "r8", "r7"]),
    where("robot", "==", "r7").where(filter=FieldFilter("n", ">", 40)),
    where("n", ">", 40).where(filter=FieldFilter("n", "<=", 43)),
    where("n", ">", 43).where(filter=FieldFilter("n", "<", 40)),
    where("n", ">=", 10).order_by("n", direction="DESCENDING").limit(9),
    where("n", ">=", 10).order_by("n").order_by("robot", direction="DESCENDING").limit(9),
    ITEMS.order_by("n").limit(11).offset(3),
    ITEMS.order_by("n", direction="DESCENDING").start_at({"n": 50}).limit(5),
    ITEMS.order_by("mixed").limit(300),
    ITEMS.order_by("mixed", direction="DESCENDING").limit(300),
    where("mixed", "==", 1),
    where("mixed", "==", None),
    where("mixed", "==", float("nan")),
    where("mixed", "!=", 1),
    where("mixed", "not-in", [1, "a"]),
    where("tags", "array_contains", "b").order_by("n").limit(7),
    where("tags", "array_contains_any", ["a", "b"]),
    where("tags", "==", []),
    where("long", "==", f"{LONG}3"),
    where("long", "in", [f"{LONG}3", f"{LONG}4"]).order_by("long").limit(10),
    where("long", ">", f"{LONG}3").limit(10),
    ITEMS.where(filter=Or([FieldFilter("robot", "==", "r1"), FieldFilter("n", "==", 5)])),
    where("__name__", ">", ITEMS.document("d0690")),
    ITEMS.limit(4).offset(2),
    ITEMS.order_by("__name__", direction="DESCENDING").limit(4),
]


@pytest.mark.parametrize("query", QUERIES, ids=map(str, range(len(QUERIES))))
@pytest.mark.parametrize("changed", [False, True], ids=["as built", "after changes"])
async def test_an_index_changes_nothing_about_the_result(
    engine: Engine, query: Any, *, changed: bool
) -> None:
    ready = compiled(query)
    run_query(engine.store, ready, None)  # makes the indexes
    if changed:
        noise = random.Random(str(query))  # noqa: S311 - repeatable test data
        numbers = noise.sample(range(COUNT), 40)
        writes = [put(number, fields_of(number + 1, noise)) for number in numbers[:30]]
        writes += [Write(delete=f"{ROOT}/items/d{number:04d}") for number in numbers[30:35]]
        await engine.commit(DATABASE, writes, b"", "")
    found = [row.name for row in run_query(engine.store, ready, None).rows]
    assert found == by_looking_at_all(engine, ready)


def test_the_queries_above_did_use_indexes(engine: Engine) -> None:
    collection = engine.store.find_collection(CollectionPath(DATABASE, "items"))
    assert collection is not None
    for path in ("robot", "n", "mixed", "long"):
        assert engine.store.indexes.index_for(collection.number, path, contains=False)
