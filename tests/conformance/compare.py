"""Our answers beside the reference's: agree, known difference, disagree."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.answers import same, same_words
from conformance.areas import AREAS
from conformance.differences import difference

if TYPE_CHECKING:
    from conformance.driver import Answers

__all__ = ["Row", "compare", "load", "save"]

RECORDED = Path(__file__).resolve().parent / "recorded"


@dataclass
class Row:
    """One area of the table.

    Attributes:
        agree: Cases with the same answer, or the same code for a refusal.
        other_words: Those among them whose refusals are worded differently.
        known: Cases that differ and are listed, with a reason, in the table of differences.
        disagree: Names of the cases that differ without being listed.
        stale: Names of listed cases that agree after all.
    """

    service: str
    area: str
    agree: int = 0
    other_words: int = 0
    known: int = 0
    disagree: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        """How many cases were compared."""
        return self.agree + self.known + len(self.disagree)

    def count(self, case: str, ours: Any, theirs: Any) -> None:
        """Sort one pair of answers into its column."""
        listed = difference(self.area, case)
        if same(ours, theirs):
            self.agree += 1
            self.other_words += not same_words(ours, theirs)
            if listed is not None:
                self.stale.append(case)
        elif listed is not None and listed.fits(ours, theirs):
            self.known += 1
        else:
            self.disagree.append(case)


def compare(ours: Answers, theirs: Answers) -> list[Row]:
    """Return one row for each area that was asked of us."""
    rows = []
    for area in AREAS:
        if area.name not in ours:
            continue
        row = Row(area.service, area.name)
        for case, answer in ours[area.name].items():
            reference = theirs.get(area.name, {})
            row.count(case, answer, reference.get(case, {"refused": "no recorded answer"}))
        rows.append(row)
    return rows


def load() -> dict[str, Any]:
    """Return the recorded answers: ``reference`` (versions) and ``answers`` by area."""
    found: dict[str, Any] = {"reference": "", "answers": {}}
    for path in sorted(RECORDED.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        found["reference"] = document["reference"]
        found["answers"].update(document["answers"])
    return found


def save(answers: Answers, reference: str) -> None:
    """Write the reference's answers, one file for each service."""
    RECORDED.mkdir(exist_ok=True)
    for service in sorted({area.service for area in AREAS}):
        kept = [area for area in AREAS if area.service == service and area.recorded]
        names = [area.name for area in kept if area.name in answers]
        document = {"reference": reference, "answers": {name: answers[name] for name in names}}
        # One case a line: a renewed answer is a readable change.
        lines = ["{", f'"reference": {json.dumps(reference)},', '"answers": {']
        for position, name in enumerate(names):
            cases = document["answers"][name]  # type: ignore[index]
            lines.append(f"{json.dumps(name)}: {{")
            rows = [f"{json.dumps(case)}: {_line(answer)}" for case, answer in cases.items()]
            lines += [row + "," for row in rows[:-1]] + rows[-1:]
            lines.append("}" if position == len(names) - 1 else "},")
        lines += ["}", "}"]
        (RECORDED / f"{service}.json").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(answer: Any) -> str:
    return json.dumps(answer, sort_keys=True)
