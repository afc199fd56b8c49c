"""Tables and bars for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from continuon.contracts.episodes import Episode

__all__ = ["bar", "columns", "counts_text", "print_episodes", "print_report", "size", "state_text"]

_BAR_CELLS = 20
_SHOWN_FINDINGS = 20
_GOOD, _FAIR = 0.8, 0.5
_KIB = 1024
_STYLES = {
    "valid": "green",
    "validated": "green",
    "invalid": "red",
    "rejected": "red",
    "set_aside": "red",
    "raw": "yellow",
}


def columns(*names: str, style: str = "bold", indent: int = 0) -> Table:
    """Return a table whose last column folds and whose others, which are copied, never break."""
    *whole, last = names
    table = Table(box=None, header_style=style, padding=(0, 2, 0, indent))
    for name in whole:
        table.add_column(name, no_wrap=True)
    table.add_column(last, overflow="fold")
    return table


def size(size_bytes: float | None) -> str:
    """Return a size in words of two or three digits."""
    if size_bytes is None:
        return ""
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < _KIB:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= _KIB
    return f"{size_bytes:.2f} GiB"


def bar(score: float) -> str:
    """Return a score from 0 to 1 as a coloured bar."""
    cells = round(max(0.0, min(1.0, score)) * _BAR_CELLS)
    style = "green" if score >= _GOOD else "yellow" if score >= _FAIR else "red"
    return f"[{style}]{'█' * cells}[/][dim]{'░' * (_BAR_CELLS - cells)}[/] {score:.2f}"


def state_text(state: str) -> str:
    """Return a state in its colour."""
    style = _STYLES.get(state, "cyan")
    return f"[{style}]{state.replace('_', ' ')}[/]"


def counts_text(counts: Mapping[str, int]) -> str:
    """Return findings as ``code`` or ``code x3``, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(code if count == 1 else f"{code} x{count}" for code, count in ordered)


def print_episodes(out: Console, episodes: Sequence[Episode]) -> None:
    """Print episodes as a table."""
    if not episodes:
        out.print("No episodes. Send one: continuon episode upload PATH")
        return
    table = columns(
        "episode", "robot", "status", "steps", "size", "quality", "uploaded", "problems"
    )
    for episode in episodes:
        table.add_row(
            episode.episode_id,
            episode.robot_id,
            state_text(episode.status.value),
            "" if episode.steps is None else str(episode.steps),
            size(episode.size_bytes),
            "" if episode.quality is None else f"{episode.quality:.2f}",
            f"{episode.uploaded_at:%Y-%m-%d %H:%M}",
            escape(counts_text(episode.problems)),
        )
    out.print(table)


def print_report(out: Console, title: str, report: Mapping[str, Any]) -> None:
    """Print a validation report: verdict, facts, quality, findings, repair."""
    out.print(f"[bold]{escape(title)}[/] {state_text(str(report.get('verdict', 'unknown')))}")
    _print_facts(out, report)
    _print_quality(out, report.get("quality"))
    for name, style in (("problems", "red"), ("warnings", "yellow")):
        _print_findings(out, name, style, report.get(name) or [])
    repair = report.get("repair")
    if repair:
        out.print(
            f"  [cyan]repair[/] the first {repair.get('steps')} steps are sound: cut "
            f"{escape(str(repair.get('file')))} at byte {repair.get('bytes')}"
        )


def _print_facts(out: Console, report: Mapping[str, Any]) -> None:
    counts = report.get("counts") or {}
    duration_ms = report.get("duration_ms")
    eligibility = report.get("eligibility") or {}
    facts = [
        f"{counts.get('steps', 0)} steps",
        f"{counts.get('files', 0)} files",
        size(report.get("bytes")),
        f"{duration_ms / 1000:.1f} s" if duration_ms is not None else "no times",
        "training eligible" if eligibility.get("training_eligible") else "not training eligible",
    ]
    reasons = eligibility.get("reasons")
    out.print(f"  {', '.join(facts)}" + (f" ({escape(', '.join(reasons))})" if reasons else ""))


def _print_quality(out: Console, quality: Mapping[str, Any] | None) -> None:
    if not quality:
        return
    table = Table(show_header=False, box=None, padding=(0, 1, 0, 2))
    table.add_row("[bold]quality[/]", bar(quality["score"]), "")
    for name, part in (quality.get("parts") or {}).items():
        value = part.get("value")
        measured = "not measured" if value is None else f"{value:.4g} {part.get('unit', '')}"
        table.add_row(name.replace("_", " "), bar(part["score"]), escape(measured))
    out.print(table)


def _print_findings(
    out: Console, name: str, style: str, findings: Sequence[Mapping[str, Any]]
) -> None:
    if not findings:
        return
    table = columns(name, "where", "message", style=style, indent=2)
    for found in findings[:_SHOWN_FINDINGS]:
        step = found.get("step")
        where = [found.get("file"), None if step is None else f"step {step}", found.get("path")]
        table.add_row(
            escape(str(found.get("code"))),
            escape(" ".join(part for part in where if part)),
            escape(str(found.get("message"))),
        )
    out.print(table)
    if len(findings) > _SHOWN_FINDINGS:
        out.print(f"  and {len(findings) - _SHOWN_FINDINGS} more; --json shows all")
