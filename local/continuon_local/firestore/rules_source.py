"""Where the rules in force come from: a file that may change, or what a test has set."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from continuon_local.firestore.access import RulesIssue
from continuon_local.rules import RulesError, Ruleset

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["RulesSource"]

_LOG = logging.getLogger(__name__)


class RulesSource:
    """The ruleset of each project.

    Args:
        path: ``firestore.rules``, for every project that has no rules of its own; it is read again
            when it changes. Without a file, or with one that does not load, nobody but an
            administrator may do anything.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._of_file: Ruleset | None = None
        self._by_project: dict[str, Ruleset] = {}

    def ruleset(self, project_id: str) -> Ruleset | None:
        """Return the rules in force for a project, None when there are none."""
        own = self._by_project.get(project_id)
        return self._from_file() if own is None else own

    def set_rules(self, project_id: str, source: str) -> Sequence[RulesIssue]:
        """Put a ruleset in force for a project; one with errors changes nothing.

        Returns:
            What is wrong with it.
        """
        try:
            ruleset = Ruleset.parse(source)
        except RulesError as error:
            return [RulesIssue(error.message, error.line, error.column)]
        self._by_project[project_id] = ruleset
        return [
            RulesIssue(issue.message, issue.at.line, issue.at.column, "WARNING")
            for issue in ruleset.warnings
        ]

    def _from_file(self) -> Ruleset | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            if stamp != self._stamp:
                self._stamp, self._of_file = stamp, None
                self._of_file = Ruleset.parse(self._path.read_text(encoding="utf-8"))
        except RulesError as error:
            _LOG.error("%s: %s\n%s", self._path, error, error.source_line)
        except (OSError, UnicodeError) as error:
            self._stamp = self._of_file = None
            _LOG.error("%s cannot be read: %s", self._path, error)
        return self._of_file
