"""The local cloud's speed and memory, beside Google's Firestore emulator where it is installed.

Unmodified Google clients; both sides in memory and asked in turns, so that a busy machine is busy
for both; medians of the rounds. Goal: at least as fast on every line, at a tenth of the memory.
"""

from __future__ import annotations

import io
import random
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore
from google.cloud.firestore import FieldFilter
from google.cloud.storage import Client

import in_flight
from firestore_targets import PROJECT, memory_mb, ours, serve, targets
from harness import local_cloud, median

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from firestore_targets import Target

__all__ = ["run"]

NOT_PRESENT = "official emulator not present"
_BATCH = 500
_BUCKET = "bench"
_WRITERS = 4

_LONGER = 5
"""How many times more calls are made where many are under way at a time."""

ROUND_S = 3.0
"""A round stops asking after so long: a scan of everything may take a second for each answer."""


@dataclass(frozen=True)
class _Size:
    rounds: int
    operations: int
    increments: int
    documents: int
    storage_mb: int

    @classmethod
    def of(cls, *, quick: bool) -> _Size:
        return cls(3, 100, 2, 10_000, 100) if quick else cls(5, 400, 2, 100_000, 1000)


def _timed(times: int, ask: Callable[[int], object]) -> float:
    """Call ``ask`` so often, or for :data:`ROUND_S`; return the mean time of a call in seconds."""
    started = time.perf_counter()
    for number in range(times):
        ask(number)
        elapsed = time.perf_counter() - started
        if elapsed > ROUND_S:
            break
    return elapsed / (number + 1)


def _reads_per_s(client: firestore.Client, size: _Size) -> float:
    document = client.document("bench/read")
    document.set({"n": 1, "text": "x" * 200})
    return 1 / _timed(size.operations, lambda _: document.get())


def _writes_per_s(client: firestore.Client, size: _Size) -> float:
    def write(number: int) -> None:
        client.document(f"bench/w{number}").set({"n": number, "text": "x" * 200})

    return 1 / _timed(size.operations, write)


def _increment(client: firestore.Client, times: int) -> int:
    document = client.document("bench/counter")

    @firestore.transactional
    def once(transaction: firestore.Transaction) -> None:
        snapshot = document.get(transaction=transaction)
        transaction.update(document, {"n": snapshot.get("n") + 1})

    done = 0
    for _ in range(times):
        try:
            once(client.transaction())
        except (GoogleAPICallError, ValueError):
            continue  # it gave up after five attempts
        done += 1
    return done


def _contended_per_s(client: firestore.Client, size: _Size) -> float:
    """Increment one counter from four threads; only what was committed counts.

    The client gives up a transaction after five attempts; those cost time and count nothing.
    """
    document = client.document("bench/counter")
    document.set({"n": 0})
    started = time.perf_counter()
    with ThreadPoolExecutor(_WRITERS) as pool:
        done = sum(pool.map(lambda _: _increment(client, size.increments), range(_WRITERS)))
    elapsed = time.perf_counter() - started
    kept = document.get().get("n")
    if kept != done:
        raise RuntimeError(f"{done} increments were committed, the counter says {kept}")
    return done / elapsed


def _load(client: firestore.Client, count: int) -> None:
    numbers = iter(range(count))
    while chunk := list(islice(numbers, _BATCH)):
        batch = client.batch()
        for number in chunk:
            data = {"rank": number, "group": number % 1000, "text": "x" * 100}
            batch.set(client.document(f"many/d{number:06d}"), data)
        batch.commit()


