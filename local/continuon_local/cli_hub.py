"""The subcommands that speak to a running local cloud."""

from __future__ import annotations

import json
import shlex
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from continuon_local.cli_options import project_root
from continuon_local.errors import ConfigurationError
from continuon_local.hub.client import HubClient
from continuon_local.running import read_running

__all__ = ["register"]

_Root = Annotated[
    Path | None, typer.Option(help="The folder with firebase.json (default: nearest above).")
]
_DataDir = Annotated[
    Path | None, typer.Option(help="The running cloud's data folder (default: ROOT/.continuon).")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_clock = typer.Typer(help="Show or move the running cloud's clock.", no_args_is_help=True)
_faults = typer.Typer(help="Show or set the running cloud's faults.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the subcommands to ``app``."""
    app.command(name="env")(_env)
    app.command(name="meter")(_meter)
    app.command(name="deliveries")(_deliveries)
    app.add_typer(_clock, name="clock")
    app.add_typer(_faults, name="faults")


def _running(root: Path | None, data_dir: Path | None) -> dict[str, Any]:
    return read_running((data_dir or project_root(root) / ".continuon").resolve())


def _hub(root: Path | None, data_dir: Path | None) -> HubClient:
    return HubClient(_running(root, data_dir)["urls"]["hub"])


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2))


def _env(*, root: _Root = None, data_dir: _DataDir = None, as_json: _Json = False) -> None:
    """Print what points a shell at the running cloud: eval "$(continuon-local env)"."""
    variables = _running(root, data_dir)["env"]
    if as_json:
        _print_json(variables)
        return
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _meter(
    *,
    root: _Root = None,
    data_dir: _DataDir = None,
    as_json: _Json = False,
    reset: Annotated[bool, typer.Option("--reset", help="Count from zero afterwards.")] = False,
) -> None:
    """Print the billable operations, in all and by who caused them."""
    hub = _hub(root, data_dir)
    document = hub.get("/meter")
    if reset:
        hub.post("/meter/reset", {})
    if as_json:
        _print_json(document)
        return
    table = Table("operation", "caller", "count")
    for caller, counts in document["by_caller"].items():
        for operation, count in counts.items():
            table.add_row(operation, caller or "-", f"{count:,}")
    Console().print(table)


def _deliveries(
    *,
    root: _Root = None,
    data_dir: _DataDir = None,
    as_json: _Json = False,
    state: Annotated[
        str | None, typer.Option(help="pending, delivering, acknowledged or failed.")
    ] = None,
) -> None:
    """Print the event deliveries, the newest first."""
    query = {} if state is None else {"state": state}
    document = _hub(root, data_dir).get("/deliveries", **query)
    if as_json:
        _print_json(document)
        return
    table = Table("id", "function", "event", "state", "attempts", "last answer", "error")
    for row in document["deliveries"]:
        event = row["event"]
        table.add_row(
            str(row["id"]),
            row["function"],
            f"{event['type'].rpartition('.')[2]} {event['subject'] or event['id']}",
            row["state"],
            str(row["attempts"]),
            str(row["last_status"] or "-"),
            row["last_error"].partition("\n")[0],
        )
    Console().print(table)


@_clock.command(name="show")
def _show_clock(*, root: _Root = None, data_dir: _DataDir = None) -> None:
    """Print the time as the running cloud sees it."""
    typer.echo(_hub(root, data_dir).get("/clock")["now"])


@_clock.command(name="advance")
def _advance(
    seconds: Annotated[float, typer.Argument(min=0, help="How far, in seconds.")],
    *,
    root: _Root = None,
    data_dir: _DataDir = None,
) -> None:
    """Move the clock forward; what becomes due happens at once."""
    now = _hub(root, data_dir).post("/clock/advance", {"seconds": seconds})["now"]
    typer.echo(f"{now} (moved by {timedelta(seconds=seconds)})")


@_faults.command(name="show")
def _show_faults(*, root: _Root = None, data_dir: _DataDir = None) -> None:
    """Print the fault plan."""
    _print_json(_hub(root, data_dir).get("/faults"))


@_faults.command(name="set")
def _set_faults(
    plan: Annotated[Path, typer.Argument(help="A fault plan, JSON.")],
    *,
    root: _Root = None,
    data_dir: _DataDir = None,
) -> None:
    """Follow another fault plan from now on."""
    try:
        document = json.loads(plan.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{plan}: {error}") from error
    _print_json(_hub(root, data_dir).post("/faults", document))


@_faults.command(name="clear")
def _clear_faults(*, root: _Root = None, data_dir: _DataDir = None) -> None:
    """Inject no faults any more."""
    _print_json(_hub(root, data_dir).post("/faults", {}))
