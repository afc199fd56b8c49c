"""The ``continuon-local`` command."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from continuon_local.cli_hub import register
from continuon_local.cli_options import chosen_ports, project_root
from continuon_local.cloud import LocalCloud
from continuon_local.collector import settle_collector
from continuon_local.environment import FORK_SUPPORT
from continuon_local.errors import LocalCloudError
from continuon_local.faults import read_faults
from continuon_local.running import description, write_atomically
from continuon_local.settings import Settings

__all__ = ["app", "main"]

EXIT_FAILED = 1
"""Something the user can fix: a wrong file, a taken port, no running cloud."""

app = typer.Typer(
    help=(
        "The local cloud: Firestore, Storage, Pub/Sub, Auth, Functions and Hosting on loopback.\n\n"
        "Exit status: 0 done; 1 refused (wrong file, taken port, nothing running: it says what);"
        " 2 wrong usage. `exec` ends with the status of the command it ran, 128+N after signal N."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_out = Console()
_err = Console(stderr=True)

_Root = Annotated[
    Path | None, typer.Option(help="The folder with firebase.json (default: nearest above).")
]
_DataDir = Annotated[Path | None, typer.Option(help="Where data is kept [ROOT/.continuon].")]
_Ports = Annotated[
    str, typer.Option(help="'default' (as the Firebase emulators) or 'auto' (free).")
]
_PortBase = Annotated[int | None, typer.Option(help="Use the seven ports from here on.")]
_ProjectId = Annotated[str, typer.Option("--project", help="The project id.")]
_RetryBase = Annotated[
    float, typer.Option(min=0.001, help="First delay before a failed event is repeated, s.")
]
_Faults = Annotated[
    Path | None, typer.Option(help="A fault plan, JSON; see docs/local-cloud/faults.md.")
]
_Verbose = Annotated[bool, typer.Option("--verbose", help="Show what the functions print.")]


def _settings(
    *,
    root: Path | None,
    data_dir: Path | None,
    ephemeral: bool,
    ports: str,
    port_base: int | None,
    project: str,
    faults: Path | None,
    retry_base: float,
    verbose: bool,
) -> Settings:
    folder = project_root(root)
    kept = None if ephemeral else (data_dir or folder / ".continuon").resolve()
    return Settings(
        root=folder,
        data_dir=kept,
        ports=chosen_ports(ports, port_base),
        project_id=project,
        faults=read_faults(faults),
        retry_base_s=retry_base,
        verbose=verbose,
    )


@app.command()
def up(
    *,
    root: _Root = None,
    data_dir: _DataDir = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Keep nothing.")] = False,
    ports: _Ports = "default",
    port_base: _PortBase = None,
    project: _ProjectId = "demo-continuon",
    ready_file: Annotated[
        Path | None, typer.Option(help="Write URLs and environment here, as JSON, when ready.")
    ] = None,
    faults: _Faults = None,
    retry_base: _RetryBase = 1.0,
    verbose: _Verbose = False,
) -> None:
    """Run the local cloud until it is interrupted."""
    if ephemeral and data_dir is not None:
        raise typer.BadParameter("keeps data, --ephemeral does not", param_hint="--data-dir")
    settings = _settings(
        root=root,
        data_dir=data_dir,
        ephemeral=ephemeral,
        ports=ports,
        port_base=port_base,
        project=project,
        faults=faults,
        retry_base=retry_base,
        verbose=verbose,
    )
    asyncio.run(_up(settings, ready_file))


async def _up(settings: Settings, ready_file: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    cloud = LocalCloud(settings, echo=_echo)
    await cloud.start()
    settle_collector()
    running = None if settings.data_dir is None else settings.data_dir / "running.json"
    try:
        document = description(cloud.endpoints, cloud.environment)
        for path in (running, ready_file):
            if path is not None:
                write_atomically(path, document)
        _banner(document, settings)
        await stop.wait()
    finally:
        if running is not None:
            running.unlink(missing_ok=True)
        await cloud.stop()


@app.command(name="exec")
def execute(
    *,
    command: Annotated[list[str], typer.Argument(metavar="-- CMD ...", help="What to run.")],
    root: _Root = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep data here (default: keep nothing).")
    ] = None,
    ports: _Ports = "auto",
    port_base: _PortBase = None,
    project: _ProjectId = "demo-continuon",
    faults: _Faults = None,
    retry_base: _RetryBase = 1.0,
    verbose: _Verbose = False,
) -> None:
    """Run CMD beside a local cloud of its own and end with CMD's exit status."""
    settings = _settings(
        root=root,
        data_dir=data_dir,
        ephemeral=data_dir is None,
        ports=ports,
        port_base=port_base,
        project=project,
        faults=faults,
        retry_base=retry_base,
        verbose=verbose,
    )
    sys.exit(asyncio.run(_exec(settings, command)))


async def _exec(settings: Settings, command: list[str]) -> int:
    cloud = LocalCloud(settings, echo=_echo)
    await cloud.start()
    settle_collector()
    try:
        inherited = {name: value for name, value in os.environ.items() if name != FORK_SUPPORT}
        return await _run(command, {**inherited, **cloud.environment})
    finally:
        await cloud.stop()


async def _run(command: list[str], environment: dict[str, str]) -> int:
    loop = asyncio.get_running_loop()
    try:
        process = await asyncio.create_subprocess_exec(*command, env=environment)
    except OSError as error:
        raise LocalCloudError(f"{command[0]}: {error.strerror}") from error

    def pass_on(number: signal.Signals) -> None:
        if process.returncode is None:
            process.send_signal(number)

    # Ctrl-C reaches the command through the terminal; SIGTERM comes to this process alone.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, pass_on, signal.SIGTERM)
    status = await process.wait()
    return status if status >= 0 else 128 - status


def _echo(function: str, line: str) -> None:
    color = ("cyan", "green", "yellow", "magenta", "blue")[sum(function.encode()) % 5]
    _out.print(f"[{color}]{function:>18} |[/] ", end="")
    _out.print(line, markup=False, highlight=False, soft_wrap=True)


def _banner(document: dict[str, Any], settings: Settings) -> None:
    table = Table("service", "URL")
    for name, url in document["urls"].items():
        table.add_row(name, url)
    _out.print(table)
    kept = "nowhere (--ephemeral)" if settings.data_dir is None else str(settings.data_dir)
    _out.print(
        f"Project {document['project']}; data is kept in {kept}. Stop with Ctrl-C.",
        soft_wrap=True,
    )


register(app)


def main() -> None:
    """Run the command; refusals become one line and exit status 1."""
    os.environ[FORK_SUPPORT] = "0"
    try:
        app()
    except LocalCloudError as error:
        _err.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        sys.stdout.flush()


if __name__ == "__main__":
    main()
