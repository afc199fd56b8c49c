"""Which rollouts a tick counts: all that may change soon, and old ones more and more seldom."""

from __future__ import annotations

from datetime import timedelta

import pytest

from continuon.contracts.rollouts import RolloutStatus
from continuon_ota.rollout import is_due
from ota_samples import NOW, rollout


def ticks_counted(status: RolloutStatus, age: timedelta, hours: int = 3) -> int:
    """Return how many of the minutes after ``age`` are counted."""
    state = rollout(status).model_copy(update={"since": NOW - age, "counted_at": NOW})
    moments = [NOW + timedelta(minutes=minute) for minute in range(60 * hours)]
    return sum(is_due(state, moment) for moment in moments)


@pytest.mark.parametrize("status", [RolloutStatus.CANARY, RolloutStatus.PAUSED])
def test_what_may_change_is_counted_every_minute(status: RolloutStatus) -> None:
    assert ticks_counted(status, timedelta(days=9)) == 180


def test_production_is_counted_every_minute_at_first_and_once_an_hour_at_last() -> None:
    production = RolloutStatus.PRODUCTION
    assert ticks_counted(production, timedelta(0), hours=1) >= 45
    assert ticks_counted(production, timedelta(days=1)) <= 6
    assert ticks_counted(production, timedelta(days=365)) == 3


def test_what_was_never_counted_is_due() -> None:
    state = rollout(RolloutStatus.PRODUCTION).model_copy(update={"since": NOW - timedelta(days=9)})
    assert is_due(state, NOW + timedelta(seconds=61))


def test_a_repeated_tick_decides_alike() -> None:
    state = rollout(RolloutStatus.PRODUCTION).model_copy(
        update={"since": NOW - timedelta(days=9), "counted_at": NOW}
    )
    moments = [NOW + timedelta(minutes=5, seconds=second) for second in range(60)]
    assert len({is_due(state, moment) for moment in moments}) == 1
