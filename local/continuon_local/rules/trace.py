"""Why a decision came out as it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from continuon_local.rules.literals import quote
from continuon_local.rules.symbolic import SymbolicMap, Unknown
from continuon_local.rules.text import float_text
from continuon_local.rules.values import (
    NANOS,
    Duration,
    LatLng,
    MapDiff,
    Path,
    RulesSet,
    Timestamp,
)

__all__ = ["Decision", "TraceEntry", "describe"]

_MAX_SHOWN = 200


@dataclass(frozen=True, slots=True)
class TraceEntry:
    """One evaluated condition, or one operand of its logic.

    Attributes:
        line: Where it begins, from 1.
        column: The same.
        expression: Its source in normal form.
        outcome: Its value as the language writes it, or the error.
        failed: Whether ``outcome`` is an error.
    """

    line: int
    column: int
    expression: str
    outcome: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request is allowed, and what was evaluated on the way.

    Attributes:
        allowed: The decision.
        trace: What was evaluated, inner before outer; empty when no ``match`` or ``allow`` applies.
    """

    allowed: bool
    trace: tuple[TraceEntry, ...]

    def explain(self) -> str:
        """Return the trace as lines of text."""
        if not self.trace:
            return "No match and allow statement applies."
        return "\n".join(
            f"L{entry.line}:{entry.column} {entry.expression} -> "
            f"{'error: ' if entry.failed else ''}{entry.outcome}"
            for entry in self.trace
        )


def describe(value: Any) -> str:
    """Write a value for a person, shortened."""
    text = _describe(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _describe(value: Any) -> str:  # noqa: C901, PLR0911, PLR0912 - one case per type
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return quote(value)
        case int():
            return str(value)
        case float():
            return float_text(value)
        case bytes():
            return f"bytes({len(value)})"
        case list():
            return "[" + ", ".join(map(_describe, value)) + "]"
        case dict():
            pairs = (f"{quote(name)}: {_describe(item)}" for name, item in value.items())
            return "{" + ", ".join(pairs) + "}"
        case RulesSet():
            return f"{_describe(list(value.items.values()))}.toSet()"
        case Path():
            return value.text()
        case Timestamp():
            return f"timestamp({value.nanos / NANOS:.3f} s)"
        case Duration():
            return f"duration({value.nanos / NANOS:.3f} s)"
        case LatLng():
            return f"latlng({value.latitude}, {value.longitude})"
        case MapDiff():
            return "diff"
        case Unknown() | SymbolicMap():
            return "not known for every result"
        case _:
            return "?"
