"""A small chaos run: every promise holds among seeded faults. `make chaos` runs 200 jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.training import VARIABLES, chaos_run
from training_stage import CRASH_POINTS, crash_variable, training_stage

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_job_ends_once_whatever_dies_repeats_itself_or_loses_its_answer(
    tmp_path: Path,
) -> None:
    for point in CRASH_POINTS:
        (tmp_path / point).touch()
    # Few jobs do not hold each other up, so that what is lost may be looked for sooner.
    sooner = {"CONTINUON_DISPATCH_LEASE_S": "4", "CONTINUON_REDISPATCH_S": "4"}
    variables = {**VARIABLES, **sooner, "CONTINUON_FAULT": crash_variable(tmp_path)}
    with training_stage(**variables) as stage:
        stage.markers = tmp_path
        verdict = chaos_run(stage, jobs=6, seed=7, timeout_s=400, patience_s=3)
    assert verdict.is_good, verdict.table()
    assert sum(verdict.by_end.values()) == verdict.jobs == 6
