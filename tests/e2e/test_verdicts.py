"""Every example episode gets the verdict in the cloud that it gets on the robot, and why."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from conftest import REPOSITORY
from continuon.identifiers import ROBOT_ID
from continuon.rlds import Report, validate_path
from product import BUCKET
from small_episodes import SmallEpisode, pack

if TYPE_CHECKING:
    from pathlib import Path

    from product import Product, Robot

_EXAMPLES = REPOSITORY / "examples" / "episodes"
_MADE_HERE = "recorded/either/huge_line"
"""Too large to be stored: a line of 2 MiB."""
_ROWS = [
    row
    for row in map(json.loads, (_EXAMPLES / "expected.jsonl").read_text("utf-8").splitlines())
    # A reference is a foreign dataset's own file: no episode.
    if row["verdict"] != "reference" and row["path"] != _MADE_HERE
]
_TYPES = {".gz": "application/gzip", ".zip": "application/zip", ".json": "application/json"}
_AT_ONCE = 4
_ANY_ROBOT = "robot-of-the-examples"


@dataclass(frozen=True)
class _Case:
    path: Path
    offline: Report

    @property
    def robot_id(self) -> str:
        named = self.offline.robot_id or ""
        return named if ROBOT_ID.fullmatch(named) else _ANY_ROBOT

    def upload(self, robot: Robot) -> str:
        """Upload under a minted id, because many examples carry the same one."""
        if self.path.is_dir():
            files = sorted(path for path in self.path.rglob("*") if path.is_file())
            data = pack({p.relative_to(self.path).as_posix(): p.read_bytes() for p in files})
            grant = robot.upload_archive(data)
        else:
            content_type = _TYPES[self.path.suffix]
            grant = robot.upload_archive(self.path.read_bytes(), content_type=content_type)
        return str(grant["episode_ref"].rpartition("/")[2])


def _findings(report: Report) -> dict[str, Any]:
    return {
        "verdict": report.verdict,
        "problems": [(f.code, f.file, f.step, f.path) for f in report.problems],
        "warnings": [(f.code, f.file, f.step, f.path) for f in report.warnings],
        "totals": report.totals,
        "steps": report.counts.steps,
        "eligible": report.eligibility,
        "shape": report.shape,
    }


@pytest.fixture(scope="module")
def huge_line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = SmallEpisode().files()
    line = b'{"action": {"command": [0.1]}, "step_metadata": {"x": "' + b"x" * 2 * 1024**2 + b'"}}'
    path = tmp_path_factory.mktemp("made") / "huge_line.tar.gz"
    path.write_bytes(pack({**files, "steps.jsonl": line}))
    return path


@pytest.fixture(scope="module")
def cloud_reports(product: Product, huge_line: Path) -> dict[str, Report]:
    """The report of every example from the cloud, uploaded a few at a time."""
    cases = {row["path"]: _case(_EXAMPLES / row["path"]) for row in _ROWS}
    cases[_MADE_HERE] = _case(huge_line)
    owner = product.account()
    robots = {robot_id: owner.robot(robot_id) for robot_id in {c.robot_id for c in cases.values()}}

    def ingested(case: _Case) -> Report:
        episode_id = case.upload(robots[case.robot_id])
        document = product.settled(episode_id, timeout_s=60)
        blob = product.storage.bucket(BUCKET).blob(document["report_ref"])
        report = Report.from_json(blob.download_as_bytes())
        assert (document["status"] == "validated") is report.is_valid
        assert document["training_eligible"] is (
            report.is_valid and report.eligibility.training_eligible
        )
        return report

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(cases, pool.map(ingested, cases.values()), strict=True))


def _case(path: Path) -> _Case:
    return _Case(path, validate_path(path))


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row["path"])
def test_the_cloud_says_what_the_robot_says(
    row: dict[str, Any], cloud_reports: dict[str, Report]
) -> None:
    offline = validate_path(_EXAMPLES / row["path"])
    assert _findings(cloud_reports[row["path"]]) == _findings(offline)
    if row["verdict"] in {"valid", "invalid"}:
        assert offline.verdict == row["verdict"]


def test_the_cloud_says_what_the_robot_says_of_a_huge_line(
    huge_line: Path, cloud_reports: dict[str, Report]
) -> None:
    found = _findings(cloud_reports[_MADE_HERE])
    assert found == _findings(validate_path(huge_line))
    assert found["problems"][0][0] == "limits.line_size"
