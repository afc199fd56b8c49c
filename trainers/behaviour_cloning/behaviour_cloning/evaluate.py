"""Loss against the mean-action baseline. The unit is the episode: its steps are not independent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from behaviour_cloning.config import Config
    from behaviour_cloning.network import Array, Network
    from behaviour_cloning.statistics import Standardiser
    from continuon_cloud.dataset import EpisodeDataset, Split

Verdict = Literal["beats_baseline", "does_not_beat_baseline", "undecided"]


@dataclass(frozen=True, slots=True)
class EpisodeLosses:
    """Mean losses of each episode, in the order of `places`.

    Attributes:
        places: Of the episodes in the dataset.
        steps: Steps of each.
        model: Mean squared error of the network, in standardised action units.
        baseline: The same of always answering the training split's mean action.
    """

    places: tuple[int, ...]
    steps: Array
    model: Array
    baseline: Array


def episode_losses(
    dataset: EpisodeDataset,
    split: Split,
    network: Network,
    observations: Standardiser,
    actions: Standardiser,
    *,
    mean_action: Array,
) -> EpisodeLosses:
    """Measure a network on every episode of a split that has steps, in one pass.

    ``mean_action`` is the training split's, in units of the recording.
    """
    constant = actions.standardise(mean_action)
    size = len(dataset.episodes)
    steps, model, baseline = np.zeros(size), np.zeros(size), np.zeros(size)
    for batch in dataset.batches(split):
        wanted = actions.standardise(batch.actions.astype(np.float64))
        given = network.forward(observations.standardise(batch.observations.astype(np.float64)))
        steps += np.bincount(batch.episodes, minlength=size)
        model += _sums(batch.episodes, given - wanted, size)
        # Zero, unless the units are those of a base that was trained on other episodes.
        baseline += _sums(batch.episodes, wanted - constant, size)
    used = np.flatnonzero(steps)
    places = tuple(int(place) for place in used)
    count = steps[used]
    return EpisodeLosses(places, count, model[used] / count, baseline[used] / count)


def _sums(episodes: NDArray[np.int64], error: Array, size: int) -> Array:
    """Return the summed squared error of each episode, averaged over the dimensions."""
    sums = np.bincount(episodes, weights=np.mean(error**2, axis=1), minlength=size)
    return sums.astype(np.float64)


def interval(
    values: Array, *, rng: np.random.Generator, samples: int, confidence: float
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of the mean over episodes; None below two."""
    count = len(values)
    if count < 2:  # noqa: PLR2004 - one unit has no spread
        return None
    means = np.array([values[rng.integers(count, size=count)].mean() for _ in range(samples)])
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def summarise(losses: EpisodeLosses, config: Config) -> dict[str, Any]:
    """Return the figures of a split with their intervals, JSON values only.

    ``improvement`` is baseline minus model, paired by episode: above zero the model is better.
    """
    rows = {
        "loss": losses.model,
        "baseline_loss": losses.baseline,
        "improvement": losses.baseline - losses.model,
    }
    result: dict[str, Any] = {"episodes": len(losses.places), "steps": int(losses.steps.sum())}
    for name, values in rows.items():
        # A stream of its own: the intervals do not depend on how many were computed before.
        rng = np.random.default_rng([config.seed, len(name)])
        found = interval(
            values, rng=rng, samples=config.bootstrap_samples, confidence=config.confidence
        )
        mean = float(values.mean()) if len(values) else None
        result[name] = {"mean": mean, "interval": None if found is None else list(found)}
    return result


def verdict(held_out: dict[str, Any], config: Config) -> tuple[Verdict, str]:
    """Decide whether the held-out episodes show the model to be better, and say why."""
    count = held_out["episodes"]
    improvement = held_out["improvement"]["interval"]
    if count < config.min_verdict_episodes or improvement is None:
        least = config.min_verdict_episodes
        return "undecided", f"{count} of at least {least} held-out episodes: too few to tell"
    if improvement[0] > 0:
        return "beats_baseline", "the interval of the improvement lies above zero"
    if improvement[1] < 0:
        return "does_not_beat_baseline", "the interval of the improvement lies below zero"
    return "does_not_beat_baseline", "the interval of the improvement includes zero"
