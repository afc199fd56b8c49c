"""The model card: what a person has to know before this model moves anything."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_LIMITS: Final = """\
- It maps the present proprioception to one action. It sees no camera and remembers nothing,
  so a task that needs either cannot be learned from these inputs.
- The loss compares actions on recorded states. It says nothing about closed-loop behaviour:
  small errors add up and lead to states that were never recorded. It has not been run on a robot.
- The interval is over the held-out episodes given here. It does not cover other robots, places,
  people or tasks.
- Copies of one recording under two episode ids are not detected; if one trains and one judges,
  the held-out loss is too good.
- The held-out loss was shown while training (`metrics.jsonl`); settings chosen by looking
  at it make it optimistic.
- Actions are not limited to a safe range. Whoever runs the model has to."""

_READING: Final = """\
The baseline always answers the mean action of the training split. Means and intervals are over
episodes (percentile bootstrap).
"""

_UNSAFE: Final = re.compile(r"[^\w .,:;+()/@-]")


def model_card(result: dict[str, Any]) -> str:
    """Return the card of a result as Markdown."""
    parts = (
        "# Model card: behaviour cloning\n",
        _summary(result),
        "## Losses\n",
        f"{result['loss_unit'].capitalize()}.",
        _READING,
        f"Level of the intervals: {result['config']['confidence']:.0%}.\n",
        _losses(result),
        "## Data\n",
        _data(result),
        "## Configuration\n",
        f"```json\n{json.dumps(result['config'], indent=2)}\n```\n",
        "## Limits\n",
        _LIMITS + "\n",
    )
    return "\n".join(parts)


def _summary(result: dict[str, Any]) -> str:
    model = result["model"]
    return (
        f"- verdict: **{result['verdict']}** ({result['reason']})\n"
        f"- network: `{_plain(result['network'])}`, {result['parameters']} parameters\n"
        f"- steps: {result['steps']}, whole passes over the data: {result['epochs']}\n"
        f"- started from: {_base(result['base'])}\n"
        f"- file: `{model['file']}`, {model['size_bytes']} bytes, format `{model['format']}`\n"
        f"- SHA-256: `{model['sha256']}`\n"
    )


def _base(sha256: str | None) -> str:
    if sha256 is None:
        return "fresh weights"
    return f"the model with the SHA-256 `{sha256}`, whose standardisation it keeps"


def _losses(result: dict[str, Any]) -> str:
    rows = [
        "| split | episodes | steps | model | baseline | improvement |",
        "|---|---|---|---|---|---|",
    ]
    for split in ("train", "held_out"):
        found = result[split]
        cells = [_figure(found[name]) for name in ("loss", "baseline_loss", "improvement")]
        rows.append(f"| {split} | {found['episodes']} | {found['steps']} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _figure(figure: dict[str, Any]) -> str:
    if figure["mean"] is None:
        return "none"
    if figure["interval"] is None:
        return f"{figure['mean']:.4f} (no interval: fewer than two episodes)"
    low, high = figure["interval"]
    return f"{figure['mean']:.4f} ({low:.4f} to {high:.4f})"


def _data(result: dict[str, Any]) -> str:
    licences = ", ".join(f"{_plain(name)} ({n})" for name, n in result["licences"].items())
    lines = [
        f"- episode set: `{result['episode_set_digest']}`",
        f"- robot models: {_list(result['robot_models'])}",
        f"- origins: {_list(result['origins'])}",
        f"- licences that the episodes state (episodes): {licences}",
        "",
        "| split | episode | SHA-256 |",
        "|---|---|---|",
    ]
    lines += [
        f"| {split} | {_plain(row['episode_id'])} | `{row['sha256']}` |"
        for split in ("train", "held_out")
        for row in result["episodes"][split]
    ]
    return "\n".join(lines) + "\n"


def _list(names: list[str]) -> str:
    return ", ".join(_plain(name) for name in names) or "not stated"


def _plain(text: str) -> str:
    """Take Markdown and control characters out of what a recording says about itself."""
    return _UNSAFE.sub("_", text)[:200]
