"""``continuon-local meter``: what was done, who did it, and what it costs."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from continuon_local.cli_options import DataDir, Json, Root, running_hub
from continuon_local.meter import Operation
from continuon_local.prices import AS_OF, CHECKED_ON, bill

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from continuon_local.prices import Line

__all__ = ["By", "cost_document", "meter"]

OUTSIDE = "(outside)"
"""How the table names calls that no function made: devices, browsers, programs."""


class By(StrEnum):
    """What the table has a row for."""

    FUNCTION = "function"
    OPERATION = "operation"
    REQUEST = "request"


def meter(
    *,
    root: Root = None,
    data_dir: DataDir = None,
    as_json: Json = False,
    by: Annotated[By, typer.Option(help="What a row is about.")] = By.FUNCTION,
    project_monthly: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="The bill of a month with N times this, free tier off."
        ),
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Count from zero afterwards.")] = False,
) -> None:
    """Print the billable operations, who caused them, and their list price."""
    hub = running_hub(root, data_dir)
    document = hub.get("/meter")
    if reset:
        hub.post("/meter/reset", {})
    counts = {
        (Operation(operation), function): count
        for function, operations in document["by_caller"].items()
        for operation, count in operations.items()
    }
    lines = bill(counts, times=project_monthly or 1, free_tier=project_monthly is not None)
    if as_json:
        cost = cost_document(lines, project_monthly)
        typer.echo(json.dumps({**document, "cost": cost}, indent=2))
    elif project_monthly is not None:
        Console().print(_bill_table(lines, f"A month with {project_monthly:,} times this"))
    elif by is By.OPERATION:
        Console().print(_bill_table(lines, "What was metered"))
    else:
        rows = document["requests"] if by is By.REQUEST else _by_function(document)
        Console().print(_rows_table(rows, by))


def cost_document(lines: Sequence[Line], project_monthly: int | None) -> dict[str, Any]:
    """Return the bill as JSON has it; ``times`` is null where nothing was projected."""
    return {
        "currency": "USD",
        "prices_as_of": AS_OF,
        "prices_checked_on": CHECKED_ON,
        "times": project_monthly,
        "free_tier_deducted": project_monthly is not None,
        "total": round(sum(line.dollars for line in lines), 9),
        "operations": {
            line.operation: {
                "units": line.units,
                "free_units": line.free_units,
                "dollars": round(line.dollars, 9),
            }
            for line in lines
        },
    }


def _by_function(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"function": function, "operations": operations}
        for function, operations in sorted(document["by_caller"].items())
    ]


def _rows_table(rows: Sequence[Mapping[str, Any]], by: By) -> Table:
    named = ["function", "request"] if by is By.REQUEST else ["function"]
    table = Table(*named, "operation")
    table.add_column("count", justify="right")
    table.add_column("USD", justify="right")
    for row in rows:
        counts = {(Operation(key), row["function"]): n for key, n in row["operations"].items()}
        for line in bill(counts):
            names = [row[name] or OUTSIDE for name in named]
            table.add_row(*names, line.operation, f"{line.units:,}", f"{line.dollars:.6f}")
    return table


def _bill_table(lines: Sequence[Line], title: str) -> Table:
    table = Table(
        "operation",
        title=f"{title}, list prices of {AS_OF}",
        title_justify="left",
        show_footer=True,
    )
    for name in ("count", "of it free"):
        table.add_column(name, justify="right")
    total = sum(line.dollars for line in lines)
    table.add_column("USD", f"{total:.6f}", justify="right")
    for line in lines:
        table.add_row(
            line.operation, f"{line.units:,}", f"{line.free_units:,}", f"{line.dollars:.6f}"
        )
    return table
