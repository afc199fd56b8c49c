"""Maintenance windows: the robot's wall clock, midnight, and clocks that change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from continuon.contracts.rollouts import Window
from continuon_ota.windows import is_known_zone, next_opening


def opening(now: str, zone: str | None = None, **window: Any) -> str | None:
    windows = [Window.model_validate(window)] if window else []
    found = next_opening(windows, datetime.fromisoformat(now).replace(tzinfo=UTC), zone)
    return found.strftime("%a %d %H:%M") if found else None


NIGHT: dict[str, Any] = {"start": "22:00", "end": "04:00"}


def test_without_windows_it_is_always_open() -> None:
    assert opening("2026-03-04T12:00") is None


def test_a_window_includes_its_begin_and_not_its_end() -> None:
    span: dict[str, Any] = {"start": "01:00", "end": "05:00"}
    assert opening("2026-03-04T01:00", **span) is None
    assert opening("2026-03-04T04:59", **span) is None
    assert opening("2026-03-04T05:00", **span) == "Thu 05 01:00"


def test_a_window_over_midnight_is_one_window() -> None:
    assert opening("2026-03-04T23:00", **NIGHT) is None
    assert opening("2026-03-04T03:59", **NIGHT) is None
    assert opening("2026-03-04T04:00", **NIGHT) == "Wed 04 22:00"


def test_the_day_of_a_window_is_the_day_on_which_it_begins() -> None:
    friday: dict[str, Any] = {**NIGHT, "days": ["fri"]}
    assert opening("2026-03-07T03:00", **friday) is None
    assert opening("2026-03-06T03:00", **friday) == "Fri 06 22:00"
    assert opening("2026-03-07T04:00", **friday) == "Fri 13 22:00"


@pytest.mark.parametrize(
    ("zone", "expected"),
    [("Asia/Tokyo", "Wed 04 16:00"), ("America/New_York", "Thu 05 06:00"), (None, "Thu 05 01:00")],
)
def test_the_window_is_in_the_zone_of_the_robot(zone: str | None, expected: str) -> None:
    assert opening("2026-03-04T12:00", zone, start="01:00", end="05:00") == expected


def test_a_window_that_the_spring_clock_skips_still_opens() -> None:
    # In Berlin 02:30 does not exist on 29 March 2026.
    span: dict[str, Any] = {"start": "02:30", "end": "04:00"}
    assert opening("2026-03-29T00:00", "Europe/Berlin", **span) == "Sun 29 01:30"
    assert opening("2026-03-29T01:45", "Europe/Berlin", **span) is None


def test_a_window_that_the_autumn_clock_repeats_opens_at_the_first() -> None:
    # In Berlin 02:30 comes twice on 25 October 2026; the window lasts through both.
    span: dict[str, Any] = {"start": "02:30", "end": "03:30"}
    assert opening("2026-10-25T00:00", "Europe/Berlin", **span) == "Sun 25 00:30"
    assert opening("2026-10-25T02:15", "Europe/Berlin", **span) is None


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "Europe", "/etc", "\0"])
def test_a_name_that_is_no_zone_is_none(name: str) -> None:
    assert not is_known_zone(name)


def test_names_of_the_database_are_zones() -> None:
    assert is_known_zone("Europe/Berlin")
    assert is_known_zone("UTC")
