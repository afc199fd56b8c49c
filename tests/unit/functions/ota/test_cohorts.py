"""A cohort is the same robots every time, only grows, and is a fair sample."""

from __future__ import annotations

from itertools import pairwise

import pytest

from continuon_ota.cohorts import in_cohort, position

ROBOTS = [f"robot-{number}" for number in range(20_000)]
CELLS = 100
CHI_SQUARE_99_DEGREES = {"low": 61.1, "high": 148.2}
"""The 0.1 % and 99.9 % points of the chi-square distribution with 99 degrees of freedom."""


def chi_square(positions: list[float]) -> float:
    counts = [0] * CELLS
    for value in positions:
        counts[int(value * CELLS)] += 1
    expected = len(positions) / CELLS
    return sum((count - expected) ** 2 / expected for count in counts)


def test_a_position_never_changes() -> None:
    assert position("companion-v1-1.0.0", "14d4b680") == pytest.approx(0.5789747745, abs=1e-9)


def test_positions_are_in_the_unit_interval() -> None:
    assert all(0 <= position("b", robot) < 1 for robot in ROBOTS)


@pytest.mark.parametrize("bundle", ["companion-v1-1.0.0", "companion-v1-1.0.1", "arm-2.0"])
def test_positions_are_uniform(bundle: str) -> None:
    statistic = chi_square([position(bundle, robot) for robot in ROBOTS])
    assert CHI_SQUARE_99_DEGREES["low"] < statistic < CHI_SQUARE_99_DEGREES["high"]


def test_positions_are_uniform_for_ids_that_differ_little() -> None:
    ids = [f"{number:08x}" for number in range(len(ROBOTS))]
    statistic = chi_square([position("b", robot) for robot in ids])
    assert CHI_SQUARE_99_DEGREES["low"] < statistic < CHI_SQUARE_99_DEGREES["high"]


def test_growing_a_percentage_only_adds_robots() -> None:
    cohorts = [{r for r in ROBOTS if in_cohort("b", r, p)} for p in (0.1, 1, 5, 10, 50, 99.9, 100)]
    assert all(smaller < larger for smaller, larger in pairwise(cohorts))


def test_a_hundred_percent_is_everybody_and_zero_is_nobody() -> None:
    assert all(in_cohort("b", robot, 100) for robot in ROBOTS)
    assert not any(in_cohort("b", robot, 0) for robot in ROBOTS)


def test_another_bundle_begins_with_other_robots() -> None:
    first = {r for r in ROBOTS if in_cohort("b-1.0", r, 10)}
    second = {r for r in ROBOTS if in_cohort("b-1.1", r, 10)}
    # Independent samples share a tenth of a tenth: 200 of 20,000, give or take 14.
    assert 130 < len(first & second) < 270


def test_ids_that_run_together_are_not_confused() -> None:
    assert position("ab", "c") != position("a", "bc")
