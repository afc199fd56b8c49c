"""The policy network. This is the module to replace: nothing else knows what is inside."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = NDArray[np.float64]


class Network(Protocol):
    """What the trainer needs of a network. Observations and actions are standardised.

    Attributes:
        parameters: Arrays by name. The optimiser changes them in place, checkpoints hold exactly
            these, and a resumed run writes them back in place.
    """

    parameters: dict[str, Array]

    def forward(self, observations: Array) -> Array:
        """Return actions, shape (steps, action width), for observations (steps, width)."""

    def loss_and_gradients(
        self, observations: Array, actions: Array
    ) -> tuple[float, dict[str, Array]]:
        """Return the mean loss and its gradient for every parameter, by name.

        It must depend on nothing but the parameters and the arguments, or a resumed run would
        differ from one that was never stopped.
        """


class NetworkFactory(Protocol):
    """Makes a network with its initial weights."""

    def __call__(
        self,
        observation_width: int,
        action_width: int,
        *,
        hidden: Sequence[int],
        rng: np.random.Generator,
    ) -> Network:
        """Return the network; every random number comes from ``rng``."""


class Mlp:
    """Fully connected layers with tanh between them and a mean squared error."""

    def __init__(
        self,
        observation_width: int,
        action_width: int,
        *,
        hidden: Sequence[int],
        rng: np.random.Generator,
    ) -> None:
        """Draw weights with Glorot's variance; biases start at zero."""
        widths = [observation_width, *hidden, action_width]
        self._layers = len(widths) - 1
        self.parameters: dict[str, Array] = {}
        for layer, (inner, outer) in enumerate(pairwise(widths)):
            scale = np.sqrt(2.0 / (inner + outer))
            self.parameters[f"w{layer}"] = rng.standard_normal((inner, outer)) * scale
            self.parameters[f"b{layer}"] = np.zeros(outer)

    def forward(self, observations: Array) -> Array:
        """Return standardised actions, shape (steps, action width)."""
        return self._activations(observations)[-1]

    def loss_and_gradients(
        self, observations: Array, actions: Array
    ) -> tuple[float, dict[str, Array]]:
        """Return the mean squared error over steps and dimensions, and its gradients."""
        activations = self._activations(observations)
        error = activations[-1] - actions
        gradients: dict[str, Array] = {}
        upstream = error * (2.0 / error.size)
        for layer in reversed(range(self._layers)):
            gradients[f"w{layer}"] = activations[layer].T @ upstream
            gradients[f"b{layer}"] = upstream.sum(axis=0)
            if layer:
                slope = 1.0 - activations[layer] ** 2  # of tanh, from its own output
                upstream = (upstream @ self.parameters[f"w{layer}"].T) * slope
        return float(np.mean(error**2)), gradients

    def _activations(self, observations: Array) -> list[Array]:
        """Return the input and the output of every layer."""
        found = [observations]
        for layer in range(self._layers):
            value = found[-1] @ self.parameters[f"w{layer}"] + self.parameters[f"b{layer}"]
            found.append(value if layer == self._layers - 1 else np.tanh(value))
        return found
