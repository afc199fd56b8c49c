"""Adam (Kingma and Ba, 2015, algorithm 1), with its state in plain arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from behaviour_cloning.network import Array

BETA_1: Final = 0.9
BETA_2: Final = 0.999
EPSILON: Final = 1e-8


class Adam:
    """The optimiser of a set of parameters.

    Attributes:
        step_count: Steps taken.
        first: Running mean of the gradients, by name.
        second: Running mean of their squares, by name.
    """

    def __init__(self, parameters: dict[str, Array], learning_rate: float) -> None:
        self._parameters = parameters
        self._learning_rate = learning_rate
        self.step_count = 0
        self.first = {name: np.zeros_like(value) for name, value in parameters.items()}
        self.second = {name: np.zeros_like(value) for name, value in parameters.items()}

    def step(self, gradients: dict[str, Array]) -> None:
        """Change the parameters in place."""
        self.step_count += 1
        correction_1 = 1.0 - BETA_1**self.step_count
        correction_2 = 1.0 - BETA_2**self.step_count
        for name, gradient in gradients.items():
            first, second = self.first[name], self.second[name]
            first *= BETA_1
            first += (1.0 - BETA_1) * gradient
            second *= BETA_2
            second += (1.0 - BETA_2) * gradient**2
            rate = self._learning_rate / correction_1
            self._parameters[name] -= rate * first / (np.sqrt(second / correction_2) + EPSILON)
