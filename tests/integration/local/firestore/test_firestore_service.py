"""The service by itself: durability, events, the meter, index checks and the write stream."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.cloud import firestore
from google.events.cloud.firestore_v1 import DocumentEventData

from continuon_local.firestore.messages import (
    CommitRequest,
    CommitResponse,
    ListenRequest,
    ListenResponse,
    RunQueryRequest,
    RunQueryResponse,
    WriteRequest,
    WriteResponse,
)
from continuon_local.firestore.service import FirestoreService
from continuon_local.meter import Operation
from continuon_local.service import ServiceContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DATABASE = "projects/demo/databases/(default)"
ROOT = f"{DATABASE}/documents"
OWNER = (("authorization", "Bearer owner"),)
SERVICE = "/google.firestore.v1.Firestore"


@asynccontextmanager
async def running(service: FirestoreService) -> AsyncIterator[grpc.aio.Channel]:
    await service.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        yield channel
    await service.stop()
    await service.stop()


def put(path: str, data: dict[str, int]) -> dict[str, Any]:
    fields = {name: {"integer_value": number} for name, number in data.items()}
    return {"update": {"name": f"{ROOT}/{path}", "fields": fields}}


async def commit(channel: grpc.aio.Channel, *writes: dict[str, Any]) -> Any:
    call: Any = channel.unary_unary(f"{SERVICE}/Commit", response_deserializer=_parse_commit)
    request = CommitRequest(database=DATABASE, writes=writes)
    return await call(
        request.SerializeToString(), metadata=(*OWNER, ("x-continuon-caller", "ingest")), timeout=10
    )


def _parse_commit(data: bytes) -> Any:
    return CommitResponse.FromString(data)


async def query(channel: grpc.aio.Channel, structured: dict[str, Any]) -> list[Any]:
    call: Any = channel.unary_stream(f"{SERVICE}/RunQuery")
    request = RunQueryRequest(parent=ROOT, structured_query=structured)
    return [
        RunQueryResponse.FromString(each)
        async for each in call(request.SerializeToString(), metadata=OWNER)
    ]


async def test_events_are_recorded_for_watched_documents_only() -> None:
    service = FirestoreService(ServiceContext(data_dir=None), port=0)
    service.watch_events(["users/{uid}"])
    notified: list[int] = []
    async with running(service) as channel:
        service.outbox.subscribe(lambda: notified.append(1))
        await commit(channel, put("users/x", {"n": 1}), put("other/y", {"n": 1}))
        await commit(channel, put("users/x", {"n": 2}))
        await commit(channel, put("users/x", {"n": 2}))
        await commit(channel, {"delete": f"{ROOT}/users/x"})
        events = [event for _, event in service.outbox.pending()]
    prefix = "google.cloud.firestore.document.v1."
    kinds = [event.type.removeprefix(prefix) for event in events]
    assert kinds == ["created", "written", "updated", "written", "deleted", "written"]
    assert len(notified) == 3
    updated = events[2]
    assert updated.source == f"//firestore.googleapis.com/{DATABASE}"
    assert updated.subject == "documents/users/x"
    assert updated.data_content_type == "application/protobuf"
    assert updated.extensions["document"] == "users/x"
    assert updated.extensions["database"] == "(default)"
    data: Any = DocumentEventData.pb().FromString(updated.data)
    assert data.value.fields["n"].integer_value == 2
    assert data.old_value.fields["n"].integer_value == 1
    assert list(data.update_mask.field_paths) == ["n"]


async def test_operations_are_counted_as_they_are_billed() -> None:
    context = ServiceContext(data_dir=None)
    async with running(FirestoreService(context, port=0)) as channel:
        await commit(channel, put("c/a", {"n": 1}), put("c/b", {"n": 2}))
        await commit(channel, {"delete": f"{ROOT}/c/b"})
        await query(channel, {"from_": [{"collection_id": "c"}]})
        await query(channel, {"from_": [{"collection_id": "none"}]})
    assert context.meter.totals() == {
        Operation.FIRESTORE_WRITE: 2,
        Operation.FIRESTORE_DELETE: 1,
        Operation.FIRESTORE_READ: 2,
    }
    assert (Operation.FIRESTORE_WRITE, "ingest") in context.meter.by_caller()


async def test_an_empty_result_and_an_offset_are_told_with_the_read_time() -> None:
    async with running(FirestoreService(ServiceContext(data_dir=None), port=0)) as channel:
        (empty,) = await query(channel, {"from_": [{"collection_id": "c"}]})
        assert empty.HasField("read_time")
        await commit(channel, put("c/a", {}), put("c/b", {}))
        head, row = await query(channel, {"from_": [{"collection_id": "c"}], "offset": 1})
    assert head.skipped_results == 1
    assert row.document.name == f"{ROOT}/c/b"


async def test_a_query_without_its_index_fails_and_says_what_to_add(tmp_path: Path) -> None:
    path = tmp_path / "firestore.indexes.json"
    path.write_text(json.dumps({"indexes": []}), encoding="utf-8")
    service = FirestoreService(ServiceContext(data_dir=None), port=0, indexes_file=path)
    structured = {
        "from_": [{"collection_id": "c"}],
        "order_by": [{"field": {"field_path": "a"}}, {"field": {"field_path": "b"}}],
    }
    async with running(service) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match=r"firestore\.indexes\.json") as caught:
            await query(channel, structured)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_the_write_stream_commits_in_order() -> None:
    async with running(FirestoreService(ServiceContext(data_dir=None), port=0)) as channel:
        call: Any = channel.stream_stream(f"{SERVICE}/Write")(timeout=10, metadata=OWNER)
        await call.write(WriteRequest(database=DATABASE).SerializeToString())
        hello = WriteResponse.FromString(await call.read())
        assert hello.stream_id
        for number in (1, 2):
            request = WriteRequest(
                stream_token=hello.stream_token, writes=[put("c/a", {"n": number})]
            )
            await call.write(request.SerializeToString())
            answer = WriteResponse.FromString(await call.read())
            assert len(answer.write_results) == 1
        await call.done_writing()
        (row,) = await query(channel, {"from_": [{"collection_id": "c"}]})
    assert row.document.fields["n"].integer_value == 2


async def test_two_services_on_one_port_are_refused() -> None:
    first = FirestoreService(ServiceContext(data_dir=None), port=0)
    async with running(first):
        second = FirestoreService(ServiceContext(data_dir=None), port=first.port)
        with pytest.raises(OSError, match="in use"):
            await second.start()
        await second.stop()


def test_what_was_acknowledged_survives_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve() -> tuple[subprocess.Popen[str], Any]:
        command = [sys.executable, "-m", "continuon_local.serve", "firestore"]
        process = subprocess.Popen(  # noqa: S603 - our own module
            [*command, "--data-dir", str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["ports"]["firestore"]
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{port}")
        return process, firestore.Client(project="demo")

    process, client = serve()
    times = [client.document(f"c/d{number}").set({"n": number}).update_time for number in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    client.close()

    process, client = serve()
    found = [
        (each.get("n"), each.update_time) for each in client.collection("c").order_by("n").stream()
    ]
    assert [n for n, _ in found] == list(range(20))
    assert max(time for _, time in found) == times[-1]
    assert client.document("c/new").set({}).update_time > times[-1]
    process.terminate()
    process.communicate(timeout=10)
    client.close()


async def test_a_client_that_goes_away_leaves_no_listener() -> None:
    service = FirestoreService(ServiceContext(data_dir=None), port=0)
    async with running(service) as channel:
        call: Any = channel.stream_stream(f"{SERVICE}/Listen")()
        await asyncio.sleep(0.1)
        call.cancel()
        await asyncio.sleep(0.1)
        assert service.listener_count == 0


async def test_a_listener_resumes_where_it_was() -> None:
    async with running(FirestoreService(ServiceContext(data_dir=None), port=0)) as channel:
        await commit(channel, put("c/same", {}), put("c/gone", {}))
        target: dict[str, Any] = {
            "query": {"parent": ROOT, "structured_query": {"from_": [{"collection_id": "c"}]}},
            "target_id": 7,
        }
        first = await listen_until_snapshot(channel, target)
        assert {each.document_change.document.name for each in first[1:-2]} == {
            f"{ROOT}/c/same",
            f"{ROOT}/c/gone",
        }
        await commit(channel, put("c/new", {}), {"delete": f"{ROOT}/c/gone"})
        target["resume_token"] = first[-1].target_change.resume_token
        resumed = await listen_until_snapshot(channel, target)
    kinds = [each.WhichOneof("response_type") for each in resumed[1:-2]]
    assert sorted(kinds) == ["document_change", "document_remove"]


async def listen_until_snapshot(channel: grpc.aio.Channel, target: dict[str, Any]) -> list[Any]:
    call: Any = channel.stream_stream(f"{SERVICE}/Listen")(timeout=10, metadata=OWNER)
    await call.write(ListenRequest(database=DATABASE, add_target=target).SerializeToString())
    seen: list[Any] = []
    while not (seen and seen[-1].target_change.read_time.seconds and not _targets(seen[-1])):
        seen.append(ListenResponse.FromString(await call.read()))
    call.cancel()
    return seen


def _targets(response: Any) -> list[int]:
    return list(response.target_change.target_ids)


async def test_a_bad_target_is_removed_with_the_cause() -> None:
    async with running(FirestoreService(ServiceContext(data_dir=None), port=0)) as channel:
        call: Any = channel.stream_stream(f"{SERVICE}/Listen")(timeout=10, metadata=OWNER)
        target = {"query": {"parent": ROOT, "structured_query": {"offset": -1}}, "target_id": 1}
        await call.write(ListenRequest(database=DATABASE, add_target=target).SerializeToString())
        answer = ListenResponse.FromString(await call.read())
        call.cancel()
    assert answer.target_change.cause.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
