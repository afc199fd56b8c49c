"""What drives a rollout: a written document, a tick, a failure that was reported.

All three do the same: read the bundle, count by aggregation, let the gate decide, and write on the
condition that nothing has changed meanwhile. So each may come twice, late, out of order or not at
all. Whoever loses a conditional write drops its decision: the winner's write is an event again,
and the tick comes every minute.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from continuon.contracts.rollouts import RolloutStatus
from continuon.errors import UnavailableError
from continuon_ota import service
from continuon_ota.counts import count_fleet, count_rollout
from continuon_ota.store import BundleStore, read_bundle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from continuon.contracts.rollouts import RolloutCounts
    from continuon.platform.firestore import Snapshot
    from continuon_ota.records import BundleRecord, RolloutRecord

__all__ = ["bundle_written", "consider", "consider_quietly", "is_due", "tick", "with_sizes"]

_LOGGER = logging.getLogger("continuon.ota")

GATE: Final = "ota/gate"
"""The actor of a gate's decisions in the audit log."""

_SIZES_FOR: Final = timedelta(minutes=15)
"""How long the counted size of a fleet is believed: counting a million robots is a thousand
reads."""

_MENDED_FOR: Final = timedelta(days=1)
"""How long ticks make up for the lost event of a withdrawal."""

_MINUTE_S: Final = 60
_QUIET_MINUTES: Final = 30
"""In production, one more minute between two ticks for each half hour that it has lasted."""

_LONGEST_MINUTES: Final = 60


