"""A million documents and 100,000 objects on disk: do reads, queries and a restart still work?

Run by hand, for it takes minutes: ``python benchmarks/scale.py [--documents N] [--objects N]``. The
clients are Google's own, unmodified: batched commits into Firestore, uploads of a few bytes into
Storage. It prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.auth.credentials import AnonymousCredentials
from google.cloud.firestore import FieldFilter
from google.cloud.storage import Client

from firestore_targets import PROJECT, memory_mb, ours, serve

if TYPE_CHECKING:
    from collections.abc import Callable

_BATCH = 500
_WRITERS = 2
_GROUP = 100
"""How many documents one selective query finds, and objects one listing."""

_ASKED = 200
"""How often each latency is measured; the median is reported."""

_BUCKET = "scale"


def _latency_ms(ask: Callable[[int], Any], total: int) -> float:
    """Return the median time of asking about a random one of ``total``, in milliseconds."""
    chance = random.Random(3)  # noqa: S311 - a choice, not a secret
    times = []
    for _ in range(_ASKED):
        number = chance.randrange(total)
        started = time.perf_counter()
        ask(number)
        times.append(time.perf_counter() - started)
    return round(statistics.median(times) * 1000, 2)


def _disk_mb(folder: Path) -> float:
    return round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6, 1)


def _write_documents(client: Any, total: int) -> float:
    """Write ``total`` documents in full batches; return the seconds it took."""
    collection = client.collection("scale")

    def write(first: int) -> None:
        batch = client.batch()
        for number in range(first, min(first + _BATCH, total)):
            fields = {"n": number, "group": number // _GROUP, "text": f"document {number}"}
            batch.set(collection.document(f"d{number:08}"), fields)
        batch.commit(timeout=120)

    started = time.perf_counter()
    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(write, range(0, total, _BATCH)))
    return time.perf_counter() - started


def _ask_documents(client: Any, total: int) -> dict[str, float]:
    collection = client.collection("scale")

    def read(number: int) -> None:
        assert collection.document(f"d{number:08}").get().get("n") == number

    def query(number: int) -> None:
        group = number // _GROUP
        found = collection.where(filter=FieldFilter("group", "==", group)).get()
        assert len(found) == min(_GROUP, total - group * _GROUP)

    return {"point_read_ms": _latency_ms(read, total), "query_100_ms": _latency_ms(query, total)}


def _firestore(folder: Path, total: int) -> dict[str, Any]:
    with ours(data_dir=folder) as target:
        seconds = _write_documents(target.client, total)
        figures: dict[str, Any] = {
            "documents": total,
            "write_s": round(seconds, 1),
            "documents_per_s": round(total / seconds),
            **_ask_documents(target.client, total),
            "memory_most_mb": round(memory_mb(target.pid, "VmHWM"), 1),
        }
    with ours(data_dir=folder) as target:
        figures["restart_s"] = round(target.ready_s, 2)
        figures["after_restart"] = _ask_documents(target.client, total)
        figures["memory_after_restart_mb"] = round(memory_mb(target.pid), 1)
    return figures | {"disk_mb": _disk_mb(folder)}


def _client(port: int) -> Client:
    return Client(
        project=PROJECT,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call] # no types
        client_options={"api_endpoint": f"http://127.0.0.1:{port}"},
    )


def _name(number: int) -> str:
    return f"group-{number // _GROUP:06}/{number:08}"


def _write_objects(port: int, total: int) -> float:
    """Upload ``total`` small objects; return the seconds it took."""
    _client(port).create_bucket(_BUCKET)

    def write(first: int) -> None:
        bucket = _client(port).bucket(_BUCKET)
        for number in range(first, total, _WRITERS):
            bucket.blob(_name(number)).upload_from_string(b"object %d" % number)

    started = time.perf_counter()
    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(write, range(_WRITERS)))
    return time.perf_counter() - started


def _ask_objects(port: int, total: int) -> dict[str, float]:
    bucket = _client(port).bucket(_BUCKET)

    def read(number: int) -> None:
        assert bucket.blob(_name(number)).download_as_bytes() == b"object %d" % number

    def listing(number: int) -> None:
        prefix = _name(number).partition("/")[0] + "/"
        found = list(bucket.list_blobs(prefix=prefix))
        assert len(found) == min(_GROUP, total - number // _GROUP * _GROUP)

    return {"download_ms": _latency_ms(read, total), "list_100_ms": _latency_ms(listing, total)}


def _storage(folder: Path, total: int) -> dict[str, Any]:
    with serve("storage", data_dir=folder) as (pid, ports):
        seconds = _write_objects(ports["storage"], total)
        figures: dict[str, Any] = {
            "objects": total,
            "write_s": round(seconds, 1),
            "objects_per_s": round(total / seconds),
            **_ask_objects(ports["storage"], total),
            "memory_most_mb": round(memory_mb(pid, "VmHWM"), 1),
        }
    started = time.perf_counter()
    with serve("storage", data_dir=folder) as (pid, ports):
        figures["restart_s"] = round(time.perf_counter() - started, 2)
        figures["after_restart"] = _ask_objects(ports["storage"], total)
        figures["memory_after_restart_mb"] = round(memory_mb(pid), 1)
    return figures | {"disk_mb": _disk_mb(folder)}


def main() -> None:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--objects", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="continuon-scale-") as folder:
        figures = {
            "firestore": _firestore(Path(folder, "firestore"), options.documents),
            "storage": _storage(Path(folder, "storage"), options.objects),
        }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
