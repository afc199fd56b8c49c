"""Rollouts over simulated fleets, through the real cohorts, gates and states.

Robots ask every quarter of an hour, each at a moment of its own; an installation takes two to ten
minutes and fails by chance. Only the robots are simulated: who is in a stage is decided by
`continuon_ota.cohorts`, and what follows from their results by `continuon_ota.service`. A failure
asks the gate at once, as `ota_api` does; with `ticks_only`, only the minute's tick asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from continuon.contracts.rollouts import RolloutAction, RolloutCounts, RolloutStatus
from continuon_ota import gates, service
from continuon_ota.cohorts import position

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from continuon_ota.records import RolloutRecord

__all__ = ["Outcome", "positions", "simulate"]

START: Final = datetime(2026, 1, 5, tzinfo=UTC)
CHECK_EVERY_S: Final = 900.0
INSTALL_S: Final = (120.0, 600.0)
TICK_S: Final = 60.0
GIVE_UP_S: Final = 2 * 24 * 3600.0
"""A rollout that waits for longer than this is reported as waiting."""


@dataclass(frozen=True)
class Outcome:
    """How one simulated rollout ended.

    Attributes:
        status: Of the rollout.
        took: Robots that were offered the bundle.
        failed: Robots on which it failed by then.
        ended_s: Seconds from the start to the end.
        to_halt_s: Seconds from the failure that proved it bad to the halt.
        steps: Times that the gate was asked.
        writes: Documents that the rollout itself wrote: its own and the audit log's.
    """

    status: RolloutStatus
    took: int
    failed: int
    ended_s: float
    to_halt_s: float
    steps: int
    writes: int


def positions(bundle_id: str, fleet: int) -> NDArray[np.float64]:
    """Return the positions of a fleet, sorted: the order in which a bundle reaches it."""
    places = np.fromiter(
        (position(bundle_id, f"robot-{number}") for number in range(fleet)), np.float64, fleet
    )
    return np.sort(places)


class _Run:
    """One rollout."""

    def __init__(
        self, places: NDArray[np.float64], failure_rate: float, seed: int, *, ticks_only: bool
    ) -> None:
        self._places = places
        self._rate = failure_rate
        self._chance = np.random.default_rng(seed)
        self._ticks_only = ticks_only
        self._offers = np.empty(0)
        self._ends = np.empty(0)
        self._fails = np.empty(0, dtype=bool)
        self._state: RolloutRecord = service.act(
            service.staged(START),
            RolloutAction.START,
            now=START,
            plan=service.default_plan(len(places)),
        )
        self._steps = 0
        self._writes = 2

    def run(self) -> Outcome:
        """Run it to production for everybody, to a halt, or until it waits for too long."""
        moment, proven = 0.0, 0.0
        while True:
            self._grow(moment)
            proven, moment = self._stage(moment)
            state = self._state
            if state.status is not RolloutStatus.CANARY or moment >= GIVE_UP_S:
                break
        if self._state.status is RolloutStatus.PRODUCTION:
            self._grow(moment)
            proven, moment = self._stage(moment)
        return Outcome(
            status=self._state.status,
            took=int((self._offers <= moment).sum()),
            failed=int(((self._ends <= moment) & self._fails).sum()),
            ended_s=moment,
            to_halt_s=moment - proven,
            steps=self._steps,
            writes=self._writes,
        )

    def _grow(self, since: float) -> None:
        """Offer it to the robots that the present stage adds, at their next check."""
        share = self._state.target_percentage / 100
        new = int(np.searchsorted(self._places, share)) - len(self._offers)
        phases = self._chance.uniform(0, CHECK_EVERY_S, new)
        offers = since + (phases - since) % CHECK_EVERY_S
        ends = offers + self._chance.uniform(*INSTALL_S, new)
        fails = self._chance.random(new) < self._rate
        order = np.argsort(np.concatenate([self._ends, ends]), kind="stable")
        self._offers = np.concatenate([self._offers, offers])[order]
        self._ends = np.concatenate([self._ends, ends])[order]
        self._fails = np.concatenate([self._fails, fails])[order]

    def _stage(self, since: float) -> tuple[float, float]:
        """Go on until the state changes; return when that was proven, and when it was done."""
        plan, stage = self._state.plan, self._state.stage or 0
        assert plan is not None
        failed_so_far = np.cumsum(self._fails)
        failures = self._ends[self._fails & (self._ends > since)]
        before = self._state.revision
        soaked = since + plan.stages[stage].soak
        last = self._ends[-1] if len(self._ends) else since
        is_last = stage + 1 == len(plan.stages)
        until = last if is_last else GIVE_UP_S
        # A tick counts and may pass from the end of the soak on; failures come before and after.
        ticks = np.arange(np.ceil(soaked / TICK_S) * TICK_S, until + TICK_S, TICK_S)
        asked = np.ceil(failures / TICK_S) * TICK_S if self._ticks_only else failures
        for moment in np.unique(np.concatenate([asked, [] if is_last else ticks])):
            if moment > until + TICK_S:
                break
            self._ask(float(moment), failed_so_far)
            if self._state.revision != before:
                # The failure that proved it: with ticks, the last one before this moment.
                proof = failures[failures <= moment]
                proven = float(self._proof(proof, failed_so_far)) if len(proof) else moment
                self._writes += 2
                return proven, float(moment)
        return float(until), float(until)

    def _ask(self, moment: float, failed_so_far: NDArray[np.int64]) -> None:
        ended = int(np.searchsorted(self._ends, moment, side="right"))
        failed = int(failed_so_far[ended - 1]) if ended else 0
        counts = RolloutCounts(fleet=len(self._places), succeeded=ended - failed, failed=failed)
        self._steps += 1
        now = START + timedelta(seconds=moment)
        self._state, _ = service.step(self._state, counts, now=now)

    def _proof(self, failures: NDArray[np.float64], failed_so_far: NDArray[np.int64]) -> float:
        """Return the moment of the first failure after which the gate would have halted."""
        plan = self._state.plan
        assert plan is not None
        for moment in failures:
            ended = int(np.searchsorted(self._ends, moment, side="right"))
            failed = int(failed_so_far[ended - 1])
            lower = gates.wilson_lower(failed, ended, plan.gates.confidence)
            if failed >= plan.gates.min_failures and lower > plan.gates.max_failure_rate:
                return float(moment)
        return float(failures[-1])


def simulate(
    places: NDArray[np.float64], failure_rate: float, seed: int, *, ticks_only: bool = False
) -> Outcome:
    """Roll one bundle out with the default plan of a fleet of this size.

    Args:
        places: Of :func:`positions`.
        failure_rate: Share of installations that fail.
        seed: Of all chance in it.
        ticks_only: Nobody reacts to a failure before the next tick.
    """
    return _Run(places, failure_rate, seed, ticks_only=ticks_only).run()
