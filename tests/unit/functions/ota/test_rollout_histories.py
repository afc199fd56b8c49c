"""Any history of a rollout, however long and mad: what always holds."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from continuon.contracts.rollouts import RolloutAction, RolloutCounts, RolloutStatus
from continuon.errors import ProblemError
from continuon_ota import service
from ota_samples import NOW, plan

if TYPE_CHECKING:
    from continuon_ota.records import RolloutRecord

S = RolloutStatus
PLANS = [plan(1, 10, 100), plan(100), plan(5), plan(50, 100, gates={"task": {}})]
DEEDS = st.one_of(
    st.sampled_from(RolloutAction),
    st.sampled_from(["supersede", "reinstate"]),
    st.builds(
        RolloutCounts,
        fleet=st.just(5000),
        succeeded=st.integers(0, 60),
        failed=st.integers(0, 4),
        silent=st.integers(0, 2),
    ),
)


def after(state: RolloutRecord, deed: Any, chosen: int, now: Any) -> RolloutRecord:
    if isinstance(deed, RolloutCounts):
        return service.step(state, deed, now=now)[0] if state.status in service.LIVE else state
    if deed == "supersede":
        return service.supersede(state, "companion-v1-9.0.0", now=now)
    if deed == "reinstate":
        return service.reinstate(state, now=now)
    return service.act(state, deed, now=now, plan=PLANS[chosen], reason="x")


def check(before: RolloutRecord, now: RolloutRecord) -> None:
    assert now.plan is not None or now.status in {S.STAGED, *service.WITHDRAWN}
    if now.status in service.WITHDRAWN or now.status is S.STAGED:
        assert now.target_percentage == 0
    if now.status is S.PRODUCTION:
        assert now.target_percentage == 100
    if now.status is S.CANARY:
        assert now.plan is not None
        assert now.stage is not None
        assert now.target_percentage == now.plan.stages[now.stage].percentage < 100
    if before.plan is not None:
        # A plan that has begun does not change.
        assert now.plan == before.plan
    if before.status in service.WITHDRAWN:
        assert now.status in service.WITHDRAWN
    if before.target_percentage and now.status in service.LIVE:
        # A share only grows.
        assert now.target_percentage >= before.target_percentage
    moved = (before.status, before.stage) != (now.status, now.stage)
    assert now.revision == before.revision + moved


@settings(max_examples=300, deadline=None)
@given(deeds=st.lists(DEEDS, max_size=25), chosen=st.integers(0, len(PLANS) - 1))
def test_no_history_breaks_what_always_holds(deeds: list[Any], chosen: int) -> None:
    state = service.staged(NOW)
    for hour, deed in enumerate(deeds):
        before = state
        with contextlib.suppress(ProblemError):
            state = after(state, deed, chosen, NOW + timedelta(hours=2 * hour))
        check(before, state)
