"""Jobs, metrics and lineage for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.markup import escape
from rich.table import Table

from continuon_cloud.cli.plot import Curve, plot
from continuon_cloud.cli.render import columns, size, state_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console
    from rich.text import Text

    from continuon.contracts.models import ModelVersion
    from continuon.contracts.training import Budget, Job, MetricRow, SlowLoop

__all__ = [
    "Rows",
    "metrics_plot",
    "print_budget",
    "print_job",
    "print_jobs",
    "print_lineage",
    "print_metrics",
    "print_slow_loop",
]

DEFAULT_METRIC: Final = "loss"
_STYLES: Final = {"train": "cyan", "held_out": "magenta", "baseline": "yellow"}
_OTHER_STYLE: Final = "green"
_BASELINE: Final = "baseline_loss"
_SHOWN_EPISODES: Final = 10


class Rows:
    """Metrics by split and step: what a resumed attempt reports again replaces what it did."""

    def __init__(self, rows: Iterable[MetricRow] = ()) -> None:
        self._rows: dict[tuple[str, int], dict[str, float]] = {}
        self.add(rows)

    def add(self, rows: Iterable[MetricRow]) -> None:
        """Take further rows."""
        for row in rows:
            values = {name: float(value) for name, value in (row.model_extra or {}).items()}
            self._rows.setdefault((row.split or "", row.step), {}).update(values)

    def documents(self) -> list[dict[str, Any]]:
        """Return one object for each step and split, in order."""
        ordered = sorted(self._rows.items(), key=lambda item: (item[0][1], item[0][0]))
        return [
            {"step": step, "split": split or None, **values} for (split, step), values in ordered
        ]

    def curve(self, split: str, name: str) -> list[tuple[float, float]]:
        """Return (step, value) of one number."""
        found = [
            (float(step), values[name])
            for (of, step), values in self._rows.items()
            if of == split and name in values
        ]
        return sorted(found)

    def splits(self) -> list[str]:
        """Return the splits that have rows."""
        return sorted({split for split, _ in self._rows}, key=lambda name: (name != "train", name))


def metrics_plot(rows: Rows, name: str, *, width: int, height: int) -> Text:
    """Draw a metric of every split, and the baseline that the held-out loss is to beat."""
    curves = [
        Curve(split or name, _STYLES.get(split, _OTHER_STYLE), rows.curve(split, name))
        for split in rows.splits()
    ]
    if name == DEFAULT_METRIC:
        baseline = rows.curve("held_out", _BASELINE)
        if baseline:
            curves.insert(0, Curve("mean action, held out", _STYLES["baseline"], baseline))
    return plot(curves, width=width, height=height, title=name)


def print_metrics(out: Console, rows: Rows, name: str) -> None:
    """Print a plot, and the last numbers of each split."""
    out.print(metrics_plot(rows, name, width=min(out.width, 100), height=14))
    last: dict[str, dict[str, Any]] = {}
    for row in rows.documents():
        last.setdefault(str(row["split"] or ""), {}).update(row)
    table = columns("split", "step", "last values")
    for split, row in last.items():
        numbers = {n: v for n, v in row.items() if n not in {"step", "split"}}
        table.add_row(split, str(row["step"]), _summary(numbers))
    if last:
        out.print(table)


def print_jobs(out: Console, jobs: Sequence[Job]) -> None:
    """Print jobs as a table."""
    if not jobs:
        out.print("No jobs. Start one: continuon train start --help")
        return
    table = columns(
        "job", "type", "robot model", "backend", "status", "episodes", "step", "cost", "result"
    )
    for job in jobs:
        table.add_row(
            job.job_id,
            job.type.value,
            escape(job.config.robot_model),
            _backend(job),
            state_text(job.status.value),
            str(job.config.episode_count),
            "" if job.step is None else str(job.step),
            f"${job.cost_usd:.2f}",
            escape(_result(job)),
        )
    out.print(table)


def print_job(out: Console, job: Job) -> None:
    """Print all that is known of one job."""
    out.print(f"[bold]{job.job_id}[/] {state_text(job.status.value)}")
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 2))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    for name, value in _facts(job):
        if value:
            facts.add_row(name, escape(value))
    out.print(facts)


def _facts(job: Job) -> list[tuple[str, str]]:
    config = job.config
    dropped = f", {config.dropped_episodes} dropped" if config.dropped_episodes else ""
    return [
        ("type", job.type.value),
        ("robot model", config.robot_model),
        ("backend", f"{_backend(job)}{f', worker {job.worker_id}' if job.worker_id else ''}"),
        ("episodes", f"{config.episode_count}{dropped}"),
        ("created", f"{job.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("started", f"{job.started_at:%Y-%m-%d %H:%M:%S} UTC" if job.started_at else ""),
        ("completed", f"{job.completed_at:%Y-%m-%d %H:%M:%S} UTC" if job.completed_at else ""),
        ("attempt", str(job.attempt)),
        ("step", "" if job.step is None else str(job.step)),
        ("checkpoint", _checkpoint(job)),
        ("metrics", _summary(job.output.metrics if job.output else job.metrics)),
        ("cost", f"${job.cost_usd:.4f}{_limit(job)}"),
        ("retry of", job.retry_of or ""),
        ("result", _result(job)),
    ]


def _backend(job: Job) -> str:
    label = job.config.backend_label
    return f"{job.config.backend.value}{f':{label}' if label else ''}"


def _limit(job: Job) -> str:
    return "" if job.config.max_cost_usd is None else f" of at most ${job.config.max_cost_usd:.2f}"


def _checkpoint(job: Job) -> str:
    if job.checkpoint is None:
        return ""
    return f"step {job.checkpoint.step}, {size(job.checkpoint.size_bytes)}"


def _result(job: Job) -> str:
    if job.error is not None:
        return f"{job.error.code}: {job.error.message}"
    if job.output is None:
        return ""
    if job.output.model_ref:
        return job.output.model_ref
    registration = job.output.registration
    return f"not registered: {registration.get('message')}" if registration else "being registered"


def _summary(values: Mapping[str, float]) -> str:
    """Return means with their intervals behind them, where both ends are among the numbers."""
    parts = []
    for name, value in sorted(values.items()):
        if name.endswith(("_low", "_high")) and name.rpartition("_")[0] in values:
            continue
        low, high = values.get(f"{name}_low"), values.get(f"{name}_high")
        interval = "" if low is None or high is None else f" ({low:.4g} to {high:.4g})"
        parts.append(f"{name} {value:.4g}{interval}")
    return ", ".join(parts)


def print_lineage(out: Console, version: ModelVersion) -> None:
    """Print a registered version and what made it."""
    out.print(
        f"[bold green]{escape(version.model_ref)}[/] {version.format}, {size(version.size_bytes)}, "
        f"{version.checksum}"
    )
    episodes = version.lineage.episode_ids
    out.print(f"  made by {version.training_job_id} from {len(episodes)} episodes:")
    for episode_id in episodes[:_SHOWN_EPISODES]:
        out.print(f"    {episode_id}")
    if len(episodes) > _SHOWN_EPISODES:
        out.print(f"    and {len(episodes) - _SHOWN_EPISODES} more; --json shows all")


def print_budget(out: Console, budget: Budget) -> None:
    """Print what may be spent and what was."""
    out.print(
        f"{budget.month}: ${budget.used_usd:.2f} of ${budget.monthly_limit_usd:.2f} used "
        f"(prices of {escape(budget.prices_from)})"
    )


def print_slow_loop(out: Console, loop: SlowLoop) -> None:
    """Print when a robot model is trained again by itself."""
    state = "on" if loop.enabled else "off"
    label = f":{loop.backend_label}" if loop.backend_label else ""
    out.print(
        f"[bold]{escape(loop.robot_model)}[/] slow loop {state}: a job on "
        f"{loop.backend.value}{label} for every {loop.threshold} new eligible episodes"
    )
    if loop.last_job_id and loop.last_started_at:
        out.print(
            f"  {loop.started} started, the last {loop.last_job_id} "
            f"on {loop.last_started_at:%Y-%m-%d %H:%M}"
        )
