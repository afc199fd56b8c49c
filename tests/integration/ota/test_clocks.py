"""Robots whose clocks are wrong by a year, in both directions."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ota_mirror import Mirror
    from ota_robot import TestRobot
    from ota_trust import TrustBench

YEAR = timedelta(days=365)


def test_a_clock_a_year_behind_does_not_keep_a_robot_from_updating(
    running: TestRobot, bench: TrustBench
) -> None:
    assert running.at(bench.now - YEAR).round().outcome == "installed"


def test_a_clock_a_year_behind_does_not_make_old_metadata_good(
    running: TestRobot, mirror: Mirror, bench: TrustBench
) -> None:
    frozen = dict(bench.files)
    bench.wait(timedelta(days=30))
    bench.refresh()
    mirror.offer = "1.0.0"
    running.at(bench.now - YEAR).round()
    mirror.offer, bench.files = "1.1.0", frozen
    mirror.date = bench.now - timedelta(days=30)
    done = running.at(bench.now - YEAR).round()
    assert (done.outcome, running.running()) == ("failed", "1.0.0")


def test_a_new_robot_whose_clock_is_a_year_behind_goes_by_the_answers(
    robot: TestRobot, mirror: Mirror, bench: TrustBench
) -> None:
    bench.release("1.0.0")
    mirror.offer = "1.0.0"
    # The mirror lags by two days; the service's Date says so.
    mirror.date = bench.now + timedelta(days=2)
    done = robot.at(bench.now - YEAR).round()
    assert (done.outcome, done.detail.split(":")[0]) == ("failed", "trust.expired")


def test_a_clock_a_year_ahead_is_named_and_nothing_is_installed(
    running: TestRobot, mirror: Mirror, bench: TrustBench
) -> None:
    done = running.at(bench.now + YEAR).round()
    assert (done.outcome, running.running()) == ("failed", "1.0.0")
    assert mirror.error_codes() == ["trust.clock"]
    assert "8760 hours ahead" in mirror.reports[-1]["error"]["message"]


def test_a_clock_that_was_a_year_ahead_once_is_forgiven(
    running: TestRobot, bench: TrustBench
) -> None:
    running.at(bench.now + YEAR).round()
    assert running.round().outcome == "installed"


@pytest.mark.parametrize("date", [YEAR, -YEAR, 30 * YEAR])
def test_a_lying_date_lasts_no_longer_than_the_lie(
    running: TestRobot, mirror: Mirror, bench: TrustBench, date: timedelta
) -> None:
    mirror.date = bench.now + date
    running.round()
    mirror.date = None
    assert running.round().outcome in {"installed", "up_to_date"}


def test_a_timestamp_says_when_it_was_made(bench: TrustBench) -> None:
    signed = json.loads(bench.files["timestamp.json"])["signed"]
    assert signed["x-continuon-issued"] == f"{bench.now:%Y-%m-%dT%H:%M:%SZ}"
