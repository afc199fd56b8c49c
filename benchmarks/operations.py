"""Billable operations of one archive episode, from asking for a URL to validated.

Counted by the local cloud's meter, as Google bills: documents read and written, class A and class B
operations, invocations. Nobody polls. Functions that a schedule starts are counted apart: they cost
the same however many episodes there are.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import httpx
import yaml

from harness import ROOT, local_cloud
from robot import claim_robot

__all__ = ["run"]

_EPISODE = ROOT / "examples/episodes/archives/upload_pipeline_style.tar.gz"
_ROBOT_ID, _EPISODE_ID = "3a671f80", "ep_1795276918916"
_SETTLE_TIMEOUT_S = 30.0


def _wait_until_delivered(hub: str, expected: int) -> None:
    deadline = time.monotonic() + _SETTLE_TIMEOUT_S
    while time.monotonic() < deadline:
        deliveries = httpx.get(f"{hub}/deliveries", timeout=10).json()["deliveries"]
        states = [delivery["state"] for delivery in deliveries]
        if len(states) >= expected and set(states) == {"acknowledged"}:
            return
        time.sleep(0.1)
    raise RuntimeError("the events were not delivered in time")


def run(*, quick: bool) -> dict[str, Any]:  # noqa: ARG001 - one episode is already quick
    """Upload one archive and return what it cost."""
    data = _EPISODE.read_bytes()
    with local_cloud() as cloud:
        robot = claim_robot(cloud, _ROBOT_ID)
        gateway, hub = cloud["urls"]["hosting"], cloud["urls"]["hub"]
        httpx.post(f"{hub}/meter/reset", timeout=10).raise_for_status()
        body = {"episode_id": _EPISODE_ID, "metadata": {}, "size_bytes": len(data)}
        with httpx.Client(timeout=30) as client:
            grant = client.send(robot.request("POST", gateway, "/api/rlds/signed-url", body))
            upload = grant.raise_for_status().json()
            client.request(
                upload["method"], upload["upload_url"], headers=upload["headers"], content=data
            ).raise_for_status()
        # The upload, and the two objects that promotion makes.
        _wait_until_delivered(hub, 3)
        usage = httpx.get(f"{hub}/meter", timeout=10).json()["by_caller"]
    return {
        "name": "billable operations, one archive episode, upload to validated",
        "ratio": None,
        "goal": "few; stated",
        "met": None,
        "figures": _figures(usage),
    }


def _scheduled() -> set[str]:
    manifests = [yaml.safe_load(path.read_text()) for path in ROOT.glob("functions/*/*.yaml")]
    return {
        name
        for manifest in manifests
        for name, endpoint in manifest["endpoints"].items()
        if "scheduleTrigger" in endpoint
    }


def _figures(usage: dict[str, dict[str, int]]) -> dict[str, int]:
    """Sum the countable operations, and name what a function behind the validation adds."""
    clock = _scheduled()
    totals: Counter[str] = Counter()
    slow_loop: Counter[str] = Counter()
    for caller, operations in usage.items():
        countable = {n: c for n, c in operations.items() if not n.endswith(("bytes", "_ms", "_us"))}
        if caller in clock:
            continue
        totals.update(countable)
        if caller == "training_slow_loop":
            slow_loop.update(countable)
    figures = dict(sorted(totals.items()))
    figures |= {f"of which the slow loop: {n}": c for n, c in sorted(slow_loop.items())}
    return figures
