"""Documents with a time to live."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from google.cloud.firestore_v1._helpers import encode_value

from continuon_local.database import open_database
from continuon_local.events.outbox import Outbox
from continuon_local.firestore.engine import Engine, Reader
from continuon_local.firestore.events import EventRecorder
from continuon_local.firestore.expiry import Expiry
from continuon_local.firestore.indexes import load_indexes
from continuon_local.firestore.messages import Write
from continuon_local.meter import Operation
from continuon_local.service import ServiceContext
from own_messages import own

if TYPE_CHECKING:
    from pathlib import Path

DATABASE = "projects/p/databases/(default)"
ROOT = f"{DATABASE}/documents"


async def put(engine: Engine, path: str, value: Any) -> None:
    write = Write(update={"name": f"{ROOT}/{path}"})
    write.update.fields["expires_at"].CopyFrom(own(encode_value(value)))
    await engine.commit(DATABASE, [write], b"", "")


async def exist(engine: Engine, *paths: str) -> list[bool]:
    _, found = await engine.read_documents(Reader(), [f"{ROOT}/{path}" for path in paths], "")
    return [each is not None for each in found]


async def test_documents_expire_when_the_clock_passes_their_time(tmp_path: Path) -> None:
    path = tmp_path / "firestore.indexes.json"
    path.write_text(
        '{"fieldOverrides": [{"collectionGroup": "nonces", "fieldPath": "expires_at",'
        ' "ttl": true, "indexes": []}]}',
        encoding="utf-8",
    )
    context = ServiceContext(data_dir=None)
    outbox = Outbox(open_database(None))
    events = EventRecorder(outbox)
    events.watch(["nonces/{id}"])
    engine = Engine(context, outbox._connection, events)
    expiry = Expiry(engine, load_indexes(path).lifetimes)
    soon = datetime.now(UTC) + timedelta(hours=1)
    await put(engine, "nonces/soon", soon)
    await put(engine, "robots/r/nonces/below", soon)
    await put(engine, "nonces/later", soon + timedelta(hours=2))
    await put(engine, "nonces/never", "2020-01-01")
    await put(engine, "others/soon", soon)
    assert await expiry.sweep() == 0
    context.clock.advance(timedelta(hours=2))
    assert await expiry.sweep() == 2
    paths = ("nonces/soon", "robots/r/nonces/below", "nonces/later", "nonces/never", "others/soon")
    assert await exist(engine, *paths) == [False, False, True, True, True]
    assert context.meter.totals()[Operation.FIRESTORE_DELETE] == 2
    kinds = [event.type.rpartition(".")[2] for _, event in outbox.pending()]
    assert kinds[-2:] == ["deleted", "written"]


async def test_more_documents_than_a_batch_expire_in_one_sweep() -> None:
    connection = open_database(None)
    engine = Engine(ServiceContext(data_dir=None), connection, EventRecorder(Outbox(connection)))
    for number in range(600):
        await put(engine, f"nonces/{number}", datetime(2020, 1, 1, tzinfo=UTC))
    assert await Expiry(engine, [("nonces", "expires_at")]).sweep() == 600
