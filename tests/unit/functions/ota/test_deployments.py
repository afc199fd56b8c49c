"""Offers as leases, and reports that count once, in the order of the robot."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from continuon.contracts.ota import OfferDirection, ReportPhase, ReportRequest
from continuon.contracts.rollouts import RobotPolicy
from continuon.errors import ProblemError
from continuon_ota import deployments
from continuon_ota.policy import Choice
from continuon_ota.records import DeploymentRecord, Outcome, RobotRecord
from ota_samples import MODEL, NOW, check, live, robot

P = ReportPhase
BUNDLE = live("1.1.0")
LEASE_S = 3600
MINUTE = timedelta(minutes=1)


def choice(**policy: Any) -> Choice:
    return Choice(BUNDLE, OfferDirection.FORWARD, RobotPolicy(**policy))


def offered(before: DeploymentRecord | None = None, *, later: Any = None) -> DeploymentRecord:
    now = NOW + (later or timedelta())
    return deployments.offer(choice(lease=LEASE_S), robot(), check(), before, places=["p"], now=now)


class Reporting:
    """A robot's document and one deployment, changed by reports."""

    def __init__(self, deployment: DeploymentRecord | None) -> None:
        self.deployment = deployment
        self.robot: RobotRecord = robot()
        self.released: tuple[str, ...] = ()
        self.sequence = 0

    def report(self, phase: ReportPhase, *, at: timedelta = MINUTE, **changes: Any) -> bool:
        self.sequence += 1
        fields = {"bundle_id": BUNDLE.bundle_id, "sequence": self.sequence, "phase": phase}
        request = ReportRequest.model_validate({**fields, **changes})
        applied = deployments.apply_report(
            self.deployment, self.robot, request, lease_s=LEASE_S, now=NOW + at
        )
        if applied is None:
            return False
        self.deployment, self.released = applied.deployment, applied.released
        self.robot = self.robot.model_copy(update={"ota": applied.robot})
        return True

    @property
    def at(self) -> DeploymentRecord:
        assert self.deployment is not None
        return self.deployment


# --- Offers -------------------------------------------------------------------------------------


def test_an_offer_is_a_lease() -> None:
    offer = offered()
    assert (offer.outcome, offer.attempts, offer.places) == (Outcome.PENDING, 1, ["p"])
    assert offer.lease_expires_at == NOW + timedelta(hours=1)
    assert deployments.has_offer(offer, NOW + timedelta(minutes=59))
    assert not deployments.has_offer(offer, NOW + timedelta(hours=1))


def test_asking_again_gets_the_same_offer_and_no_new_attempt() -> None:
    again = offered(offered(), later=10 * MINUTE)
    assert (again.attempts, again.offered_at) == (1, NOW)
    assert again.lease_expires_at == NOW + timedelta(minutes=70)


def test_an_offer_that_ran_out_is_a_new_attempt() -> None:
    again = offered(offered(), later=timedelta(hours=2))
    assert (again.attempts, again.offered_at) == (2, NOW + timedelta(hours=2))


def test_a_way_back_counts_neither_for_nor_against_the_bundle_it_leads_to() -> None:
    way = Choice(BUNDLE, OfferDirection.BACK, RobotPolicy())
    for phase, outcome in [(P.HEALTHY, Outcome.ADOPTED), (P.FAILED, Outcome.STRANDED)]:
        one = Reporting(deployments.offer(way, robot(), check(), None, places=[], now=NOW))
        assert one.at.outcome is Outcome.RETURNING
        one.report(P.INSTALLED)
        assert (one.at.outcome, one.at.installing) == (Outcome.RETURNING, False)
        one.report(phase)
        assert one.at.outcome is outcome
    assert (one.at.failures, one.robot.ota.failures) == (1, 1)


def test_a_slow_download_leaves_time_to_try_what_was_installed() -> None:
    one = Reporting(offered())
    one.report(P.INSTALLED, at=timedelta(hours=9))
    assert one.at.lease_expires_at == NOW + timedelta(hours=10)


def test_an_offer_is_not_held_for_ever_by_asking() -> None:
    record = offered()
    for minutes in range(30, 300, 30):
        record = offered(record, later=minutes * MINUTE)
        if record.attempts > 1:
            break
    assert minutes == 240


# --- Reports ------------------------------------------------------------------------------------


def test_an_installation_from_offer_to_health() -> None:
    one = Reporting(offered())
    for phase in (P.DOWNLOADING, P.VERIFIED, P.INSTALLED):
        assert one.report(phase)
        assert (one.at.phase, one.at.outcome) == (phase, Outcome.PENDING)
        assert one.released == ()
    assert one.at.installing
    assert one.report(P.HEALTHY, version="1.1.0")
    assert (one.at.outcome, one.at.installing) == (Outcome.SUCCEEDED, False)
    assert (one.at.lease_expires_at, one.at.places, one.released) == (None, [], ("p",))
    assert (one.robot.ota.bundle_id, one.robot.ota.since) == (BUNDLE.bundle_id, NOW + MINUTE)


