"""The same policy in JAX, for whom automatic gradients are easier to change than written ones.

Needs ``pip install continuon-behaviour-cloning[jax]``; then
``--network behaviour_cloning.jax_network:JaxMlp``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from behaviour_cloning.network import Mlp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from behaviour_cloning.network import Array

# Checkpoints hold float64; JAX would round to 32 bits without a word.
jax.config.update("jax_enable_x64", True)  # noqa: FBT003 - JAX's own signature


class JaxMlp:
    """Fully connected layers with tanh between them; `Mlp` with its gradients left to JAX."""

    def __init__(
        self,
        observation_width: int,
        action_width: int,
        *,
        hidden: Sequence[int],
        rng: np.random.Generator,
    ) -> None:
        """Draw the weights that `Mlp` would draw."""
        self.parameters = Mlp(observation_width, action_width, hidden=hidden, rng=rng).parameters
        self._forward = jax.jit(_forward)
        self._loss_and_gradients = jax.jit(jax.value_and_grad(_loss))

    def forward(self, observations: Array) -> Array:
        """Return standardised actions, shape (steps, action width)."""
        return np.asarray(self._forward(self.parameters, observations), dtype=np.float64)

    def loss_and_gradients(
        self, observations: Array, actions: Array
    ) -> tuple[float, dict[str, Array]]:
        """Return the mean squared error over steps and dimensions, and its gradients."""
        loss, gradients = self._loss_and_gradients(self.parameters, observations, actions)
        return float(loss), {name: np.asarray(value) for name, value in gradients.items()}


def _forward(parameters: dict[str, Any], observations: Any) -> Any:
    value = observations
    layers = len(parameters) // 2
    for layer in range(layers):
        value = value @ parameters[f"w{layer}"] + parameters[f"b{layer}"]
        if layer < layers - 1:
            value = jnp.tanh(value)
    return value


def _loss(parameters: dict[str, Any], observations: Any, actions: Any) -> Any:
    return jnp.mean((_forward(parameters, observations) - actions) ** 2)
