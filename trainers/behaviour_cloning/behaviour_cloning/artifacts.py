"""What a finished run leaves: the model, its card, and the result for whoever started it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from behaviour_cloning.card import model_card
from behaviour_cloning.files import npz_bytes, write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from behaviour_cloning.config import Config
    from behaviour_cloning.evaluate import Verdict
    from behaviour_cloning.network import Array
    from behaviour_cloning.statistics import Standardiser
    from continuon_cloud.dataset import EpisodeDataset, Split

MODEL: Final = "model.npz"
METRICS: Final = "metrics.jsonl"
CARD: Final = "model_card.md"
RESULT: Final = "result.json"
FORMAT: Final = "continuon.behaviour-cloning/1"
"""Of model.npz; another layout gets another number."""

NO_LICENCE: Final = "not stated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A finished run.

    Attributes:
        dataset: What it was trained and judged on.
        config: Its settings.
        network_name: Module and name of the network.
        parameters: Its weights.
        observations: Standardiser of the observations.
        actions: Standardiser of the actions.
        steps: Optimiser steps taken.
        epochs: Whole passes over the training split.
        train: Figures of the training split.
        held_out: Figures of the held-out split.
        verdict: Against the baseline.
        reason: Why.
        base: SHA-256 of the model it started from; None for fresh weights.
    """

    dataset: EpisodeDataset
    config: Config
    network_name: str
    parameters: dict[str, Array]
    observations: Standardiser
    actions: Standardiser
    steps: int
    epochs: int
    train: dict[str, Any]
    held_out: dict[str, Any]
    verdict: Verdict
    reason: str
    base: str | None = None


def write(folder: Path, trained: Trained) -> dict[str, Any]:
    """Write model, card and, last of all, the result; return the result.

    Raises:
        TrainerError: The disk refuses.
    """
    model = _model_bytes(trained)
    write_whole(folder / MODEL, model)
    result = _result(trained)
    result["model"] = {
        "file": MODEL,
        "format": FORMAT,
        "sha256": hashlib.sha256(model).hexdigest(),
        "size_bytes": len(model),
    }
    write_whole(folder / CARD, model_card(result).encode())
    write_whole(folder / RESULT, json.dumps(result, indent=2).encode() + b"\n")
    return result


def _model_bytes(trained: Trained) -> bytes:
    head = {
        "format": FORMAT,
        "network": trained.network_name,
        "fields": list(trained.dataset.fields),
        "action": trained.dataset.action,
        "hidden": list(trained.config.hidden),
        "episode_set_digest": trained.dataset.digest,
    }
    if trained.base is not None:
        head["base"] = trained.base
    arrays: dict[str, Any] = {
        "head": np.array(json.dumps(head, sort_keys=True)),
        "observation.mean": trained.observations.mean,
        "observation.scale": trained.observations.scale,
        "action.mean": trained.actions.mean,
        "action.scale": trained.actions.scale,
    }
    arrays.update({f"parameter.{name}": value for name, value in trained.parameters.items()})
    return npz_bytes(arrays)


def _result(trained: Trained) -> dict[str, Any]:
    dataset = trained.dataset
    return {
        "state": "completed",
        "verdict": trained.verdict,
        "reason": trained.reason,
        "steps": trained.steps,
        "epochs": trained.epochs,
        "train": trained.train,
        "held_out": trained.held_out,
        "base": trained.base,
        "loss_unit": "mean squared error, actions in standard deviations of "
        + ("the training split" if trained.base is None else "the base's training split"),
        "episode_set_digest": dataset.digest,
        "episodes": {"train": _rows(dataset, "train"), "held_out": _rows(dataset, "held_out")},
        "licences": dict(
            sorted(Counter(e.licence or NO_LICENCE for e in dataset.episodes).items())
        ),
        "robot_models": sorted({e.robot_model for e in dataset.episodes if e.robot_model}),
        "origins": sorted({e.origin for e in dataset.episodes if e.origin}),
        "split_salt": dataset.salt,
        "network": trained.network_name,
        "parameters": int(sum(value.size for value in trained.parameters.values())),
        "config": json.loads(msgspec.json.encode(trained.config)),
        "config_digest": trained.config.digest(),
        "software": {"python": platform.python_version(), "numpy": np.__version__},
    }


def _rows(dataset: EpisodeDataset, split: Split) -> list[dict[str, str]]:
    entries = (dataset.episodes[place] for place in dataset.members(split))
    return [{"episode_id": entry.episode_id, "sha256": entry.sha256} for entry in entries]
