"""What can go wrong: a ruleset that does not load, and an expression that has no value."""

from __future__ import annotations

__all__ = ["EvaluationError", "RulesError"]


class RulesError(Exception):
    """A ruleset that Firebase would refuse to load.

    Attributes:
        message: What is wrong.
        line: Where, from 1; 0 when it is about the whole file.
        column: Where in the line, from 1; 0 when it is about the whole file.
        source_line: The offending line.
    """

    def __init__(self, message: str, *, line: int = 0, column: int = 0, source: str = "") -> None:
        self.message = message
        self.line = line
        self.column = column
        lines = source.split("\n")
        self.source_line = lines[line - 1].rstrip("\r") if 0 < line <= len(lines) else ""
        super().__init__(f"L{line}:{column} {message}")

    def within(self, source: str) -> RulesError:
        """Return the same error with the line of ``source`` it is about."""
        return RulesError(self.message, line=self.line, column=self.column, source=source)


class EvaluationError(Exception):
    """An expression has no value: wrong types, a missing property, a limit. It never grants."""
