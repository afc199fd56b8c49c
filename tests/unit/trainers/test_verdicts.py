from __future__ import annotations

import numpy as np
import pytest

from behaviour_cloning.config import Config
from behaviour_cloning.evaluate import EpisodeLosses, interval, summarise, verdict


def losses(model: list[float], baseline: list[float]) -> EpisodeLosses:
    steps = np.full(len(model), 10.0)
    return EpisodeLosses(tuple(range(len(model))), steps, np.array(model), np.array(baseline))


@pytest.mark.parametrize(
    ("model", "baseline", "expected"),
    [
        ([0.1, 0.2, 0.1, 0.2, 0.1, 0.2], [1.0] * 6, "beats_baseline"),
        ([1.1, 1.2, 1.1, 1.2, 1.1, 1.2], [1.0] * 6, "does_not_beat_baseline"),
        ([0.1, 1.9, 0.2, 1.8, 0.3, 1.9], [1.0] * 6, "does_not_beat_baseline"),
        ([0.1, 0.1, 0.1, 0.1], [1.0] * 4, "undecided"),
        ([0.1], [1.0], "undecided"),
        ([], [], "undecided"),
    ],
)
def test_verdict_follows_the_interval_of_the_paired_difference(
    model: list[float], baseline: list[float], expected: str
) -> None:
    figures = summarise(losses(model, baseline), Config())

    assert verdict(figures, Config())[0] == expected


def test_one_episode_has_no_interval() -> None:
    figures = summarise(losses([0.5], [1.0]), Config())

    assert figures["loss"] == {"mean": 0.5, "interval": None}


def test_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        found = interval(rng.normal(2.0, 1.0, size=30), rng=rng, samples=300, confidence=0.9)
        assert found is not None
        hits += found[0] <= 2.0 <= found[1]

    assert 0.82 <= hits / 200 <= 0.95
