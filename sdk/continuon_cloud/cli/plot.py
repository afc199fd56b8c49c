"""Curves in a terminal, in braille: two points across and four down in each cell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Curve", "plot"]

_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bit of each dot of a braille cell, by row and column (Unicode 2800)."""

_BLANK: Final = 0x2800
_LABEL_CELLS: Final = 9
_LOG_FROM: Final = 50.0
"""When the largest value is this many times the smallest, a linear scale hides the end."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line.

    Attributes:
        name: In the legend.
        style: Of Rich.
        points: (x, y), sorted by x; y is finite.
    """

    name: str
    style: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    logarithmic: bool = False

    def place(self, value: float, cells: int) -> int:
        """Return the cell of a value, from 0."""
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(value)
        share = (at - low) / (high - low) if high > low else 0.5
        return min(cells - 1, max(0, round(share * (cells - 1))))


def plot(curves: Sequence[Curve], *, width: int, height: int, title: str = "") -> Text:
    """Draw curves over one another; the later one is in front.

    Args:
        curves: What to draw; those without points are only in the legend.
        width: Cells, the labels of the axis included.
        height: Cells, without the legend and the axis below.
        title: Above the axis.
    """
    points = [point for curve in curves for point in curve.points]
    if not points:
        return Text("no numbers yet", style="dim")
    xs, ys = [x for x, _ in points], [y for _, y in points]
    across = _Scale(min(xs), max(xs))
    up = _Scale(min(ys), max(ys), min(ys) > 0 and max(ys) / min(ys) > _LOG_FROM)
    columns = max(10, width - _LABEL_CELLS - 1)
    cells = _Canvas(columns, height)
    for curve in curves:
        cells.draw(curve, across, up)
    return _framed(cells, curves, across, up, title)


class _Canvas:
    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._bits = [[0] * columns for _ in range(rows)]
        self._styles = [[""] * columns for _ in range(rows)]

    def draw(self, curve: Curve, across: _Scale, up: _Scale) -> None:
        """Draw the lines between a curve's points."""
        wide, tall = self.columns * 2, self.rows * 4
        before: tuple[int, int] | None = None
        for x, y in curve.points:
            here = across.place(x, wide), tall - 1 - up.place(y, tall)
            for column, row in _line(before or here, here):
                self._dot(column, row, curve.style)
            before = here

    def _dot(self, column: int, row: int, style: str) -> None:
        self._bits[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
        self._styles[row // 4][column // 2] = style

    def row(self, number: int) -> Text:
        """Return one row of cells."""
        text = Text()
        for bits, style in zip(self._bits[number], self._styles[number], strict=True):
            text.append(chr(_BLANK + bits) if bits else " ", style=style or None)
        return text


def _line(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the dots from ``start`` to ``end``."""
    (x0, y0), (x1, y1) = start, end
    count = max(abs(x1 - x0), abs(y1 - y0), 1)
    return [
        (x0 + round((x1 - x0) * place / count), y0 + round((y1 - y0) * place / count))
        for place in range(count + 1)
    ]


def _framed(
    cells: _Canvas, curves: Sequence[Curve], across: _Scale, up: _Scale, title: str
) -> Text:
    text = Text()
    scale = " (log scale)" if up.logarithmic else ""
    text.append(f"{title}{scale}  ", style="bold")
    for curve in curves:
        text.append(f"── {curve.name}  ", style=curve.style if curve.points else "dim")
    labels = {0: up.high, cells.rows - 1: up.low}
    for number in range(cells.rows):
        label = f"{labels[number]:.4g}" if number in labels else ""
        text.append(f"\n{label:>{_LABEL_CELLS}}", style="dim").append("│", style="dim")
        text.append_text(cells.row(number))
    text.append(f"\n{'':>{_LABEL_CELLS}}└{'─' * cells.columns}\n", style="dim")
    right = f"step {across.high:g}"
    left = f"{across.low:g}"
    gap = " " * max(1, cells.columns - len(left) - len(right))
    return text.append(f"{'':>{_LABEL_CELLS}} {left}{gap}{right}", style="dim")
