"""Training: how long a job waits for its start, callbacks an instance takes, documents of a job.

The baseline of a start is the same subprocess started by hand.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from harness import ROOT, median, serve_function

sys.path.insert(0, str(ROOT / "tests"))

from training_stage import Stage, training_stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness import Served

__all__ = ["run"]

_TRAINER = ROOT / "benchmarks/bench_trainer.py"
_PULL = {"backend": "pull", "backend_label": "bench"}
_WARM_UP = 3
_TIMEOUT_S = 60.0


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


def _started_at(ledger: Path, job: str) -> float:
    """Wait for a trainer to write down that it started; return when that was."""
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        for line in ledger.read_text().splitlines():
            name, _, moment = line.partition(" ")
            if name == job:
                return float(moment)
        time.sleep(0.001)
    raise RuntimeError(f"{job} was not started")


def _by_hand(ledger: Path, count: int) -> list[float]:
    """Return the milliseconds from asking for a process to its first line."""
    waits = []
    for _ in range(count):
        ledger.write_text("")
        asked = time.time()
        subprocess.run([sys.executable, str(_TRAINER), str(ledger)], check=True, env=_clean())
        waits.append((_started_at(ledger, "by-hand") - asked) * 1000)
    return waits


def _clean() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "")}


def _dispatched(stage: Stage, ledger: Path, count: int) -> tuple[list[float], list[float]]:
    """Return milliseconds from the accepted request to the trainer's first line, and to its end."""
    starts, ends = [], []
    for number in range(_WARM_UP + count):
        job = stage.start()["job_id"]
        accepted = time.time()
        started = _started_at(ledger, job)
        stage.ended(job)
        if number >= _WARM_UP:
            starts.append((started - accepted) * 1000)
            ends.append((time.time() - accepted) * 1000)
    return starts, ends


def _leased(stage: Stage, jobs: int) -> list[tuple[str, str]]:
    for _ in range(jobs):
        stage.start(**_PULL)
    leased = [stage.lease("bench", f"w{number}") for number in range(jobs)]
    return [(one["job_id"], one["token"]) for one in leased]


async def _callbacks(base: str, job: str, token: str, numbers: range) -> None:
    headers = {"authorization": f"Bearer {token}"}
    url = f"{base}/api/v1/training/jobs/{job}/callback"
    async with httpx.AsyncClient(headers=headers, timeout=_TIMEOUT_S) as client:
        for number in numbers:
            body = {"attempt": 1, "sequence": number, "step": number, "metrics": {"loss": 0.1}}
            answer = (await client.post(url, json=body)).raise_for_status().json()
            if not answer["applied"]:
                raise RuntimeError("a callback was not applied")


async def _all(base: str, jobs: Sequence[tuple[str, str]], numbers: range) -> None:
    await asyncio.gather(*(_callbacks(base, job, token, numbers) for job, token in jobs))


def _rates(served: Served, jobs: Sequence[tuple[str, str]], each: int) -> tuple[float, float]:
    """Return callbacks a second, and the instance's CPU milliseconds for one."""
    asyncio.run(_all(served.url, jobs, range(1, 6)))
    cpu, clock = served.cpu_s(), time.perf_counter()
    asyncio.run(_all(served.url, jobs, range(6, 6 + each)))
    seconds, used = time.perf_counter() - clock, served.cpu_s() - cpu
    count = each * len(jobs)
    return count / seconds, used / count * 1000


def _writes(stage: Stage, **hyperparams: Any) -> dict[str, int]:
    """Return the documents that one job writes and reads, by whoever did."""
    hub = stage.product.cloud.urls["hub"]
    httpx.post(f"{hub}/meter/reset", timeout=_TIMEOUT_S).raise_for_status()
    stage.ended(stage.start(hyperparams=hyperparams)["job_id"])
    stage.settle()
    usage = httpx.get(f"{hub}/meter", timeout=_TIMEOUT_S).json()["by_caller"]
    ours = {caller: ops for caller, ops in usage.items() if caller.startswith("training_")}
    return {
        kind: sum(ops.get(f"firestore.{kind}", 0) for ops in ours.values())
        for kind in ("write", "read")
    }


def run(*, quick: bool) -> dict[str, Any]:
    """Measure and return the figures."""
    starts, each = (15, 40) if quick else (100, 250)
    figures: dict[str, Any] = {}
    # Outside the stage's own folder, whose name is not known before its trainer's command is.
    ledger = Path(os.environ.get("TMPDIR", "/tmp")) / f"bench-{os.getpid()}"  # noqa: S108 - ours
    ledger.write_text("")
    command = json.dumps([sys.executable, str(_TRAINER), str(ledger)])
    try:
        with training_stage(CONTINUON_TRAINER_COMMAND=command) as stage:
            stage.episodes(1)
            waited, ended = _dispatched(stage, ledger, starts)
        by_hand = _by_hand(ledger, starts)
    finally:
        ledger.unlink()
    for name, values in (("by hand", by_hand), ("dispatched", waited)):
        figures[f"{name}: process started, p50 ms"] = _quantile(values, 0.5)
        figures[f"{name}: process started, p99 ms"] = _quantile(values, 0.99)
    figures["dispatched: job completed and announced, p50 ms"] = _quantile(ended, 0.5)
    with training_stage() as stage:
        stage.episodes(1)
        figures |= _documents(stage)
        figures |= _instance(stage, each)
    return {
        "name": "training: a job's start against the same subprocess started by hand",
        "ratio": round(median(waited) / median(by_hand), 2),
        "goal": "stated",
        "met": None,
        "figures": figures,
    }


def _documents(stage: Stage) -> dict[str, Any]:
    bare = _writes(stage, steps=0, checkpoints=False)
    full = _writes(stage, steps=10)
    figures: dict[str, Any] = {}
    for kind in ("write", "read"):
        figures[f"documents {kind}, a job's states alone"] = bare[kind]
        extra = (full[kind] - bare[kind]) / 10
        figures[f"documents {kind}, each step with callback, metrics, log and checkpoint"] = extra
    return figures


def _instance(stage: Stage, each: int) -> dict[str, Any]:
    environment = {**stage.product.cloud.env, "CONTINUON_REQUESTS_PER_MINUTE": "1000000"}
    source = ROOT / "functions/training/main.py"
    with serve_function(source, "training_api", env=environment) as served:
        rate, cpu_ms = _rates(served, _leased(stage, 8), each)
    return {
        "callbacks a second, one instance, 8 trainers, Firestore on the same machine": round(rate),
        "CPU of one callback on the instance, ms": round(cpu_ms, 2),
        "callbacks a second that one core would take": round(1000 / cpu_ms),
    }
