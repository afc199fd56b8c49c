"""The agent's good days, and the bad ones that are nobody's fault."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ota_mirror import Lie
from ota_robot import PATIENT

if TYPE_CHECKING:
    from pathlib import Path

    from continuon_cloud.ota.agent import Round
    from ota_mirror import Mirror
    from ota_robot import TestRobot
    from ota_trust import TrustBench

CHECK, REPORT = "/api/ota/check", "/api/ota/report"
BUNDLE = "/bundles/companion-v1/1.1.0.bundle"


def command(tmp_path: Path, code: str) -> str:
    """Return a command line that runs ``code``."""
    script = tmp_path / "command.py"
    script.write_text(code)
    return f"{sys.executable} -S {script}"


def test_an_update_is_downloaded_verified_installed_and_reported(
    running: TestRobot, mirror: Mirror
) -> None:
    done = running.round()
    assert (done.outcome, done.version, running.running()) == ("installed", "1.1.0", "1.1.0")
    assert mirror.phases() == ["downloading", "verified", "installed", "healthy"]
    assert [report["version"] for report in mirror.reports] == ["1.0.0"] * 3 + ["1.1.0"]
    assert list((running.folder / "downloads").iterdir()) == []


def test_slots_take_turns(running: TestRobot) -> None:
    before = running.slot()
    running.round()
    assert {before, running.slot()} == {"a", "b"}


def test_nothing_is_done_when_nothing_is_offered(running: TestRobot, mirror: Mirror) -> None:
    mirror.offer = None
    done = running.round()
    assert (done.outcome, done.wait_s, running.running()) == ("up_to_date", 900, "1.0.0")
    assert mirror.fetched("/api/ota/metadata") == []


def test_the_check_says_what_runs_and_what_is_known_of_the_robot(
    running: TestRobot, mirror: Mirror, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    state.write_text('{"idle": true, "docked": true, "battery_percent": 81.5}')
    replace(running, state_file=state).round()
    check = mirror.checks[-1]
    assert (check["version"], check["bundle_id"]) == ("1.0.0", "companion-v1-1.0.0")
    facts = check["state"]
    assert (facts["idle"], facts["docked"], facts["battery_percent"]) == (True, True, 81.5)
    assert "in_remote_session" not in facts
    assert facts["free_bytes"] > 0


@pytest.mark.parametrize("content", ["", "[]", '{"battery_percent": 900}', "{" * 5000])
def test_a_broken_state_file_says_nothing(
    running: TestRobot, mirror: Mirror, tmp_path: Path, content: str
) -> None:
    state = tmp_path / "state.json"
    state.write_text(content)
    replace(running, state_file=state).round()
    assert set(mirror.checks[-1]["state"]) == {"free_bytes"}


# --- Health -------------------------------------------------------------------------------------


def test_a_bundle_that_fails_its_health_check_is_given_back(
    running: TestRobot, mirror: Mirror, tmp_path: Path
) -> None:
    code = "import os, sys; sys.exit(os.environ['CONTINUON_BUNDLE_VERSION'] + ' is ill')"
    done = replace(running, health=command(tmp_path, code)).round()
    assert (done.outcome, running.running()) == ("failed", "1.0.0")
    assert mirror.phases() == ["downloading", "verified", "installed", "rolled_back"]
    error = mirror.reports[-1]["error"]
    assert error["code"] == "ota.unhealthy"
    assert "1.1.0 is ill" in error["message"]


def test_a_health_check_that_hangs_is_killed_with_all_it_started(
    running: TestRobot, mirror: Mirror, tmp_path: Path
) -> None:
    code = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
        "time.sleep(600)\n"
    )
    robot = replace(running, health=command(tmp_path, code), health_timeout_s=0.5)
    assert robot.round().outcome == "failed"
    assert running.running() == "1.0.0"
    assert mirror.error_codes() == ["ota.unhealthy_timeout"]


def test_a_health_check_that_cannot_be_started_is_a_no(running: TestRobot, mirror: Mirror) -> None:
    for line in ("/no/such/program", "'unbalanced", ""):
        replace(running, health=line or " ").round()
    assert running.running() == "1.0.0"
    assert mirror.error_codes() == ["ota.unhealthy"] * 3


def test_a_first_bundle_that_fails_leaves_the_robot_without_one(
    bench: TrustBench, robot: TestRobot, mirror: Mirror, tmp_path: Path
) -> None:
    bench.release("1.0.0")
    mirror.offer = "1.0.0"
    ill = replace(robot, health=command(tmp_path, "import sys; sys.exit(3)"))
    assert (ill.round().version, robot.running()) == (None, None)
    assert mirror.phases()[-1] == "failed"
    assert robot.round().outcome == "installed"


def test_the_robots_software_is_told_of_every_change(running: TestRobot, tmp_path: Path) -> None:
    log = tmp_path / "log"
    tell = command(
        tmp_path,
        f"import os; open({str(log)!r}, 'a').write(os.environ['CONTINUON_BUNDLE_VERSION'] + '\\n')",
    )
    replace(running, activate=tell, health="/bin/false").round()
    assert log.read_text().split() == ["1.1.0", "1.0.0"]


def test_a_trial_that_was_given_back_is_tried_again_without_a_download(
    running: TestRobot, mirror: Mirror
) -> None:
    replace(running, health="/bin/false").round()
    mirror.requests.clear()
    assert running.round().outcome == "installed"
    assert mirror.fetched("/bundles") == []


# --- The network --------------------------------------------------------------------------------


def test_a_broken_download_is_continued(running: TestRobot, mirror: Mirror) -> None:
    mirror.lies[BUNDLE] = Lie(cut_after=700, times=2)
    assert running.round().outcome == "installed"
    ranges = [span for _, path, span in mirror.requests if path == BUNDLE]
    assert ranges == [None, "bytes=700-", "bytes=1400-"]


def test_a_download_is_continued_by_the_next_process(running: TestRobot, mirror: Mirror) -> None:
    mirror.lies[BUNDLE] = Lie(cut_after=700, times=1)
    mirror.lies["/bundles"] = Lie(status=503)
    assert running.round().outcome == "failed"
    mirror.lies.clear()
    assert running.round().outcome == "installed"
    assert (
        mirror.requests[-3][2] == "bytes=700-" or ("GET", BUNDLE, "bytes=700-") in mirror.requests
    )


def test_a_part_that_the_disk_spoiled_is_downloaded_again(
    running: TestRobot, mirror: Mirror
) -> None:
    mirror.lies[BUNDLE] = Lie(cut_after=700, times=1)
    mirror.lies["/bundles"] = Lie(status=503)
    running.round()
    (part,) = (running.folder / "downloads").iterdir()
    part.write_bytes(bytes(700))
    mirror.lies.clear()
    assert running.round().outcome == "installed"
    assert "failed" not in mirror.phases()


def test_an_expired_url_is_renewed(running: TestRobot, mirror: Mirror) -> None:
    mirror.lies[BUNDLE] = Lie(status=403, times=1)
    assert running.round().outcome == "installed"
    assert len(mirror.checks) == 3


def test_a_network_that_is_down_is_no_failure_of_the_bundle(
    running: TestRobot, mirror: Mirror
) -> None:
    for path in ("/api/ota/metadata", "/bundles", CHECK):
        mirror.lies = {path: Lie(status=503)}
        assert running.round().outcome in {"failed", "unreachable"}
    mirror.lies.clear()
    assert running.round().outcome == "installed"
    assert mirror.error_codes() == []


def test_a_cap_of_the_rate_is_kept(running: TestRobot, mirror: Mirror) -> None:
    size = len(mirror.bench.bundles[BUNDLE.removeprefix("/bundles/")])
    began = time.monotonic()
    capped = replace(running, limits=replace(PATIENT, bytes_per_s=size * 2))
    assert capped.round().outcome == "installed"
    assert time.monotonic() - began > 0.4


# --- When it asks -------------------------------------------------------------------------------


@pytest.mark.parametrize("notice", ["file", "signal"])
async def test_a_waiting_agent_asks_at_once_on_notice(
    running: TestRobot, mirror: Mirror, notice: str
) -> None:
    mirror.offer = None
    rounds: list[Round] = []
    twice = asyncio.Event()

    def on_round(done: Round) -> None:
        rounds.append(done)
        if len(rounds) == 1 and notice == "file":
            (running.folder / "check-now").touch()
        elif len(rounds) == 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        else:
            twice.set()

    work = asyncio.create_task(running.run(on_round))
    async with asyncio.timeout(60):
        await twice.wait()
    work.cancel()
    await asyncio.wait({work})
    # The cloud had said fifteen minutes.
    assert {done.wait_s for done in rounds} == {900}
    assert not (running.folder / "check-now").exists()


# --- Reports ------------------------------------------------------------------------------------


def test_reports_that_do_not_get_through_wait_for_the_next_round(
    running: TestRobot, mirror: Mirror
) -> None:
    mirror.lies[REPORT] = Lie(status=503)
    running.round()
    assert mirror.reports == []
    mirror.lies.clear()
    mirror.offer = None
    running.round()
    assert mirror.phases() == ["downloading", "verified", "installed", "healthy"]


def test_a_report_whose_answer_was_lost_changes_nothing_the_second_time(
    running: TestRobot, mirror: Mirror
) -> None:
    mirror.lies[REPORT] = Lie(data=b"{", times=1)
    running.round()
    mirror.offer = None
    running.round()
    sequences = [report["sequence"] for report in mirror.reports]
    assert sequences == sorted(set(sequences))
    assert mirror.phases() == ["downloading", "verified", "installed", "healthy"]


def test_a_report_that_is_refused_for_good_does_not_hold_up_the_others(
    running: TestRobot, mirror: Mirror
) -> None:
    mirror.lies[REPORT] = Lie(status=409, data=b"{}", times=1)
    running.round()
    assert mirror.phases() == ["verified", "installed", "healthy"]


def test_a_robot_that_lost_its_counter_goes_on_behind_what_the_cloud_knows(
    running: TestRobot, mirror: Mirror
) -> None:
    mirror.last_sequence = 2**52
    running.round()
    assert mirror.phases() == ["downloading", "verified", "installed", "healthy"]
    assert mirror.reports[0]["sequence"] > 2**52


def test_a_cloud_that_missed_the_end_hears_it_again(running: TestRobot, mirror: Mirror) -> None:
    running.round()
    mirror.reports.clear()
    assert running.round().outcome == "up_to_date"
    assert mirror.phases() == ["healthy"]


def test_task_totals_are_reported_once_for_each_change(
    running: TestRobot, mirror: Mirror, tmp_path: Path
) -> None:
    tasks = tmp_path / "tasks.json"
    robot = replace(running, tasks_file=tasks)
    mirror.offer = None
    for trials in (10, 10, 12):
        totals = {"bundle_id": "companion-v1-1.0.0", "successes": 9, "trials": trials}
        tasks.write_text(json.dumps(totals))
        robot.round()
    tasks.write_text(json.dumps({"bundle_id": "another", "successes": 1, "trials": 1}))
    robot.round()
    assert [report["task"]["trials"] for report in mirror.reports] == [10, 12]


# --- Going back ---------------------------------------------------------------------------------


def test_the_cloud_can_send_a_robot_back_to_what_it_ran_before(
    running: TestRobot, mirror: Mirror
) -> None:
    running.round()
    mirror.offer, mirror.direction = "1.0.0", "back"
    mirror.requests.clear()
    done = running.round()
    assert (done.outcome, running.running()) == ("installed", "1.0.0")
    assert mirror.fetched("/bundles") == []


def test_a_robot_leaves_a_withdrawn_bundle_for_a_lower_one(
    bench: TrustBench, robot: TestRobot, mirror: Mirror
) -> None:
    bench.release("1.0.0")
    bench.release("1.1.0")
    mirror.offer = "1.1.0"
    robot.round()
    mirror.offer, mirror.direction = "1.0.0", "back"
    assert robot.round().outcome == "failed"
    assert mirror.error_codes() == ["ota.version_lower"]
    bench.withdraw("1.1.0")
    assert robot.round().outcome == "installed"
    assert robot.running() == "1.0.0"


def test_a_robot_goes_back_where_the_publisher_signed_that_it_may(
    bench: TrustBench, robot: TestRobot, mirror: Mirror
) -> None:
    # A robot that was new when 1.1.0 came: it never ran 1.0.0.
    bench.release("0.9.0")
    bench.release("1.0.0", fallback=["0.9.0"])
    bench.release("1.1.0", fallback=["1.0.0"])
    mirror.offer = "1.1.0"
    robot.round()
    mirror.offer, mirror.direction = "1.0.0", "back"
    assert robot.round().outcome == "installed"
    assert robot.running() == "1.0.0"
    # The highest that ever ran here names the ways back, or whoever has the cloud could walk the
    # robot down to the first version, step by step or in zigzags.
    mirror.offer = "0.9.0"
    assert robot.round().outcome == "failed"
    bench.release("1.0.1", fallback=["0.9.0"])
    mirror.offer = "1.0.1"
    assert robot.round().outcome == "installed"
    mirror.offer = "0.9.0"
    assert robot.round().outcome == "failed"
    assert robot.running() == "1.0.1"


def test_a_robot_goes_back_two_steps_when_both_are_signed(
    bench: TrustBench, robot: TestRobot, mirror: Mirror
) -> None:
    for version in ("0.9.0", "1.0.0"):
        bench.release(version)
    bench.release("1.1.0", fallback=["1.0.0", "0.9.0"])
    mirror.offer = "1.1.0"
    robot.round()
    mirror.direction = "back"
    for version in ("1.0.0", "0.9.0"):
        mirror.offer = version
        assert robot.round().outcome == "installed"


def test_a_robot_that_went_back_takes_the_next_version(
    bench: TrustBench, running: TestRobot, mirror: Mirror
) -> None:
    running.round()
    mirror.offer, mirror.direction = "1.0.0", "back"
    running.round()
    bench.release("1.2.0")
    mirror.offer, mirror.direction = "1.2.0", "forward"
    assert running.round().outcome == "installed"


# --- Room ---------------------------------------------------------------------------------------


def test_a_disk_without_room_is_said_before_anything_is_written(
    running: TestRobot, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("continuon_cloud.ota.install.SPARE_BYTES", 2**62)
    assert running.round().outcome == "failed"
    assert mirror.error_codes() == ["ota.disk_full"]
    assert mirror.fetched("/bundles") == []
    assert running.running() == "1.0.0"


def test_time_passes_and_the_cloud_renews(bench: TrustBench, running: TestRobot) -> None:
    for _ in range(3):
        bench.wait(timedelta(days=5))
        bench.refresh()
        assert running.at(bench.now).round().outcome in {"installed", "up_to_date"}
