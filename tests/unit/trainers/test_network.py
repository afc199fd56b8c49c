from __future__ import annotations

import numpy as np
import pytest

from behaviour_cloning.network import Mlp
from behaviour_cloning.optimiser import Adam
from behaviour_cloning.statistics import RunningMoments


@pytest.mark.parametrize("hidden", [(), (5,), (7, 4)])
def test_gradients_agree_with_finite_differences(hidden: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    network = Mlp(3, 2, hidden=hidden, rng=rng)
    observations, actions = rng.standard_normal((9, 3)), rng.standard_normal((9, 2))
    _, gradients = network.loss_and_gradients(observations, actions)
    step = 1e-6

    for name, parameter in network.parameters.items():
        numeric = np.zeros_like(parameter)
        for place in np.ndindex(parameter.shape):
            kept = parameter[place]
            parameter[place] = kept + step
            above = network.loss_and_gradients(observations, actions)[0]
            parameter[place] = kept - step
            below = network.loss_and_gradients(observations, actions)[0]
            parameter[place] = kept
            numeric[place] = (above - below) / (2 * step)
        np.testing.assert_allclose(gradients[name], numeric, rtol=1e-6, atol=1e-9)


def test_optimiser_takes_the_steps_of_the_published_algorithm() -> None:
    parameters = {"w": np.array([1.0])}
    optimiser = Adam(parameters, 0.1)

    optimiser.step({"w": np.array([2.0])})
    optimiser.step({"w": np.array([-1.0])})

    # By hand: m1 = 0.2, v1 = 0.004; m2 = 0.08, v2 = 0.004996; corrected by 0.19 and 0.001999.
    second = 0.1 * (0.08 / 0.19) / (np.sqrt(0.004996 / 0.001999) + 1e-8)
    assert parameters["w"][0] == pytest.approx(1.0 - 0.1 - second, rel=1e-7)


def test_streamed_moments_are_those_of_all_values_at_once() -> None:
    values = np.random.default_rng(0).normal(1e6, [1.0, 50.0], size=(1000, 2))
    moments = RunningMoments(2)
    for start in (0, 1, 300, 999):
        moments.add(values[start : {0: 1, 1: 300, 300: 999, 999: 1000}[start]])

    found = moments.standardiser()

    np.testing.assert_allclose(found.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.scale, values.std(axis=0), rtol=1e-9)


def test_a_dimension_that_never_moves_is_only_centred() -> None:
    moments = RunningMoments(1)
    moments.add(np.full((100, 1), 0.1))
    moments.add(np.full((7, 1), 0.1))

    assert np.abs(moments.standardiser().standardise(np.array([[0.1]]))).max() < 1e-9
