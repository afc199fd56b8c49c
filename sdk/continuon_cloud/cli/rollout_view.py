"""A rollout for people: its stages, its counts, and what the gate says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.markup import escape
from rich.text import Text

from continuon.contracts.rollouts import CheckVerdict, GateVerdict, RolloutStatus
from continuon_cloud.cli.render import columns

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from continuon.contracts.ota import Bundle, RobotUpdates, RolloutReport
    from continuon.contracts.rollouts import StageCounts

__all__ = ["ended", "line", "print_bundles", "print_change", "print_robot", "view"]

_CELLS: Final = 30
_STYLES: Final = {
    RolloutStatus.STAGED: "dim",
    RolloutStatus.CANARY: "yellow",
    RolloutStatus.PRODUCTION: "green",
    RolloutStatus.PAUSED: "cyan",
    RolloutStatus.HALTED: "bold red",
    RolloutStatus.ROLLED_BACK: "red",
    RolloutStatus.SUPERSEDED: "dim",
}
_MARKS: Final = {
    CheckVerdict.OK: "[green]ok[/]  ",
    CheckVerdict.WAIT: "[yellow]wait[/]",
    CheckVerdict.BAD: "[red]bad[/] ",
}
_WORDS: Final = {
    GateVerdict.HALT: "[red]would halt[/]",
    GateVerdict.WAIT: "[yellow]waits[/]",
    GateVerdict.PASS: "[green]passes[/]",
    GateVerdict.STAY: "keeps watching",
}
_ENDS: Final = frozenset(
    {RolloutStatus.HALTED, RolloutStatus.ROLLED_BACK, RolloutStatus.SUPERSEDED}
)


def ended(report: RolloutReport) -> bool:
    """Say whether there is nothing more to watch: it is over, or everybody has it."""
    if report.rollout.status in _ENDS:
        return True
    counts = report.counts
    in_production = report.rollout.status is RolloutStatus.PRODUCTION
    return in_production and counts.pending == 0 and counts.succeeded >= counts.fleet > 0


def view(report: RolloutReport) -> Group:
    """Return the picture of this moment."""
    rollout, counts = report.rollout, report.counts
    style = _STYLES[rollout.status]
    head = Text.from_markup(
        f"[bold]{escape(report.bundle_id)}[/]  [{style}]{rollout.status.value}[/]  "
        f"{rollout.target_percentage:g} %  since {rollout.since:%Y-%m-%d %H:%M:%S} UTC"
    )
    parts: list[RenderableType] = [head]
    if rollout.reason:
        parts.append(Text(f"  {rollout.reason}", style="dim"))
    totals = (
        f"  {counts.fleet} robots of {escape(report.robot_model)}: "
        f"[green]{counts.succeeded} healthy[/], [red]{counts.failed} failed[/], "
        f"[red]{counts.silent} silent[/], {counts.pending} under way"
    )
    parts.append(Text.from_markup(totals))
    if counts.task_trials:
        parts.append(Text(f"  tasks: {counts.task_successes} of {counts.task_trials} succeeded"))
    if report.stages:
        parts += [Text(""), _stages(report)]
    parts += [Text(""), *_reasons(report)]
    return Group(*parts)


def _stages(report: RolloutReport) -> RenderableType:
    table = columns("stage", "robots", "healthy", "failed", "under way", "")
    for index, stage in enumerate(report.stages):
        here = "[bold]>[/]" if index == report.rollout.stage else " "
        table.add_row(
            f"{here} {index + 1}",
            f"to {stage.percentage:g} %",
            str(stage.succeeded),
            str(stage.failed),
            str(stage.pending),
            _bar(stage),
        )
    return table


def _bar(stage: StageCounts) -> str:
    total = stage.succeeded + stage.failed + stage.pending
    if not total:
        return f"[dim]{'·' * _CELLS}[/]"
    good = round(stage.succeeded / total * _CELLS)
    # One failure among a thousand robots is still to be seen.
    bad = max(1, round(stage.failed / total * _CELLS)) if stage.failed else 0
    good = min(good, _CELLS - bad)
    return f"[green]{'█' * good}[/][red]{'█' * bad}[/][dim]{'░' * (_CELLS - good - bad)}[/]"


def _reasons(report: RolloutReport) -> list[RenderableType]:
    decision = report.decision
    if decision is None:
        return [Text("The gate is not asked: nothing is rolled out.", style="dim")]
    over = report.rollout.status in _ENDS
    word = "said at the end" if over else _WORDS[decision.verdict]
    lines: list[RenderableType] = [Text.from_markup(f"The gate {word}:")]
    for check in decision.checks:
        text = f"  {_MARKS[check.verdict]} {check.name:9} {escape(check.sentence)}"
        lines.append(Text.from_markup(text))
    return lines


def line(report: RolloutReport) -> str:
    """Return one line, for a pipe."""
    rollout, counts = report.rollout, report.counts
    verdict = f" gate {report.decision.verdict.value}" if report.decision else ""
    return (
        f"{report.bundle_id} {rollout.status.value} {rollout.target_percentage:g} % "
        f"healthy {counts.succeeded} failed {counts.failed} silent {counts.silent} "
        f"under way {counts.pending}{verdict}"
    )


def print_change(out: Console, bundle: Bundle) -> None:
    """Say what a rollout has become."""
    rollout = bundle.rollout
    style = _STYLES[rollout.status]
    out.print(
        f"[bold]{escape(bundle.bundle_id)}[/] is [{style}]{rollout.status.value}[/], "
        f"offered to {rollout.target_percentage:g} % of its robots."
    )
    if rollout.status in {RolloutStatus.HALTED, RolloutStatus.ROLLED_BACK}:
        back = rollout.previous_bundle_id
        text = f"are offered {back} at their next check" if back else "have no bundle to go back to"
        out.print(f"  Robots that took it {text}.")
    elif rollout.status is not RolloutStatus.STAGED:
        out.print(f"  Next: continuon ota rollout status {escape(bundle.bundle_id)} --watch")


def print_bundles(out: Console, bundles: list[Bundle]) -> None:
    """Print bundles as a table."""
    if not bundles:
        out.print("There are no bundles yet. Make one: continuon ota publish --help")
        return
    table = columns("bundle", "version", "status", "robots", "healthy", "failed", "since")
    for bundle in bundles:
        rollout = bundle.rollout
        table.add_row(
            escape(bundle.bundle_id),
            bundle.version,
            f"[{_STYLES[rollout.status]}]{rollout.status.value}[/]",
            f"{rollout.target_percentage:g} %",
            str(rollout.deployed_count),
            str(rollout.error_count),
            f"{rollout.since:%Y-%m-%d %H:%M}",
        )
    out.print(table)


def print_robot(out: Console, robot: RobotUpdates) -> None:
    """Print what a robot has, since when, and why not a newer version."""
    since = f" since {robot.since:%Y-%m-%d %H:%M} UTC" if robot.since else ""
    out.print(f"[bold]{robot.robot_id}[/] runs {robot.version or 'no bundle'}{since}.")
    if robot.reason is not None:
        out.print(f"  Nothing newer ({robot.reason.value}): {escape(robot.detail)}")
    else:
        out.print(f"  {escape(robot.detail)}")
    if robot.groups or robot.tags:
        out.print(f"  groups: {', '.join(robot.groups)}  tags: {', '.join(robot.tags)}")
    if robot.failures:
        out.print(f"  {robot.failures} installations failed in a row.")
