"""Episodes whose best policy is known, for tests of trainers."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["write_episodes"]


def write_episodes(
    root: Path, count: int, *, steps: int = 40, action_width: int = 2, noise: float | None = None
) -> Path:
    """Write episodes with actions that are a linear map of the state, or noise of that deviation.

    Args:
        root: Made; holds one folder for each episode.
        count: How many.
        steps: Of each.
        action_width: Numbers in an action.
        noise: None for the map; otherwise actions do not depend on the state at all.
    """
    for number in range(count):
        numbers = random.Random(number)  # noqa: S311 - reproducible, not secret
        folder = root / f"ep_{number:03d}"
        folder.mkdir(parents=True)
        metadata = {
            "episode_id": f"ep_{number:03d}",
            "step_count": steps,
            "share": {"license": "CC0-1.0"},
        }
        (folder / "metadata.json").write_text(json.dumps(metadata))
        with (folder / "steps.jsonl").open("w") as file:
            for index in range(steps):
                file.write(json.dumps(_step(numbers, index, action_width, noise)) + "\n")
    return root


def _step(
    numbers: random.Random, index: int, action_width: int, noise: float | None
) -> dict[str, object]:
    state = [numbers.uniform(-1, 1) for _ in range(3)]
    if noise is None:
        command = [state[0] - 2 * state[1] + k * state[2] + 0.5 for k in range(action_width)]
    else:
        command = [numbers.gauss(0, noise) for _ in range(action_width)]
    robot_state = {
        "timestamp_nanos": index * 50_000_000,
        "joint_positions": state,
        "joint_velocities": [0.0, 0.0, 0.0],
    }
    return {
        "step_index": index,
        "observation": {"robot_state": robot_state},
        "action": {"command": command},
    }
