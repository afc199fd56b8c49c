"""The `continuon` command."""

from __future__ import annotations

import json
import sqlite3
import sys
from typing import TYPE_CHECKING

import typer.main

from continuon_cloud.cli.app import app
from continuon_cloud.cli.exits import ExitCode, exit_code_of
from continuon_cloud.cli.state import CliState, error_document, print_error
from continuon_cloud.errors import ClientError, SettingsError

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
    except (OSError, sqlite3.Error) as error:
        # A full disk, a folder without permission: the machine's fault, and the person's to mend.
        return _report(state, SettingsError(_words(error), code="local.io"))
    except SystemExit as leaving:
        code = int(leaving.code or 0)
        if code == ExitCode.INTERRUPTED:
            state.err.print(f"Stopped: {ExitCode.INTERRUPTED.meaning}.")
        return code
    raise AssertionError("a command that returns has left with an exit code")


def _words(error: OSError | sqlite3.Error) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _report(state: CliState, error: ClientError) -> int:
    code = exit_code_of(error)
    if state.as_json:
        sys.stdout.write(json.dumps(error_document(error, code), indent=2) + "\n")
    else:
        print_error(state.err, error)
    return code
