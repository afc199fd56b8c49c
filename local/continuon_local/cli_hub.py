"""The subcommands that speak to a running local cloud."""

from __future__ import annotations

import json
import shlex
from datetime import timedelta
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from continuon_local.cli_meter import meter
from continuon_local.cli_options import DataDir, Json, Root, running_cloud, running_hub
from continuon_local.errors import ConfigurationError

__all__ = ["register"]

_clock = typer.Typer(help="Show or move the running cloud's clock.", no_args_is_help=True)
_faults = typer.Typer(help="Show or set the running cloud's faults.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the subcommands to ``app``."""
    app.command(name="env")(_env)
    app.command(name="meter")(meter)
    app.command(name="deliveries")(_deliveries)
    app.add_typer(_clock, name="clock")
    app.add_typer(_faults, name="faults")


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2))


def _env(*, root: Root = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Print what points a shell at the running cloud: eval "$(continuon-local env)"."""
    variables = running_cloud(root, data_dir)["env"]
    if as_json:
        _print_json(variables)
        return
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _deliveries(
    *,
    root: Root = None,
    data_dir: DataDir = None,
    as_json: Json = False,
    state: Annotated[
        str | None, typer.Option(help="pending, delivering, acknowledged or failed.")
    ] = None,
) -> None:
    """Print the event deliveries, the newest first."""
    query = {} if state is None else {"state": state}
    document = running_hub(root, data_dir).get("/deliveries", **query)
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
def _show_clock(*, root: Root = None, data_dir: DataDir = None) -> None:
    """Print the time as the running cloud sees it."""
    typer.echo(running_hub(root, data_dir).get("/clock")["now"])


@_clock.command(name="advance")
def _advance(
    seconds: Annotated[float, typer.Argument(min=0, help="How far, in seconds.")],
    *,
    root: Root = None,
    data_dir: DataDir = None,
) -> None:
    """Move the clock forward; what becomes due happens at once."""
    now = running_hub(root, data_dir).post("/clock/advance", {"seconds": seconds})["now"]
    typer.echo(f"{now} (moved by {timedelta(seconds=seconds)})")


@_faults.command(name="show")
def _show_faults(*, root: Root = None, data_dir: DataDir = None) -> None:
    """Print the fault plan."""
    _print_json(running_hub(root, data_dir).get("/faults"))


@_faults.command(name="set")
def _set_faults(
    plan: Annotated[Path, typer.Argument(help="A fault plan, JSON.")],
    *,
    root: Root = None,
    data_dir: DataDir = None,
) -> None:
    """Follow another fault plan from now on."""
    try:
        document = json.loads(plan.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{plan}: {error}") from error
    _print_json(running_hub(root, data_dir).post("/faults", document))


@_faults.command(name="clear")
def _clear_faults(*, root: Root = None, data_dir: DataDir = None) -> None:
    """Inject no faults any more."""
    _print_json(running_hub(root, data_dir).post("/faults", {}))
