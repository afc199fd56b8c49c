"""`continuon worker`."""

import asyncio
import os
import re
import shlex
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import platformdirs
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from continuon.contracts.training import LeaseRequest, LeaseResponse
from continuon_cloud.cli.exits import ExitCode
from continuon_cloud.cli.job_options import wrong_usage
from continuon_cloud.cli.state import JSON, CliState, state_of
from continuon_cloud.client import ContinuonClient
from continuon_cloud.errors import SettingsError
from continuon_cloud.queue.lock import Lock, QueueBusyError
from continuon_cloud.training.process import DEFAULT_COMMAND
from continuon_cloud.training.worker import JobEnd, Worker, WorkerOptions

__all__ = ["register"]

_MAX_WORKERS = 64
"""On one folder: more than a machine has accelerators."""

_STYLES = {"completed": "green", "failed": "red", "stopped": "yellow", "released": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command()(worker)


def worker(
    context: typer.Context,
    backend_label: Annotated[
        str, typer.Option(help="Take the jobs that were started with this label.")
    ],
    *,
    once: Annotated[bool, typer.Option("--once", help="End after one job.")] = False,
    max_idle: Annotated[
        float | None, typer.Option(min=0, help="End after so many seconds without a job.")
    ] = None,
    command: Annotated[
        str | None, typer.Option(help="The trainer; else the reference trainer of this Python.")
    ] = None,
    worker_id: Annotated[str | None, typer.Option(help="Shown with the job.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Scratch space and cached episodes.")] = None,
    pass_env: Annotated[
        list[str] | None,
        typer.Option("--pass-env", help="Give the trainer this variable too; may be given again."),
    ] = None,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Work on training jobs on this machine: a laptop, a notebook, a lab GPU.

    It asks the cloud for jobs over HTTPS; nothing has to reach this machine. The trainer gets a
    token for its one job and never your session. Stop it at any time: the job goes on elsewhere
    from its last checkpoint. With --once the exit code says how the job ended (10: it failed).

    For example:

      continuon worker --backend-label lab
      continuon worker --backend-label colab --once --max-idle 600
      continuon worker --backend-label lab --command "python my_trainer.py" --pass-env HF_HOME
    """
    state = state_of(context)
    worker_id = worker_id or _default_id()
    try:
        LeaseRequest(worker_id=worker_id, backend_label=backend_label)
    except ValidationError as error:
        raise wrong_usage(error) from error
    base = folder or platformdirs.user_cache_path("continuon") / "worker"
    with _own_folder(base.absolute()) as own:
        options = WorkerOptions(
            worker_id=worker_id,
            backend_label=backend_label,
            folder=own,
            command=_command(command),
            passed=tuple(pass_env or ()),
            max_jobs=1 if once else None,
            max_idle_s=max_idle,
        )
        ends = state.run(_work(state, options))
    document = {"worker_id": options.worker_id, "jobs": [asdict(end) for end in ends]}
    state.show(document, lambda out: out.print(f"{len(ends)} jobs."))
    if once and any(end.outcome in {"failed", "stopped"} for end in ends):
        raise typer.Exit(ExitCode.JOB_FAILED)


@contextmanager
def _own_folder(base: Path) -> Iterator[Path]:
    """Take the first folder below ``base`` that no other worker of this machine uses.

    Raises:
        SettingsError: All are in use.
    """
    with ExitStack() as stack:
        for number in range(_MAX_WORKERS):
            own = base / f"worker-{number}"
            own.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(Lock(own / "lock.sqlite"))
            except QueueBusyError:
                continue
            yield own
            return
    raise SettingsError(
        f"{_MAX_WORKERS} workers use {base}", code="worker.busy", hint="Name another --folder."
    )


async def _work(state: CliState, options: WorkerOptions) -> list[JobEnd]:
    async with ContinuonClient(state.settings()) as client:
        watcher = _Display(state.err, quiet=state.as_json)
        worker = Worker(client, options, watcher)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        with watcher:
            return await worker.run()


def _command(text: str | None) -> tuple[str, ...]:
    if text is None:
        return DEFAULT_COMMAND
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--command") from error
    if not words:
        raise typer.BadParameter("the command is empty", param_hint="--command")
    return words


def _default_id() -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).strip("-._")[:80]
    return f"{host or 'worker'}-{os.getpid()}"


class _Display:
    """A moving line of what goes on, and a line for each thing that happened."""

    def __init__(self, err: Console, *, quiet: bool) -> None:
        self._err = err
        self._quiet = quiet
        self._status = err.status("asking for a job ...")
        self._last_reason = ""

    def __enter__(self) -> None:
        if not self._quiet and self._err.is_terminal:
            self._status.start()

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def idle(self, next_question_s: float, reason: str) -> None:
        """Say it once in a pipe, and keep it up to date in a terminal."""
        text = f"{escape(reason)}; asking again in {next_question_s:.0f} s"
        self._status.update(text)
        if not self._err.is_terminal and reason != self._last_reason:
            self._print(text)
        self._last_reason = reason

    def started(self, lease: LeaseResponse) -> None:
        """Name the job."""
        self._last_reason = ""
        self._print(f"[bold]{lease.job_id}[/] attempt {lease.attempt} leased")
        self._status.update(f"{lease.job_id} is running")

    def said(self, line: str) -> None:
        """Show what the trainer says."""
        self._print(f"[dim]{escape(line)}[/]")

    def ended(self, end: JobEnd) -> None:
        """Say how it left."""
        style = _STYLES[end.outcome]
        self._print(
            f"[bold]{end.job_id}[/] attempt {end.attempt} [{style}]{end.outcome}[/] after "
            f"{end.seconds:.0f} s, exit status {end.exit_status}"
        )
        self._status.update("asking for a job ...")

    def _print(self, text: str) -> None:
        if not self._quiet:
            self._err.print(text, soft_wrap=True)
