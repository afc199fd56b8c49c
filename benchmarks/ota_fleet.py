"""Over the air at fleet size: what a step costs, how fast a bad bundle stops, whom it reaches.

Goal: a step writes the same whatever the fleet's size, and a check costs at most 6 times a
do-nothing function.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import httpx

from harness import ROOT, cpu_per_request_ms, local_cloud, median, serve_function
from robot import claim_robot

sys.path.insert(0, str(ROOT / "functions/ota"))

import ota_documents
from continuon.contracts.rollouts import RolloutStatus
from ota_simulation import positions, simulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ota_simulation import Outcome

__all__ = ["GOAL", "run"]

GOAL = 6.0
_PATH = "/api/ota/check"
_BAD = 0.30
_GOOD = 0.01
_BUNDLES = 10
"""Bundles, each of which reaches the fleet in an order of its own."""


@lru_cache(maxsize=1)
def _orders(fleet: int) -> list[NDArray[np.float64]]:
    return [positions(f"bench-1.{number}", fleet) for number in range(_BUNDLES)]


def _rollouts(fleet: int, rate: float, seeds: int, *, ticks_only: bool = False) -> list[Outcome]:
    orders = _orders(fleet)
    return [
        simulate(orders[seed % len(orders)], rate, seed, ticks_only=ticks_only)
        for seed in range(seeds)
    ]


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def _simulated(fleets: Sequence[int], seeds: int) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for fleet in fleets:
        done = _rollouts(fleet, _BAD, seeds)
        halted = [one for one in done if one.status is RolloutStatus.HALTED]
        name = f"{fleet:,} robots, 30 % fail"
        shares = [one.took / fleet * 100 for one in done]
        took = [one.took for one in done]
        figures[f"{name}: rollouts halted, of {seeds}"] = len(halted)
        figures[f"{name}: share that was offered it, median %"] = median(shares)
        figures[f"{name}: share that was offered it, 95th percentile %"] = round(_p95(shares), 4)
        figures[f"{name}: robots that were offered it, median"] = median(took)
        figures[f"{name}: robots on which it failed by then, median"] = median(
            [o.failed for o in done]
        )
        figures[f"{name}: minutes from the start to the halt, median"] = round(
            statistics.median(one.ended_s for one in halted) / 60, 1
        )
        late = _rollouts(fleet, _BAD, min(seeds, 200), ticks_only=True)
        waits = [one.to_halt_s for one in late if one.status is RolloutStatus.HALTED]
        figures[f"{name}: ticks only, s from the proving failure to the halt, median"] = round(
            statistics.median(waits), 1
        )
        writes = {one.writes for one in done}
        figures[f"{name}: documents written by the rollout, all together"] = max(writes)
    return figures


def _false_alarms(fleet: int, seeds: int) -> dict[str, Any]:
    done = _rollouts(fleet, _GOOD, seeds)
    name = f"{fleet:,} robots, 1 % fail (5 % are allowed), of {seeds}"
    return {
        f"{name}: halted": sum(one.status is RolloutStatus.HALTED for one in done),
        f"{name}: in production": sum(one.status is RolloutStatus.PRODUCTION for one in done),
    }


def _steps(cloud: dict[str, Any], tick_url: str, sizes: Sequence[int]) -> dict[str, Any]:
    """Count one tick on a real Firestore that holds so many robots and deployments."""
    figures = {}
    hub = cloud["urls"]["hub"]
    for size in sizes:
        ota_documents.fill(cloud, size)
        ota_documents.fail_one_when_counted(cloud)
        httpx.post(f"{hub}/meter/reset", timeout=10).raise_for_status()
        httpx.post(tick_url, timeout=60).raise_for_status()
        # The local cloud's own functions are attributed to their names; this one is nobody's.
        usage = httpx.get(f"{hub}/meter", timeout=10).json()["by_caller"].get("", {})
        reads, writes = (usage.get(f"firestore.{kind}", 0) for kind in ("read", "write"))
        figures[f"one tick with {size:,} deployments: reads, writes"] = f"{reads}, {writes}"
        ota_documents.clear(cloud)
    return figures


def _seconds_to_halt(cloud: dict[str, Any], api_url: str) -> float:
    """Time the report that proves a bundle bad, until its document says halted."""
    ota_documents.fill(cloud, 0)
    robots = [claim_robot(cloud, f"bench-ota-{number}") for number in range(2)]
    with httpx.Client(timeout=60) as client:
        for robot in robots:
            body = ota_documents.check(None)
            answer = client.send(robot.request("POST", api_url, _PATH, body)).json()
            assert answer["update"], answer
        for robot in robots:
            report = {"bundle_id": ota_documents.BUNDLE_ID, "sequence": 1, "phase": "failed"}
            started = time.perf_counter()
            client.send(
                robot.request("POST", api_url, "/api/ota/report", report)
            ).raise_for_status()
        seconds = time.perf_counter() - started
    assert ota_documents.status(cloud) == "halted"
    ota_documents.clear(cloud)
    return seconds


def _check_cost(cloud: dict[str, Any], api: Any, rounds: int, count: int) -> dict[str, Any]:
    """Return the CPU time of checks that are answered no, and of a do-nothing function."""
    ota_documents.fill(cloud, 0)
    robot = claim_robot(cloud, "bench-ota-check")
    source = ROOT / "benchmarks/nothing.py"
    idle_ms: list[float] = []
    check_ms: list[float] = []

    def checks(number: int) -> list[httpx.Request]:
        body = ota_documents.check("1.0.0")
        return [robot.request("POST", api.url, _PATH, body) for _ in range(number)]

    with serve_function(source, "nothing") as idle:
        cpu_per_request_ms(api, checks(50))
        for _ in range(rounds):
            nothing = [httpx.Request("POST", idle.url) for _ in range(count)]
            idle_ms.append(cpu_per_request_ms(idle, nothing))
            check_ms.append(cpu_per_request_ms(api, checks(count)))
    ota_documents.clear(cloud)
    return {"idle": idle_ms, "check": check_ms}


def run(*, quick: bool) -> dict[str, Any]:
    """Measure and simulate; return the figures."""
    fleets = (1_000, 20_000) if quick else (1_000, 100_000, 1_000_000)
    seeds = 50 if quick else 1_000
    figures = _simulated(fleets, seeds)
    figures |= _false_alarms(1_000 if quick else 20_000, 20 if quick else 100)
    main = ROOT / "functions/ota/main.py"
    with local_cloud() as cloud:
        environment = {**cloud["env"], "CONTINUON_REQUESTS_PER_MINUTE": "1000000"}
        with serve_function(main, "ota_tick", env=environment) as tick:
            figures |= _steps(cloud, tick.url, (10, 1_000) if quick else (10, 1_000, 10_000))
        with serve_function(main, "ota_api", env=environment) as api:
            figures["s from the report of the second failure to the halt"] = round(
                _seconds_to_halt(cloud, api.url), 3
            )
            cost = _check_cost(cloud, api, *((3, 200) if quick else (5, 500)))
    ratios = [a / b for a, b in zip(cost["check"], cost["idle"], strict=True)]
    figures |= {"do_nothing_ms": median(cost["idle"]), "check_ms": median(cost["check"])}
    return {
        "name": "over the air: rollouts at fleet size, and CPU per check against doing nothing",
        "ratio": median(ratios),
        "goal": f"<= {GOAL:g}",
        "met": median(ratios) <= GOAL,
        "figures": {**figures, "measured at": datetime.now(UTC).isoformat(timespec="minutes")},
    }
