"""``make chaos``: 200 training jobs among seeded faults; fails when a promise was broken."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from chaos.training import VARIABLES, chaos_run
from training_stage import CRASH_POINTS, crash_variable, training_stage


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=1200.0, help="seconds")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        markers = Path(name)
        for point in CRASH_POINTS:
            (markers / point).touch()
        variables = {**VARIABLES, "CONTINUON_FAULT": crash_variable(markers)}
        with training_stage(**variables) as stage:
            stage.markers = markers
            verdict = chaos_run(stage, jobs=chosen.jobs, seed=chosen.seed, timeout_s=chosen.timeout)
    sys.stdout.write(f"\n{verdict.jobs} jobs, seed {chosen.seed}, {verdict.seconds:.0f} s\n")
    sys.stdout.write(verdict.table())
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
