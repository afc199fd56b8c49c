"""What a work record means: the whole truth table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from continuon.platform.leases import WorkState, work_state

NOW = datetime(2026, 1, 4, 12, 0, 0, tzinfo=UTC)
LATER = NOW + timedelta(microseconds=1)
EARLIER = NOW - timedelta(microseconds=1)


def record(key: str, state: str, until: datetime | None) -> dict[str, Any]:
    return {"key": key, "state": state, "token": "t", "attempt": 1, "until": until}


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (None, WorkState.NONE),
        ({}, WorkState.NONE),
        (record("mine", "in_progress", LATER), WorkState.IN_PROGRESS),
        (record("mine", "in_progress", NOW), WorkState.EXPIRED),
        (record("mine", "in_progress", EARLIER), WorkState.EXPIRED),
        (record("mine", "in_progress", None), WorkState.EXPIRED),
        (record("mine", "completed", None), WorkState.COMPLETED),
        # A completed record stays completed, whatever its time says.
        (record("mine", "completed", LATER), WorkState.COMPLETED),
        (record("mine", "completed", EARLIER), WorkState.COMPLETED),
        # Two generations are never worked on at once, and a finished one says nothing of the next.
        (record("other", "in_progress", LATER), WorkState.IN_PROGRESS),
        (record("other", "in_progress", EARLIER), WorkState.EXPIRED),
        (record("other", "completed", None), WorkState.NONE),
        # A record that is damaged may be taken over, never obeyed for ever.
        ({"key": "mine"}, WorkState.EXPIRED),
        ({"state": "unheard of", "until": LATER}, WorkState.IN_PROGRESS),
    ],
)
def test_a_record_has_one_meaning(found: dict[str, Any] | None, state: WorkState) -> None:
    assert work_state(found, "mine", NOW) is state
