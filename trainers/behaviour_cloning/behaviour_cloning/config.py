"""What a run is asked to do: one JSON object, every field with a default."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from behaviour_cloning.errors import TrainerError

if TYPE_CHECKING:
    from pathlib import Path

Width = Annotated[int, Meta(ge=1, le=4096)]
Path_ = Annotated[str, Meta(min_length=1, max_length=200)]


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a run.

    Attributes:
        fields: Dotted paths of the observation; None for the robot's joints, else its hand.
        hidden: Widths of the hidden layers.
        batch_steps: Steps in a batch.
        shuffle_steps: Steps held for mixing.
        max_steps: Optimiser steps of the run.
        learning_rate: Of Adam.
        observation_noise: Standard deviation of noise added to standardised observations while
            training; 0 for none.
        seed: Of the initial weights, the order of steps, the noise and the bootstrap.
        held_out: Share of episodes held out.
        split_salt: Another salt makes another split.
        checkpoint_every: Optimiser steps between checkpoints.
        evaluate_every: Optimiser steps between rows of metrics with held-out loss.
        bootstrap_samples: Resamples of the episodes for each interval.
        confidence: Of the intervals.
        min_verdict_episodes: Held-out episodes below which the comparison with the baseline stays
            undecided: a bootstrap over fewer units gives intervals that are too narrow.
    """

    fields: Annotated[tuple[Path_, ...], Meta(min_length=1, max_length=64)] | None = None
    hidden: Annotated[tuple[Width, ...], Meta(max_length=8)] = (64, 64)
    batch_steps: Annotated[int, Meta(ge=1, le=65_536)] = 64
    shuffle_steps: Annotated[int, Meta(ge=1, le=1_000_000)] = 4096
    max_steps: Annotated[int, Meta(ge=1, le=100_000_000)] = 2000
    learning_rate: Annotated[float, Meta(gt=0, le=1)] = 1e-3
    observation_noise: Annotated[float, Meta(ge=0, le=10)] = 0.0
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    held_out: Annotated[float, Meta(gt=0, lt=1)] = 0.2
    split_salt: Annotated[str, Meta(max_length=200)] = ""
    checkpoint_every: Annotated[int, Meta(ge=1)] = 200
    evaluate_every: Annotated[int, Meta(ge=1)] = 200
    bootstrap_samples: Annotated[int, Meta(ge=100, le=1_000_000)] = 2000
    confidence: Annotated[float, Meta(gt=0.5, lt=1)] = 0.95
    min_verdict_episodes: Annotated[int, Meta(ge=2)] = 5

    def digest(self) -> str:
        """Return the SHA-256 of the settings: a checkpoint goes on only under the same ones."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def config_from(values: dict[str, Any]) -> Config:
    """Check settings that came as an object, such as a job's hyperparameters.

    Raises:
        TrainerError: A field is unknown, of the wrong type or out of range.
    """
    try:
        return msgspec.convert(values, type=Config)
    except msgspec.ValidationError as error:
        raise TrainerError(f"hyperparams: {error}", code="trainer.config_invalid") from error


def read_config(path: Path) -> Config:
    """Read a configuration file.

    Raises:
        TrainerError: It cannot be read, or a field is unknown, of the wrong type or out of range.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Config)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror or error}"
        raise TrainerError(message, code="trainer.config_invalid") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TrainerError(f"{path}: {error}", code="trainer.config_invalid") from error
