"""The root of the `continuon` command."""

import inspect
import sys
from pathlib import Path
from typing import Annotated

import typer

from continuon_cloud import __version__
from continuon_cloud.cli import (
    accounts,
    episodes,
    model_aliases,
    models,
    ota,
    ota_rollout,
    queues,
    robots,
    train,
    webhooks,
    worker,
)
from continuon_cloud.cli.exits import ExitCode
from continuon_cloud.cli.state import CliState, state_of
from continuon_cloud.settings import DEFAULT_URL

__all__ = ["app"]

_EXITS = "\n".join(f"  {code.value:>3}  {code.meaning}" for code in ExitCode)

_HELP = f"""Continuon Cloud: a robot's episodes, from recording to trained model.

A first robot:

  continuon login --email you@example.com --create
  continuon robot init --ruri rcan://continuon.cloud/acme/companion-v1/14d4b680
  continuon robot claim
  continuon episode validate recordings/ep_1704384000000
  continuon episode upload recordings/ep_1704384000000
  continuon episode list

Exit codes:

{_EXITS}

Environment: CONTINUON_URL, CONTINUON_HOME (keys, session, queue), CONTINUON_SPOOL_BYTES,
FIREBASE_AUTH_EMULATOR_HOST.
"""


def _preformatted(text: str) -> str:
    """Keep the lines of indented paragraphs: a command that was wrapped cannot be copied."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        f"\b\n{paragraph}" if paragraph.startswith("  ") else paragraph for paragraph in paragraphs
    )


app = typer.Typer(
    name="continuon",
    help=_preformatted(_HELP),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(robots.app, name="robot")
app.add_typer(episodes.app, name="episode")
app.add_typer(queues.app, name="queue")
app.add_typer(train.app, name="train")
app.add_typer(models.app, name="models")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(ota.app, name="ota")
accounts.register(app)
worker.register(app)
_GROUPS = (
    app,
    robots.app,
    episodes.app,
    queues.app,
    train.app,
    models.app,
    model_aliases.app,
    webhooks.app,
    ota.app,
    ota_rollout.app,
)
for _group in _GROUPS:
    for _command in _group.registered_commands:
        _command.help = _preformatted((_command.callback and _command.callback.__doc__) or "")


def _version(value: bool) -> None:  # noqa: FBT001 - Typer's callback
    if value:
        sys.stdout.write(f"continuon {__version__}\n")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(help=f"Address of the cloud, else CONTINUON_URL, else {DEFAULT_URL}."),
    ] = None,
    home: Annotated[
        Path | None, typer.Option(help="Folder of keys, session and queue, else CONTINUON_HOME.")
    ] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep the global options; the help text is the application's."""
    state: CliState = state_of(context)
    state.url, state.home, state.as_json = url, home, json