def is_due(rollout: RolloutRecord, now: datetime) -> bool:
    """Say whether a tick looks at this rollout. Pure, and the same for every repetition.

    Each tick counts what robots reported, which is billed by their number. A canary is looked at
    every minute, a bundle that has been in production for long once an hour; a failure that is
    reported is looked at by itself.
    """
    if rollout.status is not RolloutStatus.PRODUCTION or rollout.counted_at is None:
        return True
    age = int((now - rollout.since).total_seconds()) // _MINUTE_S
    interval = min(_LONGEST_MINUTES, 1 + age // _QUIET_MINUTES)
    return int(now.timestamp()) // _MINUTE_S % interval == 0


async def bundle_written(bundle_id: str, now: datetime) -> str:
    """Handle a write to a bundle's document: look at it as it is now, whatever the event said.

    Returns:
        What was done, for the log.
    """
    store = BundleStore()
    snapshot = await store.snapshot(bundle_id)
    if not snapshot.exists:
        return "gone"
    try:
        bundle = read_bundle(snapshot)
    except ValidationError as error:
        return await _halt_unreadable(store, snapshot, error, now)
    if bundle is not None and bundle.rollout.status in service.WITHDRAWN:
        return await _reinstate(store, bundle, now)
    if bundle is None or bundle.rollout.status not in service.LIVE:
        return "nothing"
    if bundle.rollout.status is RolloutStatus.PRODUCTION:
        await _supersede(store, bundle, await store.live_snapshots(bundle.robot_model), now)
    if bundle.rollout.counted_at is None:
        # Its first count; the write of it raises the next event, which finds nothing to do.
        return await _step(store, snapshot, bundle, now, counts_are_news=True)
    return "nothing"


async def tick(now: datetime) -> dict[str, int]:
    """Take one step with every live rollout; also mend what a lost event left undone.

    Returns:
        How often each outcome came, for the log.
    """
    store = BundleStore()
    snapshots = await store.live_snapshots()
    outcomes: dict[str, int] = {}
    for snapshot in snapshots:
        try:
            outcome = await _tick_one(store, snapshot, snapshots, now)
        except UnavailableError:
            # The others are still to be looked at; this one comes again in a minute.
            _LOGGER.warning("rollout not stepped", extra={"fields": {"bundle_id": snapshot.id}})
            outcome = "unavailable"
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    for bundle in await store.withdrawn_since(now - _MENDED_FOR):
        if await _reinstate(store, bundle, now) == "reinstated":
            outcomes["reinstated"] = outcomes.get("reinstated", 0) + 1
    return outcomes


async def _tick_one(
    store: BundleStore, snapshot: Snapshot, snapshots: Sequence[Snapshot], now: datetime
) -> str:
    try:
        bundle = read_bundle(snapshot)
    except ValidationError as error:
        return await _halt_unreadable(store, snapshot, error, now)
    if bundle is None:
        return "gone"
    if bundle.rollout.status is RolloutStatus.PRODUCTION:
        await _supersede(store, bundle, snapshots, now)
    if not is_due(bundle.rollout, now):
        return "not due"
    return await _step(store, snapshot, bundle, now, counts_are_news=True)


async def consider(bundle_id: str, now: datetime) -> str:
    """Ask the gate at once, after a failure; only a change of state is written."""
    store = BundleStore()
    snapshot = await store.snapshot(bundle_id)
    bundle = read_bundle(snapshot) if snapshot.exists else None
    if bundle is None or bundle.rollout.status not in service.LIVE:
        return "nothing"
    return await _step(store, snapshot, bundle, now, counts_are_news=False)


async def with_sizes(
    bundle: BundleRecord, now: datetime, *, max_age: timedelta = _SIZES_FOR
) -> BundleRecord:
    """Return the bundle with the sizes of its groups, counted anew when they are old."""
    rollout = bundle.rollout
    if rollout.sizes_at is not None and now - rollout.sizes_at < max_age:
        return bundle
    groups = rollout.plan.policy.budget if rollout.plan else {}
    sizes = await count_fleet(bundle.robot_model, groups)
    return bundle.with_rollout(rollout.model_copy(update={"group_sizes": sizes, "sizes_at": now}))


async def _step(
    store: BundleStore,
    snapshot: Snapshot,
    bundle: BundleRecord,
    now: datetime,
    *,
    counts_are_news: bool,
) -> str:
    before = bundle.rollout
    sized = await with_sizes(bundle, now)
    counts = await count_rollout(sized, now)
    after, decision = service.step(sized.rollout, counts, now=now)
    moved = after.revision != before.revision
    if not moved and not (counts_are_news and _counts_differ(before, after, counts)):
        return decision.verdict.value
    after = after.model_copy(update={"counted_at": now, "decision": decision})
    verb = "halt" if after.status is RolloutStatus.HALTED else "advance"
    written = await store.write_if_unchanged(
        snapshot, after, actor=GATE, action=f"ota.rollout.{verb}" if moved else None, now=now
    )
    fields = {"bundle_id": bundle.bundle_id, "verdict": decision.verdict.value}
    _LOGGER.info("rollout step: %s", decision.sentence, extra={"fields": fields})
    return decision.verdict.value if written else "lost"


def _counts_differ(before: RolloutRecord, after: RolloutRecord, counts: RolloutCounts) -> bool:
    """Say whether a step has something to write: counts that people would see change."""
    known = before.decision.counts if before.decision else None
    # The moment of a count of the fleet is kept with it, or it would be counted anew each minute.
    return before.counted_at is None or before.sizes_at != after.sizes_at or known != counts


async def _supersede(
    store: BundleStore, new: BundleRecord, live: Sequence[Snapshot], now: datetime
) -> None:
    """End the rollouts that ``new`` replaces: a handful at most, whatever the fleet's size."""
    for snapshot in live:
        try:
            old = read_bundle(snapshot)
        except ValidationError:
            continue
        if old is None or not service.is_superseded_by(old, new):
            continue
        after = service.supersede(old.rollout, new.bundle_id, now=now)
        await store.write_if_unchanged(
            snapshot, after, actor=GATE, action="ota.rollout.supersede", now=now
        )


async def _reinstate(store: BundleStore, withdrawn: BundleRecord, now: datetime) -> str:
    """Put back into production what a bundle had superseded before it was withdrawn."""
    outcome = "nothing"
    for snapshot in await store.superseded_by(withdrawn.bundle_id):
        try:
            old = read_bundle(snapshot)
        except ValidationError:
            continue
        if old is None or old.rollout.status is not RolloutStatus.SUPERSEDED:
            continue
        after = service.reinstate(old.rollout, now=now)
        if await store.write_if_unchanged(
            snapshot, after, actor=GATE, action="ota.rollout.reinstate", now=now
        ):
            outcome = "reinstated"
    return outcome


async def _halt_unreadable(
    store: BundleStore, snapshot: Snapshot, error: ValidationError, now: datetime
) -> str:
    """Stop a bundle whose document somebody changed by hand into something else."""
    found = error.errors()[0]
    place = ".".join(str(part) for part in found["loc"])
    reason = f"The document cannot be read: {place}: {found['msg']}."[:500]
    data = (snapshot.to_dict() or {}).get("rollout")
    if isinstance(data, dict) and data.get("status") == RolloutStatus.HALTED:
        return "nothing"
    _LOGGER.error("bundle halted: %s", reason, extra={"fields": {"bundle_id": snapshot.id}})
    await store.halt_unreadable(snapshot, reason, now=now)
    return "halted"


_asking: dict[str, bool] = {}
"""Bundles whose gate is being asked in this process; True when it has to be asked once more."""


async def consider_quietly(bundle_id: str, now: datetime) -> None:
    """Ask the gate after a failure. The report itself never fails with it.

    Failures that arrive while it is being asked are answered by one further question, however many
    they are: a bundle that fails everywhere must not count itself to death.
    """
    if bundle_id in _asking:
        _asking[bundle_id] = True
        return
    _asking[bundle_id] = True
    try:
        while _asking[bundle_id]:
            _asking[bundle_id] = False
            await consider(bundle_id, now)
    except (UnavailableError, ValidationError):
        # The tick asks again within a minute.
        _LOGGER.warning("gate not asked", extra={"fields": {"bundle_id": bundle_id}})
    finally:
        del _asking[bundle_id]