def _query_ms(client: firestore.Client, size: _Size) -> float:
    """Return the mean time of a query for 20 neighbours in the order of a field."""
    chance = random.Random(size.documents)  # noqa: S311 - the same places for everyone

    def ask(_: int) -> None:
        first = chance.randrange(size.documents - 20)
        query = client.collection("many").where(filter=FieldFilter("rank", ">=", first))
        found = list(query.order_by("rank").limit(20).stream())
        if [one.get("rank") for one in found] != list(range(first, first + 20)):
            raise RuntimeError("the query's answer is wrong")

    return _timed(size.operations // 10, ask) * 1000


def _equal_ms(client: firestore.Client, size: _Size) -> float:
    """Return the mean time of a query for all documents with one value of a field."""

    def ask(number: int) -> None:
        query = client.collection("many").where(filter=FieldFilter("group", "==", number))
        if len(list(query.stream())) != size.documents // 1000:
            raise RuntimeError("the query's answer is wrong")

    return _timed(size.operations // 10, ask) * 1000


def _reads_in_flight_per_s(client: firestore.Client, size: _Size) -> float:
    return in_flight.reads_per_s(client, size.operations * _LONGER)


def _writes_in_flight_per_s(client: firestore.Client, size: _Size) -> float:
    return in_flight.writes_per_s(client, size.operations * _LONGER)


def _during_scans(found: Sequence[Target], size: _Size, lines: dict[str, dict[str, float]]) -> None:
    """Add what a read takes while another client reads everything, over and over."""
    taken: dict[str, list[float]] = {target.name: [] for target in found}
    for number in range(size.rounds):
        for target in found if number % 2 else reversed(found):
            with in_flight.scanning(target.client):
                taken[target.name] += in_flight.scan_latency_ms(target.client, ROUND_S)
    for percent in (50, 99):
        name = f"Firestore, point read during scans, {percent}th percentile, ms"
        lines[name] = {
            who: sorted(times)[len(times) * percent // 100] for who, times in taken.items()
        }


def _in_turns(
    found: Sequence[Target], measure: Callable[[firestore.Client, _Size], float], size: _Size
) -> dict[str, float]:
    values: dict[str, list[float]] = {target.name: [] for target in found}
    if measure is not _contended_per_s:  # which takes long where it does badly
        for target in found:
            measure(target.client, size)
    rounds = min(size.rounds, 3) if measure is _contended_per_s else size.rounds
    for number in range(rounds):
        # The order changes too: who comes second finds the caches warm.
        for target in found if number % 2 else reversed(found):
            values[target.name].append(measure(target.client, size))
    return {name: median(measured) for name, measured in values.items()}


_IN_FLIGHT = {"point reads": _reads_in_flight_per_s, "writes": _writes_in_flight_per_s}


def _firestore(size: _Size, figures: dict[str, Any]) -> list[float]:
    """Write a line for each measure; return by how much we are faster on each."""
    with targets() as found:
        lines = {"Firestore, start to first answer, s": {one.name: one.ready_s for one in found}}
        idle = {one.name: memory_mb(one.pid) for one in found}
        lines["Firestore, point reads per s"] = _in_turns(found, _reads_per_s, size)
        lines["Firestore, writes per s"] = _in_turns(found, _writes_per_s, size)
        for what, ask in _IN_FLIGHT.items():
            name = f"Firestore, {what} per s, {in_flight.AT_A_TIME} in flight"
            lines[name] = _in_turns(found, ask, size)
        lines["Firestore, contended transactions per s"] = _in_turns(found, _contended_per_s, size)
        for target in found:
            _load(target.client, size.documents)
        many = f"in {size.documents:,} documents, ms"
        lines[f"Firestore, 20 in order {many}"] = _in_turns(found, _query_ms, size)
        equal = f"Firestore, {size.documents // 1000} with a value {many}"
        lines[equal] = _in_turns(found, _equal_ms, size)
        _during_scans(found, size, lines)
        speed = [_compare(figures, name, values) for name, values in lines.items()]
        _compare(figures, "Firestore, memory idle, MB", idle)
        loaded = {one.name: memory_mb(one.pid) for one in found}
        _compare(figures, "Firestore, memory after all of it, MB", loaded)
    return [ratio for ratio in speed if ratio is not None]


def _compare(figures: dict[str, Any], name: str, values: dict[str, float]) -> float | None:
    """Write a line down; return how many times better we are than the official emulator."""
    mine, official = values["ours"], values.get("official")
    if official is None:
        figures[name] = f"{mine:.4g} ({NOT_PRESENT})"
        return None
    ratio = mine / official if " per s" in name else official / mine
    figures[name] = f"{mine:.4g} (official {official:.4g}; {ratio:.2f} times as good)"
    return ratio


def _durable_writes(size: _Size) -> float:
    with tempfile.TemporaryDirectory() as folder, ours(data_dir=Path(folder)) as target:
        return _in_turns([target], _writes_per_s, size)["ours"]


class _Nothing(io.RawIOBase):
    """Swallows what is downloaded and counts it."""

    size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.size += len(data)
        return len(data)


class _Zeros(io.RawIOBase):
    """A file of zeros that is nowhere kept."""

    def __init__(self, size: int) -> None:
        self._size, self._at = size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._size - self._at)
        buffer[:count] = bytes(count)
        self._at += count
        return count


def _storage(size: _Size, figures: dict[str, Any]) -> None:
    total = size.storage_mb * 1_000_000
    with serve("storage") as (pid, ports):
        client = Client(
            project=PROJECT,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call] # no types
            client_options={"api_endpoint": f"http://127.0.0.1:{ports['storage']}"},
        )
        blob = client.create_bucket(_BUCKET).blob("large")
        before = memory_mb(pid)
        started = time.perf_counter()
        blob.upload_from_file(_Zeros(total), size=total, timeout=600)
        uploaded = time.perf_counter()
        sink = _Nothing()
        blob.download_to_file(sink, timeout=600)
        downloaded = time.perf_counter()
        if sink.size != total:
            raise RuntimeError(f"{sink.size} of {total} bytes came back")
        peak = memory_mb(pid, "VmHWM")
    upload, download = total / 1e6 / (uploaded - started), total / 1e6 / (downloaded - uploaded)
    figures[f"Storage, upload of {size.storage_mb} MB, MB/s"] = f"{upload:.4g}"
    figures["Storage, its download, MB/s"] = f"{download:.4g}"
    figures["Storage, peak memory, MB"] = f"{peak:.4g} (before: {before:.4g})"


def _ready_s(rounds: int) -> float:
    """Return how long the whole local cloud takes until it is ready, in seconds."""
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        with local_cloud():
            taken.append(time.perf_counter() - started)
    return median(taken)


def run(*, quick: bool) -> dict[str, Any]:
    """Measure all lines and return the figures; the ratio is that of the worst line."""
    size = _Size.of(quick=quick)
    figures: dict[str, Any] = {"whole local cloud, start to ready, s": _ready_s(size.rounds)}
    ratios = _firestore(size, figures)
    figures["Firestore, writes per s with a sync to disk each"] = _durable_writes(size)
    _storage(size, figures)
    worst = round(min(ratios), 2) if ratios else None
    return {
        "name": "local cloud, Firestore beside Google's emulator, Storage",
        "ratio": worst,
        "goal": ">= 1 on the slowest line",
        "met": None if worst is None else worst >= 1,
        "figures": figures,
    }
