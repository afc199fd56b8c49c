"""The model that a run starts from: its weights, and the units they were learned in.

Weights mean something only for inputs and outputs in the units they were learned in. So the
standardisation of the base is kept with them, and at step 0 the function is the base's, digit for
digit. New moments, measured on other episodes, would have shifted every input and scaled every
output.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from behaviour_cloning.artifacts import FORMAT
from behaviour_cloning.errors import TrainerError
from behaviour_cloning.statistics import Standardiser

if TYPE_CHECKING:
    from pathlib import Path

    from behaviour_cloning.network import Array, Network
    from continuon_cloud.dataset import EpisodeDataset

_PARAMETER: Final = "parameter."
_SHOWN: Final = 200
"""Characters of a value that a message names."""


@dataclass(frozen=True, slots=True)
class Units:
    """What a run keeps of its base for good; its checkpoints hold it too.

    Attributes:
        sha256: Of the base's file.
        observations: Standardiser of the observations.
        actions: Standardiser of the actions.
    """

    sha256: str
    observations: Standardiser
    actions: Standardiser


@dataclass(frozen=True, slots=True)
class Base:
    """A model that was read.

    Attributes:
        head: What the file says about itself.
        parameters: Weights by name.
        units: The units they were learned in.
    """

    head: dict[str, Any]
    parameters: dict[str, Array]
    units: Units


def read_base(path: Path) -> Base:
    """Read a model that this trainer wrote.

    Raises:
        TrainerError: ``trainer.model_base_invalid``: it cannot be read, or it is no such model.
    """
    try:
        content = path.read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return _base(arrays, hashlib.sha256(content).hexdigest())
    except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError) as error:
        raise _invalid(path, error) from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise _invalid(path, error) from error


def _invalid(path: Path, error: Exception) -> TrainerError:
    return TrainerError(
        f"{path.name} is no model to start from: {error}",
        code="trainer.model_base_invalid",
        hint=f"Give the model.npz of a run of this trainer ({FORMAT}).",
    )


def _base(arrays: dict[str, Any], sha256: str) -> Base:
    head = json.loads(str(arrays.pop("head")))
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    for name, value in arrays.items():
        if value.dtype != np.float64 or not np.isfinite(value).all():
            raise ValueError(f"{name} holds something else than finite 64-bit numbers")
    units = Units(sha256, _standardiser(arrays, "observation"), _standardiser(arrays, "action"))
    parameters = {
        name.removeprefix(_PARAMETER): value
        for name, value in arrays.items()
        if name.startswith(_PARAMETER)
    }
    return Base(head, parameters, units)


def _standardiser(arrays: dict[str, Any], name: str) -> Standardiser:
    mean, scale = arrays[f"{name}.mean"], arrays[f"{name}.scale"]
    if mean.ndim != 1 or mean.shape != scale.shape or not (scale > 0).all():
        raise ValueError(f"{name}.mean and {name}.scale do not standardise")
    return Standardiser(mean=mean, scale=scale)


def start_from(
    base: Base, network: Network, dataset: EpisodeDataset, asked: dict[str, Any]
) -> None:
    """Put the weights of the base into a new network.

    Args:
        base: As read.
        network: Of the run; changed in place.
        dataset: What it is to be trained on.
        asked: ``network`` and ``hidden`` as the run is configured.

    Raises:
        TrainerError: ``trainer.model_base_mismatch``: names everything that does not fit.
    """
    wanted = {**asked, "fields": list(dataset.fields), "action": dataset.action}
    differing = [
        f"{name} is {_shown(base.head.get(name))} in the base and {_shown(value)} here"
        for name, value in wanted.items()
        if base.head.get(name) != value
    ]
    differing = differing or _shapes(base, network, dataset)
    if differing:
        raise mismatch("; ".join(differing))
    for name, value in network.parameters.items():
        value[...] = base.parameters[name]


def mismatch(message: str) -> TrainerError:
    """Return the refusal of a base that does not fit."""
    return TrainerError(
        f"the base model does not fit: {message}",
        code="trainer.model_base_mismatch",
        hint="Configure the run like the base, or start from another one.",
    )


def _shown(value: object) -> str:
    return json.dumps(value)[:_SHOWN]


def _shapes(base: Base, network: Network, dataset: EpisodeDataset) -> list[str]:
    found = {
        **{name: value.shape for name, value in base.parameters.items()},
        "observation": base.units.observations.mean.shape,
        "action": base.units.actions.mean.shape,
    }
    needed = {
        **{name: value.shape for name, value in network.parameters.items()},
        "observation": (dataset.observation_width,),
        "action": (dataset.action_width,),
    }
    return [
        f"the shape of {name} is {_shown(found.get(name))} in the base and "
        f"{_shown(needed.get(name))} here"
        for name in sorted(found.keys() | needed.keys())
        if found.get(name) != needed.get(name)
    ]
