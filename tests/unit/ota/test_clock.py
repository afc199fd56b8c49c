"""What time a robot goes by when its clock is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from continuon_cloud.ota.clock import TrustedClock

NOW = datetime(2026, 11, 20, tzinfo=UTC)
YEAR = timedelta(days=365)


class Robot:
    """A robot whose two clocks a test sets."""

    def __init__(self, system: datetime) -> None:
        self.system = system
        self.monotonic = 1000.0
        self.clock = TrustedClock(lambda: self.system, lambda: self.monotonic)


def test_a_right_clock_is_believed() -> None:
    assert Robot(NOW).clock.now() == NOW


def test_a_clock_that_is_a_year_behind_goes_by_what_is_signed() -> None:
    robot = Robot(NOW - YEAR)
    robot.clock.believe(NOW, "k")
    assert robot.clock.now("k") == NOW


def test_time_goes_on_when_the_clock_stands_still() -> None:
    robot = Robot(NOW - YEAR)
    robot.clock.believe(NOW, "k")
    robot.monotonic += 3600
    assert robot.clock.now("k") == NOW + timedelta(hours=1)
    assert robot.clock.now() == NOW - YEAR + timedelta(hours=1)


def test_a_clock_that_is_set_back_while_it_runs_changes_nothing() -> None:
    robot = Robot(NOW)
    robot.system -= YEAR
    assert robot.clock.now() == NOW


def test_an_older_signed_moment_does_not_move_time_back() -> None:
    robot = Robot(NOW - YEAR)
    robot.clock.believe(NOW, "k")
    robot.clock.believe(NOW - timedelta(days=3), "k")
    assert robot.clock.now("k") == NOW


def test_what_revoked_keys_said_about_the_time_counts_no_more() -> None:
    robot = Robot(NOW)
    robot.clock.believe(NOW + 10 * YEAR, "stolen")
    assert robot.clock.now("new") == NOW


def test_a_date_counts_only_for_the_question_it_answered() -> None:
    robot = Robot(NOW)
    robot.clock.hear(NOW + YEAR)
    assert robot.clock.now() == NOW + YEAR
    robot.clock.ask_anew()
    assert robot.clock.now() == NOW


def test_a_date_never_moves_time_back() -> None:
    robot = Robot(NOW)
    robot.clock.hear(NOW - YEAR)
    assert robot.clock.now() == NOW
    assert robot.clock.ahead_of_service_s() == YEAR.total_seconds()