def test_each_report_extends_the_lease_but_not_for_ever() -> None:
    one = Reporting(offered())
    one.report(P.DOWNLOADING, at=timedelta(minutes=30))
    assert one.at.lease_expires_at == NOW + timedelta(minutes=90)
    one.report(P.DOWNLOADING, at=timedelta(hours=3, minutes=30))
    assert one.at.lease_expires_at == NOW + timedelta(hours=4)


@pytest.mark.parametrize("phase", [P.FAILED, P.ROLLED_BACK])
def test_a_failure_ends_the_attempt_and_keeps_the_reason(phase: ReportPhase) -> None:
    one = Reporting(offered())
    one.report(phase, error={"code": "health.timeout", "message": "no heartbeat"})
    assert (one.at.outcome, one.at.failures, one.released) == (Outcome.FAILED, 1, ("p",))
    assert one.at.error == {"code": "health.timeout", "message": "no heartbeat"}
    assert one.robot.ota.failures == 1


def test_failed_and_then_rolled_back_is_one_failure() -> None:
    one = Reporting(offered())
    one.report(P.FAILED)
    one.report(P.ROLLED_BACK)
    assert (one.at.failures, one.robot.ota.failures) == (1, 1)


def test_a_robot_that_goes_back_later_has_failed_after_all() -> None:
    one = Reporting(offered())
    one.report(P.HEALTHY)
    one.report(P.ROLLED_BACK)
    assert (one.at.outcome, one.robot.ota.failures) == (Outcome.FAILED, 1)
    assert one.robot.ota.bundle_id == f"{MODEL}-1.0.0"


def test_a_robot_that_succeeds_after_a_failure_has_succeeded() -> None:
    one = Reporting(offered())
    one.report(P.FAILED)
    one.deployment = offered(one.at)
    one.report(P.HEALTHY)
    assert (one.at.outcome, one.robot.ota.failures) == (Outcome.SUCCEEDED, 0)


def test_three_failures_in_a_row_rest_for_a_day() -> None:
    one = Reporting(offered())
    for _ in range(3):
        assert one.robot.ota.resting_until is None
        one.report(P.FAILED)
        one.deployment = offered(one.at)
    assert one.robot.ota.resting_until == NOW + MINUTE + timedelta(days=1)
    assert one.robot.ota.failures == 0


def test_a_success_ends_the_row_of_failures() -> None:
    one = Reporting(offered())
    for phase in (P.FAILED, P.FAILED, P.HEALTHY, P.FAILED, P.FAILED):
        one.report(phase)
        one.deployment = offered(one.at)
    assert (one.robot.ota.resting_until, one.robot.ota.failures) == (None, 2)


# --- Lost, repeated, reordered ------------------------------------------------------------------


def test_a_repeated_report_changes_nothing() -> None:
    one = Reporting(offered())
    one.report(P.FAILED)
    before = one.at
    assert not one.report(P.FAILED, sequence=1)
    assert one.at is before


def test_a_late_report_does_not_undo_a_later_one() -> None:
    one = Reporting(offered())
    one.report(P.HEALTHY, sequence=5)
    assert not one.report(P.DOWNLOADING, sequence=4)
    assert one.at.outcome is Outcome.SUCCEEDED


def test_reports_that_were_lost_are_not_needed() -> None:
    one = Reporting(offered())
    one.report(P.HEALTHY, sequence=40)
    assert one.at.outcome is Outcome.SUCCEEDED


def test_progress_after_the_end_of_an_attempt_reopens_nothing() -> None:
    one = Reporting(offered())
    one.report(P.HEALTHY)
    one.report(P.DOWNLOADING)
    assert (one.at.outcome, one.at.lease_expires_at) == (Outcome.SUCCEEDED, None)


# --- Bundles that were not offered --------------------------------------------------------------


def test_a_side_loaded_bundle_is_known_and_does_not_count() -> None:
    one = Reporting(None)
    one.report(P.HEALTHY, version="1.1.0")
    assert one.at.outcome is Outcome.ADOPTED
    assert one.robot.ota.bundle_id == BUNDLE.bundle_id


@pytest.mark.parametrize("phase", sorted(set(P) - {P.HEALTHY}))
def test_a_robot_cannot_fail_what_it_was_not_offered(phase: ReportPhase) -> None:
    one = Reporting(None)
    with pytest.raises(ProblemError) as refusal:
        one.report(phase)
    assert refusal.value.type.code == "deployment.not_offered"
    assert one.robot == robot()


# --- Tasks --------------------------------------------------------------------------------------


def test_task_totals_replace_each_other() -> None:
    one = Reporting(offered())
    one.report(P.HEALTHY, task={"successes": 3, "trials": 4})
    one.report(P.HEALTHY, task={"successes": 8, "trials": 10})
    assert (one.at.task_successes, one.at.task_trials, one.at.has_tasks) == (8, 10, True)


def test_a_report_without_tasks_leaves_them() -> None:
    one = Reporting(offered())
    one.report(P.HEALTHY, task={"successes": 3, "trials": 4})
    one.report(P.HEALTHY)
    assert (one.at.task_successes, one.at.task_trials) == (3, 4)


def test_no_tasks_yet_is_no_robot_with_tasks() -> None:
    one = Reporting(offered())
    one.report(P.HEALTHY, task={"successes": 0, "trials": 0})
    assert not one.at.has_tasks
