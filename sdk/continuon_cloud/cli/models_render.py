"""Models, versions and aliases as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from continuon_cloud.cli.render import columns, size, state_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from continuon.contracts.models import (
        AliasChange,
        Lineage,
        Model,
        ModelAlias,
        ModelVersion,
        VersionSummary,
    )

__all__ = [
    "print_alias",
    "print_history",
    "print_lineage",
    "print_model",
    "print_models",
    "print_version",
    "print_versions",
]

_SHOWN_METRICS = 3
_SHOWN_EPISODES = 20


def print_models(out: Console, models: Sequence[Model]) -> None:
    """Print models as a table."""
    if not models:
        out.print("No models. Make one: continuon models register MODEL FILE --robot-model ...")
        return
    table = columns("model", "robot model", "versions", "changed", "name")
    for model in models:
        table.add_row(
            model.model_id,
            escape(model.robot_model),
            str(model.latest_version),
            f"{model.updated_at:%Y-%m-%d %H:%M}",
            escape(model.name),
        )
    out.print(table)


def print_model(
    out: Console,
    model: Model,
    aliases: Sequence[ModelAlias],
    versions: Sequence[VersionSummary],
) -> None:
    """Print one model: what it is for, where its aliases point, its newest versions."""
    out.print(f"[bold]{escape(model.model_id)}[/] {escape(model.name)}")
    out.print(f"  for {escape(model.robot_model)}, {model.latest_version} versions")
    for alias in aliases:
        print_alias(out, alias)
    if versions:
        print_versions(out, versions)


def print_versions(out: Console, versions: Sequence[VersionSummary]) -> None:
    """Print versions as a table."""
    if not versions:
        out.print("No versions.")
        return
    table = columns("version", "status", "made", "size", "episodes", "downloads", "job", "metrics")
    for one in versions:
        table.add_row(
            f"{one.model_id}@{one.version}",
            state_text(one.status.value),
            f"{one.created_at:%Y-%m-%d %H:%M}",
            size(one.size_bytes),
            str(one.episode_count),
            "" if one.download_count is None else str(one.download_count),
            one.training_job_id or "",
            escape(_numbers(one.metrics)),
        )
    out.print(table)


def print_version(out: Console, version: ModelVersion) -> None:
    """Print one version: artifact, metrics, requirements, notes, and where it came from."""
    out.print(
        f"[bold]{escape(version.model_id)}@{version.version}[/] "
        f"{state_text(version.status.value)} {version.created_at:%Y-%m-%d %H:%M}"
    )
    lineage = version.lineage
    facts = {
        "artifact": f"{version.file_name} ({version.format}, {size(version.size_bytes)})",
        "checksum": version.checksum,
        "metrics": _numbers(version.metrics, len(version.metrics)),
        "requires": ", ".join(f"{name} {value}" for name, value in version.requirements.items()),
        "made by": version.training_job_id or version.created_by,
        "trained on": f"{len(lineage.episode_ids)} episodes" if lineage.episode_ids else "",
        "built on": lineage.model_base or "",
        "downloads": "" if version.download_count is None else str(version.download_count),
        "notes": version.release_notes,
    }
    for name, value in facts.items():
        if value:
            out.print(f"  [cyan]{name}[/] {escape(value)}")
    if lineage.episode_ids:
        out.print("  --lineage lists the episodes.")


def print_lineage(
    out: Console, version: ModelVersion, descendants: Sequence[VersionSummary]
) -> None:
    """Print what a version was made of, and what was made of it."""
    out.print(f"[bold]{escape(version.model_id)}@{version.version}[/] was made of")
    _print_sources(out, version.lineage, version.training_job_id)
    if descendants:
        names = ", ".join(f"{one.model_id}@{one.version}" for one in descendants)
        out.print(f"and became part of {escape(names)}")


def _print_sources(out: Console, lineage: Lineage, job_id: str | None) -> None:
    if job_id:
        out.print(f"  [cyan]job[/] {escape(job_id)}")
    if lineage.model_base:
        out.print(f"  [cyan]version[/] {escape(lineage.model_base)}")
    if lineage.episodes_digest:
        out.print(f"  [cyan]episodes, together[/] {escape(lineage.episodes_digest)}")
    for episode_id in lineage.episode_ids[:_SHOWN_EPISODES]:
        out.print(f"  [cyan]episode[/] {escape(episode_id)}")
    if (more := len(lineage.episode_ids) - _SHOWN_EPISODES) > 0:
        out.print(f"  and {more} more episodes; --json lists all")
    if not (job_id or lineage.model_base or lineage.episode_ids):
        out.print("  nothing that was written down")


def print_alias(out: Console, alias: ModelAlias) -> None:
    """Print where an alias points, since when and why."""
    where = f"{alias.model_id}@{alias.version}" if alias.version else "nothing"
    out.print(
        f"  [bold]{escape(alias.alias)}[/] points at {escape(where)} "
        f"since {alias.at:%Y-%m-%d %H:%M:%S} UTC: {escape(alias.reason)}"
    )


def print_history(out: Console, changes: Sequence[AliasChange]) -> None:
    """Print every change of an alias, newest first."""
    table = columns("since (UTC)", "version", "before", "by", "why")
    for change in changes:
        table.add_row(
            f"{change.at:%Y-%m-%d %H:%M:%S}",
            "none" if change.version is None else str(change.version),
            "none" if change.previous_version is None else str(change.previous_version),
            escape(change.by),
            escape(change.reason),
        )
    out.print(table)


def _numbers(metrics: Mapping[str, float], shown: int = _SHOWN_METRICS) -> str:
    first = sorted(metrics.items())[:shown]
    text = ", ".join(f"{name} {value:.4g}" for name, value in first)
    return text + (", ..." if len(metrics) > shown else "")
