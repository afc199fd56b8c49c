"""Run every benchmark, print one table, save the figures as JSON.

Speed is a ratio against a named baseline of the same run, so that a slow machine does not look like
slow code. Cost is counted operations. Nothing here is a pass or fail of the tests.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import cold_start
import loader
import local_cloud
import operations
import ota_fleet
import signed_url
import training
import validate

BENCHMARKS = {
    "validate": validate.run,
    "signed-url": signed_url.run,
    "cold-start": cold_start.run,
    "operations": operations.run,
    "loader": loader.run,
    "training": training.run,
    "over-the-air": ota_fleet.run,
    "local-cloud": local_cloud.run,
}
RESULTS = Path(__file__).resolve().parent / "results"


def _table(result: dict[str, Any]) -> Table:
    """One benchmark as a table: the ratio with its goal first, then what it is made of."""
    table = Table(title=result["name"], title_justify="left", title_style="bold", expand=True)
    table.add_column("figure", overflow="fold", ratio=1)
    table.add_column("value", justify="right", no_wrap=True)
    if result["ratio"] is not None:
        mark = {True: " [green]met", False: " [red]not met", None: ""}[result["met"]]
        table.add_row(f"[bold]ratio[/]; goal {result['goal']}{mark}", f"[bold]{result['ratio']}")
    for name, value in result["figures"].items():
        table.add_row(str(name), str(value))
    return table


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}; all when left out")
    parser.add_argument("--quick", action="store_true", help="small inputs and few rounds")
    parser.add_argument("--json", type=Path, default=RESULTS / "latest.json", help="save here")
    options = parser.parse_args()
    console = Console()
    results = {}
    for name, run in BENCHMARKS.items():
        if options.names and name not in options.names:
            continue
        console.print(f"[dim]{name} ...", highlight=False)
        results[name] = run(quick=options.quick)
    for result in results.values():
        console.print(_table(result))
    document = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"python": platform.python_version(), "system": platform.platform()},
        "quick": options.quick,
        "results": results,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    console.print(f"Saved in {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
