"""The live rollouts of a robot model, remembered for a moment.

A million robots that ask every quarter of an hour are a thousand questions a second, and nearly
every answer is no. Reading the rollouts once in two seconds and process is enough for those; an
offer reads its bundle again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from continuon_ota import service
from continuon_ota.settings import settings
from continuon_ota.store import BundleStore

if TYPE_CHECKING:
    from continuon_ota.records import BundleRecord

__all__ = ["forget", "live_bundles", "way_back"]

_MODELS: Final = 256
"""Robot models that one process remembers; more are read each time."""

_HOPS: Final = 5
"""Withdrawn bundles one after the other; with more, a person should look."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    bundles: list[BundleRecord]
    until: float


_remembered: dict[str, _Remembered] = {}


async def live_bundles(robot_model: str) -> list[BundleRecord]:
    """Return the rollouts of a robot model that are canary, in production or paused."""
    moment = asyncio.get_running_loop().time()
    known = _remembered.get(robot_model)
    if known is not None and moment < known.until:
        return known.bundles
    bundles = await BundleStore().live(robot_model)
    if len(_remembered) >= _MODELS:
        _remembered.clear()
    until = moment + settings().continuon_ota_rollouts_cache_s
    _remembered[robot_model] = _Remembered(bundles, until)
    return bundles


def forget(robot_model: str) -> None:
    """Read the rollouts of this model anew next time."""
    _remembered.pop(robot_model, None)


async def way_back(
    bundle_id: str | None, live: list[BundleRecord]
) -> tuple[bool, BundleRecord | None]:
    """Say whether the bundle that runs was withdrawn, and which one its robots go back to.

    A robot with a live bundle costs no read; one with a bundle that is none costs one or two.
    """
    if bundle_id is None or any(bundle.bundle_id == bundle_id for bundle in live):
        return False, None
    store = BundleStore()
    found = await store.find(bundle_id)
    if found is None or found.rollout.status not in service.WITHDRAWN:
        return False, None
    for _ in range(_HOPS):
        previous = found.rollout.previous_bundle_id
        found = await store.find(previous) if previous else None
        if found is None:
            break
        if found.rollout.status not in service.WITHDRAWN:
            return True, found
    return True, None
