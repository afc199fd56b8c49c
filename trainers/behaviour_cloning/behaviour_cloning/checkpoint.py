"""The whole state of a run at one step, in one file."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from behaviour_cloning.base import Units
from behaviour_cloning.errors import TrainerError
from behaviour_cloning.files import npz_bytes, write_whole
from behaviour_cloning.statistics import Standardiser

if TYPE_CHECKING:
    from pathlib import Path

    from behaviour_cloning.network import Array, Network
    from behaviour_cloning.optimiser import Adam

FILE: Final = "checkpoint.npz"
VERSION: Final = 1
_GROUPS: Final = ("parameter", "first", "second")
_UNITS: Final = (
    "base.observation.mean",
    "base.observation.scale",
    "base.action.mean",
    "base.action.scale",
)
"""Only in checkpoints of runs that started from another model."""


@dataclass(slots=True)
class Position:
    """Where a run is in its stream of batches.

    Attributes:
        epoch: Passes over the training split that were completed.
        batch: Batches of the present pass that were used.
        metrics_bytes: Length of metrics.jsonl; what a killed run wrote after it is cut off.
    """

    epoch: int = 0
    batch: int = 0
    metrics_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """What has to be equal for a checkpoint to go on.

    Attributes:
        config: Digest of the configuration.
        episodes: Digest of the episode set.
        network: Name of the network.
        base: SHA-256 of the model it is said to have started from; None for "whatever it was".
    """

    config: str
    episodes: str
    network: str
    base: str | None = None


def save(
    folder: Path,
    *,
    identity: Identity,
    position: Position,
    network: Network,
    optimiser: Adam,
    rng: np.random.Generator,
    units: Units | None = None,
) -> None:
    """Write the state; the previous one stays until the new one is durable.

    With ``units``, those of the base are part of it: the base is needed no more.

    Raises:
        TrainerError: The disk refuses.
    """
    head = {
        "version": VERSION,
        "config": identity.config,
        "episodes": identity.episodes,
        "network": identity.network,
        "step": optimiser.step_count,
        "epoch": position.epoch,
        "batch": position.batch,
        "metrics_bytes": position.metrics_bytes,
        "rng": rng.bit_generator.state,
    }
    if units is not None:
        head["base"] = units.sha256
    arrays: dict[str, Any] = {"head": np.array(json.dumps(head, sort_keys=True))}
    if units is not None:
        arrays.update(zip(_UNITS, _values(units), strict=True))
    groups = (network.parameters, optimiser.first, optimiser.second)
    for group, values in zip(_GROUPS, groups, strict=True):
        arrays.update({f"{group}.{name}": value for name, value in values.items()})
    write_whole(folder / FILE, npz_bytes(arrays))


def load(
    folder: Path,
    *,
    identity: Identity,
    network: Network,
    optimiser: Adam,
    rng: np.random.Generator,
) -> tuple[Position, Units | None]:
    """Put the saved state into a new network, optimiser and generator.

    The second part of the answer is what the run keeps of its base, if it has one.

    Raises:
        TrainerError: There is no checkpoint, it is damaged, or it is of another run.
    """
    path = folder / FILE
    if not path.exists():
        raise TrainerError(f"there is no {path} to resume from", code="trainer.checkpoint_missing")
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        head = json.loads(str(arrays.pop("head")))
        _check(head, identity)
        units = _units(head, arrays)
        _restore(arrays, network, optimiser)
        optimiser.step_count = int(head["step"])
        rng.bit_generator.state = head["rng"]
        place = Position(int(head["epoch"]), int(head["batch"]), int(head["metrics_bytes"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise _damaged(path, error) from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from error
    return place, units


def _damaged(path: Path, error: Exception) -> TrainerError:
    return TrainerError(
        f"{path} is damaged: {error}",
        code="trainer.checkpoint_invalid",
        hint="Start again in another folder.",
    )


def _check(head: dict[str, Any], identity: Identity) -> None:
    named = {
        "the file's version": ("version", VERSION),
        "the configuration": ("config", identity.config),
        "the set of episodes": ("episodes", identity.episodes),
        "the network": ("network", identity.network),
    }
    present = head
    if identity.base is not None:
        named["the base model"] = ("base", identity.base)
        present = {"base": None, **head}
    for what, (key, wanted) in named.items():
        if present[key] != wanted:
            raise TrainerError(
                f"the checkpoint is of another run: {what} differs",
                code="trainer.checkpoint_mismatch",
                hint="Give the same episodes and configuration, or another --out.",
            )


def _values(units: Units) -> tuple[Array, ...]:
    observations, actions = units.observations, units.actions
    return observations.mean, observations.scale, actions.mean, actions.scale


def _units(head: dict[str, Any], arrays: dict[str, Array]) -> Units | None:
    if "base" not in head:
        return None
    mean, scale, action_mean, action_scale = (arrays.pop(name) for name in _UNITS)
    observations, actions = Standardiser(mean, scale), Standardiser(action_mean, action_scale)
    return Units(str(head["base"]), observations, actions)


def _restore(arrays: dict[str, Array], network: Network, optimiser: Adam) -> None:
    groups = (network.parameters, optimiser.first, optimiser.second)
    for group, values in zip(_GROUPS, groups, strict=True):
        for name, value in values.items():
            saved = arrays.pop(f"{group}.{name}")
            if saved.shape != value.shape or saved.dtype != value.dtype:
                raise ValueError(f"{group}.{name} has another shape or type")
            value[...] = saved
    if arrays:
        raise ValueError(f"unknown arrays: {', '.join(sorted(arrays))}")
