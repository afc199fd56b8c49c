"""What robots have reported, by aggregation queries over their own documents.

An aggregation is billed one read for each 1,000 index entries that it goes through. No counter is
kept anywhere, so nothing is written that every robot would have to write.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from google.cloud.firestore import FieldFilter

from continuon.contracts.robots import RobotStatus
from continuon.contracts.rollouts import EVERYONE, RolloutCounts, StageCounts
from continuon.platform.firestore import RPC, firestore_client, firestore_errors
from continuon_ota.records import Outcome
from continuon_ota.store import BUNDLES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from google.cloud.firestore import AsyncQuery

    from continuon_ota.records import BundleRecord

__all__ = ["DEPLOYMENTS", "count_fleet", "count_rollout", "count_stages"]

DEPLOYMENTS: Final = "deployments"
_ROBOTS: Final = "robots"
_PERCENT: Final = 100


def _where(query: Any, **equal: Any) -> AsyncQuery:
    for field, value in equal.items():
        query = query.where(filter=FieldFilter(field, "==", value))
    filtered: AsyncQuery = query
    return filtered


async def _count(query: AsyncQuery) -> int:
    with firestore_errors():
        # Upstream declares the method without self.
        results = await query.count(alias="n").get(**RPC)  # type: ignore[call-arg]
    return int(results[0][0].value)


async def _sum(query: AsyncQuery, field: str) -> int:
    with firestore_errors():
        results = await query.sum(field, alias="n").get(**RPC)  # type: ignore[call-arg]
    return int(results[0][0].value)


def _deployments(bundle_id: str) -> Any:
    return firestore_client().collection(BUNDLES, bundle_id, DEPLOYMENTS)


async def count_rollout(bundle: BundleRecord, now: datetime) -> RolloutCounts:
    """Count one rollout: four aggregations, and five more when its plan compares tasks."""
    deployments = _deployments(bundle.bundle_id)
    silent = _where(deployments, installing=True).where(
        filter=FieldFilter("lease_expires_at", "<", now)
    )
    succeeded, failed, pending, lost, tasks = await asyncio.gather(
        _count(_where(deployments, outcome=Outcome.SUCCEEDED.value)),
        _count(_where(deployments, outcome=Outcome.FAILED.value)),
        _count(_where(deployments, outcome=Outcome.PENDING.value)),
        _count(silent),
        _count_tasks(bundle),
    )
    return RolloutCounts(
        fleet=bundle.rollout.group_sizes.get(EVERYONE, 0),
        succeeded=succeeded,
        failed=failed,
        pending=max(0, pending - lost),
        silent=lost,
        **tasks,
    )


async def _count_tasks(bundle: BundleRecord) -> dict[str, int]:
    plan = bundle.rollout.plan
    if plan is None or plan.gates.task is None:
        return {}
    new = _deployments(bundle.bundle_id)
    names = ["task_successes", "task_trials", "task_robots"]
    queries = [_sum(new, "task_successes"), _sum(new, "task_trials")]
    queries.append(_count(_where(new, has_tasks=True)))
    if bundle.rollout.previous_bundle_id is not None:
        old = _deployments(bundle.rollout.previous_bundle_id)
        names += ["baseline_successes", "baseline_trials"]
        queries += [_sum(old, "task_successes"), _sum(old, "task_trials")]
    return dict(zip(names, await asyncio.gather(*queries), strict=True))


async def count_stages(bundle: BundleRecord) -> list[StageCounts]:
    """Count the cohort that each stage of the plan adds, for people: three aggregations each."""
    plan = bundle.rollout.plan
    if plan is None:
        return []
    edges = [0.0, *(stage.percentage for stage in plan.stages)]
    return list(
        await asyncio.gather(*(_count_span(bundle.bundle_id, *span) for span in pairwise(edges)))
    )


async def _count_span(bundle_id: str, low: float, high: float) -> StageCounts:
    def within(outcome: Outcome) -> AsyncQuery:
        query = _where(_deployments(bundle_id), outcome=outcome.value)
        query = query.where(filter=FieldFilter("position", ">=", low / _PERCENT))
        return query.where(filter=FieldFilter("position", "<", high / _PERCENT))

    succeeded, failed, pending = await asyncio.gather(
        *(_count(within(one)) for one in (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.PENDING))
    )
    return StageCounts(percentage=high, succeeded=succeeded, failed=failed, pending=pending)


async def count_fleet(robot_model: str, groups: Iterable[str]) -> dict[str, int]:
    """Count the claimed robots of a model: all of them under ``*``, and of each group."""
    claimed = _where(
        firestore_client().collection(_ROBOTS), model=robot_model, status=RobotStatus.CLAIMED.value
    )
    names = [name for name in groups if name != EVERYONE]
    queries = [claimed]
    queries += [claimed.where(filter=FieldFilter("groups", "array_contains", n)) for n in names]
    sizes = await asyncio.gather(*(_count(query) for query in queries))
    return dict(zip([EVERYONE, *names], sizes, strict=True))
