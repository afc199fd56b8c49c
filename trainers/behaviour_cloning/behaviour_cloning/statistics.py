"""Mean and standard deviation of a stream, for standardising observations and actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from behaviour_cloning.network import Array

CONSTANT: Final = 1e-8
"""A dimension whose deviation is at most this share of its magnitude (or of 1) never moved: it is
only centred, since dividing would blow rounding up to full scale."""


@dataclass(frozen=True, slots=True)
class Standardiser:
    """Brings each dimension to mean 0 and deviation 1.

    Attributes:
        mean: Shape (width,).
        scale: Shape (width,); 1 where a dimension is constant.
    """

    mean: Array
    scale: Array

    def standardise(self, values: Array) -> Array:
        """Return values in units of the training split's deviation."""
        return (values - self.mean) / self.scale


class RunningMoments:
    """Combines batches by Chan's formula: one pass, no cancellation."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self._mean = np.zeros(width)
        self._squares = np.zeros(width)

    def add(self, values: Array) -> None:
        """Take values, shape (steps, width), at least one step."""
        steps = len(values)
        mean = values.mean(axis=0)
        delta = mean - self._mean
        total = self.count + steps
        self._mean += delta * (steps / total)
        self._squares += ((values - mean) ** 2).sum(axis=0)
        self._squares += delta**2 * (self.count * steps / total)
        self.count = total

    def standardiser(self) -> Standardiser:
        """Return the standardiser of what was seen so far."""
        deviation = np.sqrt(self._squares / max(self.count, 1))
        floor = CONSTANT * np.maximum(np.abs(self._mean), 1.0)
        scale = np.where(deviation > floor, deviation, 1.0)
        return Standardiser(mean=self._mean.copy(), scale=scale)
