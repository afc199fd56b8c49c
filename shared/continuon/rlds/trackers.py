"""What one shard remembers, in bounded memory, for the questions only a whole episode answers.

A shard does not know how many steps stand before it: shards may arrive in any order. So it keeps
local numbers with byte offsets (`Mark`), and `merge` turns them into global ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

MAX_MARKS: Final = 50
"""Places remembered per kind; more are only counted. As many as are listed per code."""


class Mark(NamedTuple):
    """A step of a shard: its number within the shard and the offset of its line in bytes."""

    step: int
    offset: int


@dataclass(slots=True)
class Places:
    """The first few marks of something, and how often it occurred."""

    marks: list[Mark] = field(default_factory=list)
    count: int = 0

    def add(self, mark: Mark, times: int = 1) -> None:
        """Note `times` occurrences starting at `mark`."""
        self.count += times
        if len(self.marks) < MAX_MARKS:
            self.marks.append(mark)


@dataclass(slots=True)
class Run:
    """Consecutive steps whose `step_index` differs from the local number by `shift`."""

    shift: int
    mark: Mark
    count: int


@dataclass(slots=True)
class IndexTracker:
    """Follows `step_index`: a sound shard is one run."""

    runs: list[Run] = field(default_factory=list)
    surplus: int = 0
    _last_shift: int | None = None

    def add(self, index: int, mark: Mark) -> None:
        """Note one step's index."""
        shift = index - mark.step
        if shift == self._last_shift and not self.surplus:
            self.runs[-1].count += 1
            return
        self._last_shift = shift
        if len(self.runs) < MAX_MARKS:
            self.runs.append(Run(shift, mark, 1))
        else:
            self.surplus += shift != self.runs[0].shift

    def continues(self, indices: list[int | None], first: int) -> bool:
        """Note a batch starting at local step `first`; False (and no change) if it is not one run.

        Steps without an index are fine as long as all of the batch are.
        """
        count = len(indices)
        if indices[0] is None:
            return indices.count(None) == count
        shift = indices[0] - first
        if self.surplus or shift != self._last_shift:
            return False
        if indices != list(range(indices[0], indices[0] + count)):
            return False
        self.runs[-1].count += count
        return True


@dataclass(slots=True)
class FlagTracker:
    """Follows `is_first`, `is_last` and `is_terminal`."""

    flagged: int = 0
    bare: Places = field(default_factory=Places)
    first: Places = field(default_factory=Places)
    last: Places = field(default_factory=Places)
    terminal: Places = field(default_factory=Places)
    _previous_bare: bool = False

    def add(
        self, *, first: bool | None, last: bool | None, terminal: bool | None, mark: Mark
    ) -> None:
        """Note one step whose flags are booleans or absent."""
        if first is None:
            self._add_bare(mark)
        else:
            self.flagged += 1
            self._previous_bare = False
        for value, places in ((first, self.first), (last, self.last), (terminal, self.terminal)):
            if value:
                places.add(mark)

    def _add_bare(self, mark: Mark) -> None:
        """Count a step without flags; only the first of a run is remembered."""
        if self._previous_bare:
            self.bare.count += 1
        else:
            self.bare.add(mark)
        self._previous_bare = True

    def can_add_plain(self, *, flagged: bool) -> bool:
        """Whether `add_plain` would only count."""
        return flagged or self._previous_bare

    def add_plain(self, count: int, *, flagged: bool) -> None:
        """Count `count` steps that all have the flags, or all lack them as the step before did."""
        if flagged:
            self.flagged += count
            self._previous_bare = False
        else:
            self.bare.count += count
