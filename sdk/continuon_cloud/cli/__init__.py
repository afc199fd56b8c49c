"""The `continuon` command."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import typer.main

from continuon_cloud.cli.app import app
from continuon_cloud.cli.exits import exit_code_of
from continuon_cloud.cli.state import CliState, error_document, print_error
from continuon_cloud.errors import ClientError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "run"]


def main() -> None:
    """Run `continuon` and leave with its exit code."""
    sys.exit(run())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run `continuon` with ``arguments`` (default: of this process) and return the exit code."""
    state = CliState()
    try:
        typer.main.get_command(app).main(arguments, prog_name="continuon", obj=state)
    except ClientError as error:
        return _report(state, error)
    except SystemExit as leaving:
        return int(leaving.code or 0)
    raise AssertionError("a command that returns has left with an exit code")


def _report(state: CliState, error: ClientError) -> int:
    code = exit_code_of(error)
    if state.as_json:
        sys.stdout.write(json.dumps(error_document(error, code), indent=2) + "\n")
    else:
        print_error(state.err, error)
    return code
