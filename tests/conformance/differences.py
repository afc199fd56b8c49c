"""Where we and an emulator differ on purpose: the service has the last word over its emulator.

Everything that is not listed here must agree. A listed case states both answers in short, so that
a change on either side shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

__all__ = ["DIFFERENCES", "Difference", "difference"]

OK = "answers"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One justified difference, of one case or of several with one reason.

    Attributes:
        area: The area of the cases.
        cases: Names of cases; ``*`` stands for anything.
        ours: What we do: a gRPC code, or ``answers``; ``*`` when it depends on the case.
        theirs: What the emulator does, likewise.
        why: Why ours is right, or what it costs.
    """

    area: str
    cases: tuple[str, ...]
    ours: str
    theirs: str
    why: str

    def fits(self, ours: Any, theirs: Any) -> bool:
        """Tell whether both answers are still those of the table."""
        return self.ours in {"*", _short(ours)} and self.theirs in {"*", _short(theirs)}


def difference(area: str, case: str) -> Difference | None:
    """Return the listed difference for a case, or None."""
    for item in DIFFERENCES:
        if item.area == area and any(fnmatchcase(case, name) for name in item.cases):
            return item
    return None


def _short(answer: Any) -> str:
    """Return the first refusal in an answer, or that there is none."""
    if isinstance(answer, dict):
        if "refused" in answer:
            return str(answer["refused"])
        parts: list[Any] = list(answer.values())
    else:
        parts = answer if isinstance(answer, list) else []
    return next((short for part in parts if (short := _short(part)) != OK), OK)


DIFFERENCES: tuple[Difference, ...] = ()
