"""Following a job until it ends: a live plot in a terminal, lines in a pipe."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from continuon.contracts.training import Backend, JobStatus
from continuon_cloud.cli.jobs_render import DEFAULT_METRIC, Rows, metrics_plot
from continuon_cloud.cli.render import state_text
from continuon_cloud.errors import ApiProblem, UnreachableError

if TYPE_CHECKING:
    from rich.console import Console

    from continuon.contracts.models import ModelVersion
    from continuon.contracts.training import Job
    from continuon_cloud.client import ContinuonClient

__all__ = ["Followed", "follow", "waits_for"]

_TICK_S: Final = 1.0
_JOB_EVERY_S: Final = 5.0
"""The job itself lists its episodes; its rows and lines say its status as well and are cheaper."""

_REGISTRATION_S: Final = 60.0
"""How long to wait for the registration after the end: an event or two."""

_PATIENCE_S: Final = 900.0
"""How long a cloud out of reach is asked again; the job goes on meanwhile."""

_LOG_LINES: Final = 6
_HEIGHT: Final = 12


class Followed:
    """What is known of a job so far.

    Attributes:
        job: As it was last seen.
        version: The registered result, once there is one.
        rows: Its metrics.
        lines: The end of its log.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.version: ModelVersion | None = None
        self.rows = Rows()
        self.lines: deque[str] = deque(maxlen=_LOG_LINES)
        self.trouble = ""
        self._after: dict[str, str | None] = {"metrics": None, "logs": None}
        self._job_at = time.monotonic()

    async def refresh(self, client: ContinuonClient) -> list[dict[str, Any]]:
        """Ask for what is new; return the rows of metrics among it."""
        training, job_id = client.training, self.job.job_id
        fresh: list[dict[str, Any]] = []
        status = self.job.status
        while True:
            page = await training.metrics(job_id, after=self._after["metrics"])
            self.rows.add(page.rows)
            fresh += Rows(page.rows).documents()
            status = page.status
            if not page.rows or page.next_page_token is None:
                break
            self._after["metrics"] = page.next_page_token
        await self._read_log(client)
        due = time.monotonic() - self._job_at >= _JOB_EVERY_S
        if due or status is not self.job.status:
            self.job = await training.job(job_id)
            self._job_at = time.monotonic()
        return fresh

    async def _read_log(self, client: ContinuonClient) -> None:
        while True:
            page = await client.training.logs(self.job.job_id, after=self._after["logs"])
            for chunk in page.chunks:
                self.lines.extend(chunk.text.splitlines())
            if not page.chunks or page.next_page_token is None:
                return
            self._after["logs"] = page.next_page_token

    def view(self, width: int, metric: str) -> Group:
        """Return the picture of this moment."""
        job = self.job
        step = "" if job.step is None else f"  step {job.step}"
        head = Text.from_markup(
            f"[bold]{job.job_id}[/] {state_text(job.status.value)}  attempt {job.attempt}{step}"
            f"  ${job.cost_usd:.4f}  {escape(self.trouble)}"
        )
        if waits_for(job):
            head.append(f"\n{waits_for(job)}", style="yellow")
        picture = metrics_plot(self.rows, metric, width=min(width, 100), height=_HEIGHT)
        log = Text("\n".join(self.lines), style="dim", no_wrap=True, overflow="ellipsis")
        return Group(head, picture, log)


async def follow(
    client: ContinuonClient, job: Job, err: Console, *, metric: str = DEFAULT_METRIC, quiet: bool
) -> Followed:
    """Follow a job until it has ended and its result is registered.

    Args:
        client: Of the job's owner.
        job: As it was last seen.
        err: Where the picture goes, or lines where there is no terminal.
        metric: Which one to draw.
        quiet: Draw and print nothing.

    Raises:
        UnreachableError: No answer for a quarter of an hour.
        ApiProblem: The job cannot be seen any more.
    """
    followed = Followed(job)
    if quiet:
        await _until_ended(client, followed, lambda _fresh: None)
    elif not err.is_terminal:
        printer = _Printer(err, metric)
        printer.show(followed, [])
        await _until_ended(client, followed, lambda fresh: printer.show(followed, fresh))
    else:
        with Live(console=err, refresh_per_second=4, transient=False) as live:

            def draw(_fresh: list[dict[str, Any]]) -> None:
                live.update(followed.view(err.width, metric))

            draw([])
            await _until_ended(client, followed, draw)
    return followed


def waits_for(job: Job) -> str:
    """Say which worker a queued job waits for; nothing when it waits for none."""
    if job.status is not JobStatus.QUEUED or job.config.backend is not Backend.PULL:
        return ""
    return f"waits for a worker: continuon worker --backend-label {job.config.backend_label}"


class _Printer:
    """Prints what changed, a line each."""

    def __init__(self, err: Console, metric: str) -> None:
        self._err = err
        self._metric = metric
        self._shown: tuple[str, int] | None = None

    def show(self, followed: Followed, fresh: list[dict[str, Any]]) -> None:
        job = followed.job
        for row in fresh:
            if self._metric in row:
                split = row["split"] or ""
                self._err.print(
                    f"step {row['step']} {split} {self._metric} {row[self._metric]:.4g}"
                )
        if self._shown != (job.status.value, job.attempt):
            self._shown = (job.status.value, job.attempt)
            self._err.print(f"{job.job_id} {job.status.value}, attempt {job.attempt}")
            if waits_for(job):
                self._err.print(waits_for(job))


async def _until_ended(client: ContinuonClient, followed: Followed, show: Any) -> None:
    heard_at = time.monotonic()
    while not followed.job.status.is_final:
        await asyncio.sleep(_TICK_S)
        try:
            fresh = await followed.refresh(client)
        except (UnreachableError, ApiProblem) as error:
            if not _passes(error) or time.monotonic() - heard_at > _PATIENCE_S:
                raise
            followed.trouble = f"{error}; asking again"
            fresh = []
        else:
            followed.trouble, heard_at = "", time.monotonic()
        show(fresh)
    await followed.refresh(client)
    if followed.job.status is JobStatus.COMPLETED:
        await _registered(client, followed)
    show([])


def _passes(error: UnreachableError | ApiProblem) -> bool:
    return isinstance(error, UnreachableError) or error.status in {408, 429, 500, 502, 503, 504}


async def _registered(client: ContinuonClient, followed: Followed) -> None:
    deadline = time.monotonic() + _REGISTRATION_S
    while time.monotonic() < deadline:
        output = followed.job.output
        if output is not None and output.model_ref:
            followed.version = await client.training.registered(output.model_ref)
            return
        if output is not None and output.registration:
            return
        await asyncio.sleep(_TICK_S)
        followed.job = await client.training.job(followed.job.job_id)
