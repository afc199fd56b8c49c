"""What every command shares: settings, where output goes, how errors are shown."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from continuon_cloud.cli.exits import ExitCode
from continuon_cloud.cli.hints import hint_for
from continuon_cloud.errors import ApiProblem
from continuon_cloud.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from continuon_cloud.errors import ClientError

__all__ = [
    "JSON",
    "CliState",
    "confirm",
    "enable_json",
    "error_document",
    "print_error",
    "state_of",
]


_Result = TypeVar("_Result")
_PIPE_COLUMNS = 160


@dataclass
class CliState:
    """The global options and the two consoles.

    Attributes:
        as_json: One JSON document on standard output, nothing else there.
        out: For results.
        err: For progress and errors, so that output can be piped.
    """

    url: str | None = None
    home: Path | None = None
    as_json: bool = False
    out: Console = field(default_factory=lambda: _console(stderr=False))
    err: Console = field(default_factory=lambda: _console(stderr=True))

    def settings(self) -> Settings:
        """Return the settings of this invocation.

        Raises:
            SettingsError: The URL is no address.
        """
        return Settings.load(url=self.url, home=self.home)

    def show(self, document: Any, human: Callable[[Console], None]) -> None:
        """Print a result: as one JSON document, or for a person."""
        if self.as_json:
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
        else:
            human(self.out)

    @staticmethod
    def run(work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run a command's asynchronous part."""
        return asyncio.run(work)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        # Nobody's window: a pipe gets whole lines.
        console.width = _PIPE_COLUMNS
    return console


def state_of(context: typer.Context) -> CliState:
    """Return the state of this invocation."""
    found = context.find_object(CliState)
    if found is None:
        raise AssertionError("main() puts the state into the root context")
    return found


def confirm(question: str) -> None:
    """Ask before something that cannot be taken back.

    Raises:
        typer.Exit: The answer is no, or nobody is there to give one.
    """
    try:
        if typer.confirm(question, err=True):
            return
    except typer.Abort:
        pass
    raise typer.Exit(ExitCode.INTERRUPTED)


def enable_json(context: typer.Context, value: bool) -> bool:  # noqa: FBT001 - Typer's callback
    """Turn JSON on when the option is given to a command instead of before it."""
    if value:
        state_of(context).as_json = True
    return value


JSON = typer.Option(
    "--json", callback=enable_json, help="Print one JSON document; for scripts.", show_default=False
)


def error_document(error: ClientError, code: ExitCode) -> dict[str, Any]:
    """Return the JSON form of an error; stable."""
    fields = error.errors if isinstance(error, ApiProblem) else ()
    return {
        "error": {
            "code": error.code,
            "title": error.title if isinstance(error, ApiProblem) else str(error),
            "detail": str(error),
            "status": error.status if isinstance(error, ApiProblem) else None,
            "errors": [one.model_dump() for one in fields],
            "hint": error.hint or hint_for(error.code) or None,
            "trace_id": error.trace_id if isinstance(error, ApiProblem) else None,
            "exit_code": int(code),
        }
    }


def print_error(console: Console, error: ClientError) -> None:
    """Print title, code, fields and remedy for a person."""
    title = error.title if isinstance(error, ApiProblem) else str(error)
    console.print(f"[bold red]error[/] [bold]{escape(title)}[/] [dim]({escape(error.code)})[/]")
    if isinstance(error, ApiProblem):
        if error.detail != error.title:
            console.print(f"  {escape(error.detail)}")
        for one in error.errors:
            console.print(f"  [cyan]{escape(one.path)}[/]: {escape(one.message)}")
        if error.retry_after_s is not None:
            console.print(f"  Try again in {error.retry_after_s:.0f} s.")
        if error.trace_id:
            console.print(f"  [dim]trace {escape(error.trace_id)}[/]")
    hint = error.hint or hint_for(error.code)
    if hint:
        console.print(f"  [green]what to do[/] {escape(hint)}")
