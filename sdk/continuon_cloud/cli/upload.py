"""`continuon episode upload`, and how the queue's items are shown."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)

from continuon_cloud.cli.exits import ExitCode, exit_code_of, exit_code_of_problem
from continuon_cloud.cli.hints import hint_for
from continuon_cloud.cli.render import columns, counts_text, size, state_text
from continuon_cloud.cli.state import JSON, CliState, print_error, state_of
from continuon_cloud.errors import ClientError
from continuon_cloud.queue import Packaging, QueueItem, RunOptions, State, UploadQueue
from continuon_cloud.queue.records import FileTask

__all__ = ["finish", "item_document", "options_of", "run_items", "upload"]

_RATE = re.compile(r"^([0-9]{1,12}(?:\.[0-9]{1,3})?)([kKmMgG]?)(?:i?[bB])?(?:/s)?$")
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_WORST_FIRST = (
    ExitCode.IDENTITY,
    ExitCode.LOCAL,
    ExitCode.NOT_FOUND,
    ExitCode.REFUSED,
    ExitCode.CONFLICT,
    ExitCode.UNAVAILABLE,
    ExitCode.INVALID_EPISODE,
)


class As(StrEnum):
    """How a folder travels."""

    ARCHIVE = "archive"
    FILES = "files"


RateOption = Annotated[
    str | None, typer.Option("--limit-rate", help="Bytes per second for all together: 500k, 2M.")
]
WaitOption = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Stay until the cloud has judged the episodes.")
]


def upload(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Folders, archives or documents.")],
    robot: Annotated[
        str | None,
        typer.Option("--robot", help="Robot id; else the one the episode names, or the only one."),
    ] = None,
    how: Annotated[
        As, typer.Option("--as", help="A folder as one archive, or its files one by one.")
    ] = As.ARCHIVE,
    limit_rate: RateOption = None,
    *,
    resumable: Annotated[
        bool, typer.Option("--resumable", help="Resumable sessions whatever the size.")
    ] = False,
    wait: WaitOption = True,
    _json: Annotated[bool, JSON] = False,
) -> None:
    """Upload episodes through a queue that survives power loss.

    A break costs at most one chunk: run the same command again, or `continuon queue run`, and it
    goes on where it stopped. The same content is uploaded once, however often it is named.

    For example:

      continuon episode upload recordings/ep_1704384000000
      continuon episode upload recordings/* --robot 14d4b680 --limit-rate 2M
      continuon episode upload big.tar.gz --resumable --no-wait
    """
    state = state_of(context)
    options = options_of(limit_rate, wait=wait)
    packaging = Packaging.FILES if how is As.FILES else Packaging.OBJECT
    with UploadQueue(state.settings()) as queue:
        added, failed = _add_all(state, queue, paths, robot, packaging, resumable=resumable)
        items = run_items(state, queue, list(added), options)
        finish(state, queue, items, options, duplicates=_duplicates(added), failed=failed)


def _add_all(
    state: CliState,
    queue: UploadQueue,
    paths: list[Path],
    robot_id: str | None,
    packaging: Packaging,
    *,
    resumable: bool,
) -> tuple[dict[str, bool], list[tuple[Path, ClientError]]]:
    """Queue what can be queued; one bad path does not hold up the others."""
    added: dict[str, bool] = {}
    failed: list[tuple[Path, ClientError]] = []
    with state.err.status("Reading and packing ..."):
        for path in paths:
            try:
                one = queue.add(path, robot_id=robot_id, packaging=packaging, resumable=resumable)
            except ClientError as error:
                failed.append((path, error))
            else:
                added.setdefault(one.item.item_id, one.duplicate)
    return added, failed


def _duplicates(added: dict[str, bool]) -> set[str]:
    return {item_id for item_id, duplicate in added.items() if duplicate}


def options_of(limit_rate: str | None, *, wait: bool) -> RunOptions:
    """Read the options that `episode upload` and `queue run` share.

    Raises:
        typer.BadParameter: The rate is no rate.
    """
    rate: float | None = None
    if limit_rate is not None:
        found = _RATE.match(limit_rate)
        rate = float(found[1]) * _UNITS[found[2].lower()] if found else 0.0
        if rate < 1:
            raise typer.BadParameter("a rate looks like 500k or 2M", param_hint="--limit-rate")
    return RunOptions(rate_bytes_per_s=rate, wait_for_verdict=wait)


def run_items(
    state: CliState, queue: UploadQueue, item_ids: list[str], options: RunOptions
) -> list[QueueItem]:
    """Run items under progress bars, which go to standard error."""
    parts = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*parts, console=state.err, disable=state.as_json) as progress:
        return state.run(queue.run(item_ids, options=options, observer=_Bars(progress, queue)))


class _Bars:
    """One bar for each episode."""

    def __init__(self, progress: Progress, queue: UploadQueue) -> None:
        self._progress = progress
        self._queue = queue
        self._tasks: dict[str, TaskID] = {}
        self._sent: dict[str, dict[int, int]] = {}

    def progressed(self, item: QueueItem, file: FileTask, sent_bytes: int) -> None:
        """Move the bar."""
        if item.item_id not in self._sent:
            files = self._queue.files(item.item_id)
            self._sent[item.item_id] = {one.position: one.sent_bytes for one in files}
        self._sent[item.item_id][file.position] = sent_bytes
        completed = sum(self._sent[item.item_id].values())
        self._progress.update(self._task(item), completed=completed)

    def changed(self, item: QueueItem) -> None:
        """Write the state beside the bar."""
        text = state_text(item.state.value)
        if item.problem and not item.state.is_final:
            text = f"[yellow]{escape(str(item.problem['code']))}, attempt {item.attempts}[/]"
        self._progress.update(self._task(item), state=text)
        if item.state in {State.UPLOADED, State.VALIDATED, State.REJECTED}:
            self._progress.update(self._task(item), completed=item.size_bytes)

    def _task(self, item: QueueItem) -> TaskID:
        if item.item_id not in self._tasks:
            self._tasks[item.item_id] = self._progress.add_task(
                escape(item.source.name), total=item.size_bytes, state=""
            )
        return self._tasks[item.item_id]


def finish(
    state: CliState,
    queue: UploadQueue,
    items: list[QueueItem],
    options: RunOptions,
    *,
    duplicates: set[str],
    failed: list[tuple[Path, ClientError]],
) -> None:
    """Print how the items stand and leave with the exit code of the worst.

    Raises:
        typer.Exit: Always, when that code is not 0.
    """
    document = {
        "items": [
            {**item_document(queue, item), "duplicate": item.item_id in duplicates}
            for item in items
        ],
        "failed": [
            {
                "path": str(path),
                "code": error.code,
                "message": str(error),
                "hint": error.hint or None,
            }
            for path, error in failed
        ],
    }
    state.show(document, lambda out: print_items(out, items, duplicates))
    for path, error in failed:
        if not state.as_json:
            state.err.print(f"[bold]{escape(str(path))}[/]")
            print_error(state.err, error)
    codes = {_exit_code(item, options) for item in items} | {exit_code_of(e) for _, e in failed}
    for code in _WORST_FIRST:
        if code in codes:
            raise typer.Exit(code)


def item_document(queue: UploadQueue, item: QueueItem) -> dict[str, Any]:
    """Return the JSON form of an item; stable."""
    return {
        "item_id": item.item_id,
        "path": str(item.source),
        "robot_id": item.robot_id,
        "episode_id": item.episode_id,
        "episode_ref": item.episode_ref,
        "state": item.state.value,
        "size_bytes": item.size_bytes,
        "sent_bytes": sum(file.sent_bytes for file in queue.files(item.item_id)),
        "attempts": item.attempts,
        "next_attempt_at": item.next_attempt_at or None,
        "training_eligible": item.training_eligible,
        "quality": item.quality,
        "findings": item.findings,
        "problem": item.problem,
    }


def print_items(out: Console, items: list[QueueItem], duplicates: set[str]) -> None:
    """Print items as a table of verdicts."""
    if not items:
        return
    table = columns("item", "episode", "state", "size", "quality", "training", "why")
    for item in items:
        table.add_row(
            item.item_id,
            item.episode_id,
            state_text(item.state.value),
            size(item.size_bytes),
            "" if item.quality is None else f"{item.quality:.2f}",
            {True: "eligible", False: "no", None: ""}[item.training_eligible],
            escape(_why(item, item.item_id in duplicates)),
        )
    out.print(table)


def _why(item: QueueItem, duplicate: bool) -> str:  # noqa: FBT001 - one caller, named there
    parts = []
    if item.findings:
        parts.append(counts_text(item.findings))
    if item.problem:
        parts.append(f"{item.problem['code']}: {item.problem['detail']}")
        parts.append(hint_for(str(item.problem["code"])))
    if item.state is State.SET_ASIDE:
        parts.append(f"try again with: continuon queue retry {item.item_id}")
    if duplicate:
        parts.append("same content as queued before")
    return "; ".join(part.rstrip(".") for part in parts if part)


def _exit_code(item: QueueItem, options: RunOptions) -> ExitCode:
    if item.state is State.VALIDATED:
        return ExitCode.OK
    if item.state is State.REJECTED:
        return ExitCode.INVALID_EPISODE
    if item.state is State.SET_ASIDE:
        return exit_code_of_problem(item.problem or {})
    if item.state is State.UPLOADED and not options.wait_for_verdict:
        return ExitCode.OK
    status = (item.problem or {}).get("status")
    code = (item.problem or {}).get("code", "")
    if status in {401, 403} or str(code).startswith(("auth.", "identity.")):
        return ExitCode.IDENTITY
    return ExitCode.UNAVAILABLE
