"""Many calls at a time, and calls beside a scan of everything.

Requests are the client library's messages, serialized in advance, over Google's gRPC library: the
client library itself takes longer for a call than either server does.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc.aio
from google.cloud.firestore_v1.types import CommitRequest, GetDocumentRequest

from firestore_targets import PROJECT, address_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.cloud import firestore

__all__ = ["AT_A_TIME", "reads_per_s", "scan_latency_ms", "scanning", "writes_per_s"]

AT_A_TIME = 16
_SERVICE = "/google.firestore.v1.Firestore"
_DATABASE = f"projects/{PROJECT}/databases/(default)"
_METADATA = (("authorization", "Bearer owner"),)
_WRITTEN = 500
"""Different documents that are written in turn."""

_SCAN = """
import sys
from google.cloud import firestore
from google.cloud.firestore import FieldFilter
client = firestore.Client(project=sys.argv[1])
query = client.collection("many").where(filter=FieldFilter("group", ">=", 0))
while True:
    for number, _ in enumerate(query.stream()):
        if not number:
            print("scanning", flush=True)
"""


def _read(_: int) -> bytes:
    request = GetDocumentRequest(name=f"{_DATABASE}/documents/bench/read")
    return bytes(GetDocumentRequest.serialize(request))


def _write(number: int) -> bytes:
    fields = {"n": {"integer_value": number}, "text": {"string_value": "x" * 200}}
    document = {"name": f"{_DATABASE}/documents/bench/w{number % _WRITTEN}", "fields": fields}
    request = CommitRequest(database=_DATABASE, writes=[{"update": document}])
    return bytes(CommitRequest.serialize(request))


async def _ask(address: str, method: str, requests: list[bytes]) -> float:
    """Send all ``requests``, so many at a time; return the seconds that it took."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(f"{_SERVICE}/{method}")
        waiting = iter(requests)

        async def ask() -> None:
            for request in waiting:
                await call(request, metadata=_METADATA)

        await _ask_one(call, requests[0])  # which makes the connection
        started = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(AT_A_TIME)))
        return time.perf_counter() - started


async def _ask_one(call: Any, request: bytes) -> None:
    await call(request, metadata=_METADATA)


def _per_s(
    client: firestore.Client, method: str, request: Callable[[int], bytes], times: int
) -> float:
    requests = [request(number) for number in range(times)]
    return times / asyncio.run(_ask(address_of(client), method, requests))


def reads_per_s(client: firestore.Client, times: int) -> float:
    """Read one document so many times, :data:`AT_A_TIME` calls at a time."""
    client.document("bench/read").set({"n": 1, "text": "x" * 200})
    return _per_s(client, "GetDocument", _read, times)


def writes_per_s(client: firestore.Client, times: int) -> float:
    """Write documents of 200 characters, :data:`AT_A_TIME` calls at a time."""
    return _per_s(client, "Commit", _write, times)


@contextmanager
def scanning(client: firestore.Client) -> Iterator[None]:
    """Let another process read all documents over and over."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SCAN, PROJECT],
        env={"FIRESTORE_EMULATOR_HOST": address_of(client)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


def scan_latency_ms(client: firestore.Client, duration_s: float) -> list[float]:
    """Read one document, one call at a time, for so long; return what each call took."""
    return asyncio.run(_latencies(address_of(client), duration_s))


async def _latencies(address: str, duration_s: float) -> list[float]:
    taken = []
    request = _read(0)
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(f"{_SERVICE}/GetDocument")
        await _ask_one(call, request)
        end = time.perf_counter() + duration_s
        while (started := time.perf_counter()) < end:
            await _ask_one(call, request)
            taken.append((time.perf_counter() - started) * 1000)
    return taken
