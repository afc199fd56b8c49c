"""The patterns of ``firebase.json``: globs with ``:param`` captures, and RE2-style regexes.

``**`` as a whole segment is any number of segments, ``*`` and ``?`` stay inside one, ``{a,b}`` and
the extended forms ``@(a|b) ?(a) *(a) +(a) !(a)`` work as in minimatch, ``:name`` captures one
segment and ``:name*`` the rest. A leading ``!`` negates the whole pattern.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Pattern", "compile_glob", "compile_regex"]

_CAPTURE = re.compile(r":([A-Za-z_][A-Za-z0-9_]*)(\*?)")
_EXTENDED = {"@": "", "?": "?", "*": "*", "+": "+"}
_RE2_REFUSES = re.compile(r"\(\?(?:[=!]|<[=!])|\\[1-9]")
"""Lookaround and back-references: RE2, which production uses, has neither."""


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A compiled pattern."""

    expression: re.Pattern[str]
    negated: bool = False
    whole: bool = True

    def match(self, path: str) -> Mapping[str, str] | None:
        """Return the captures by name (and by number for a regex), or None without a match."""
        find = self.expression.fullmatch if self.whole else self.expression.search
        found = find(path)
        if self.negated:
            return {} if found is None else None
        if found is None:
            return None
        captures = {str(i): text or "" for i, text in enumerate(found.groups(), start=1)}
        captures.update({name: text or "" for name, text in found.groupdict().items()})
        return captures


def compile_glob(glob: str) -> Pattern:
    """Compile a glob that must match the whole path.

    Raises:
        ValueError: The glob is malformed.
    """
    negated = glob.startswith("!") and not glob.startswith("!(")
    text = glob[1:] if negated else glob
    if not text.startswith("/") and not text.startswith("**"):
        text = "/" + text
    try:
        expression = re.compile(_Translator(text).translate(), re.DOTALL)
    except re.error as error:
        raise ValueError(f"malformed glob {glob!r}: {error}") from error
    return Pattern(expression=expression, negated=negated)


def compile_regex(regex: str) -> Pattern:
    """Compile a regular expression that may match anywhere in the path.

    Raises:
        ValueError: The expression is malformed, or uses what RE2 has not.
    """
    if _RE2_REFUSES.search(regex):
        raise ValueError(f"regex {regex!r}: RE2 has no lookaround and no back-references")
    try:
        return Pattern(expression=re.compile(regex), whole=False)
    except re.error as error:
        raise ValueError(f"malformed regex {regex!r}: {error}") from error


class _Translator:
    """One pass over a glob, building the text of a regular expression."""

    def __init__(self, glob: str) -> None:
        self._glob = glob
        self._at = 0

    def translate(self) -> str:
        expression = self._until("")
        if self._at < len(self._glob):
            raise ValueError(f"unbalanced {self._glob[self._at]!r} in glob {self._glob!r}")
        return expression

    def _until(self, stops: str) -> str:
        parts = []
        while self._at < len(self._glob) and self._glob[self._at] not in stops:
            parts.append(self._next())
        return "".join(parts)

    def _next(self) -> str:
        glob, at = self._glob, self._at
        character = glob[at]
        if glob.startswith("/**", at) and glob[at + 3 : at + 4] in {"", "/"}:
            return self._any_depth()
        if glob.startswith("/:", at) and (found := _CAPTURE.match(glob, at + 1)):
            self._at = found.end()
            return rf"(?:/(?P<{found[1]}>.*))?" if found[2] else rf"/(?P<{found[1]}>[^/]+)"
        if character == ":" and (found := _CAPTURE.match(glob, at)):
            self._at = found.end()
            return rf"(?P<{found[1]}>.*)" if found[2] else rf"(?P<{found[1]}>[^/]+)"
        if character in "@?*+!" and glob[at + 1 : at + 2] == "(":
            return self._extended(character)
        return self._simple(character)

    def _any_depth(self) -> str:
        last = self._at + 3 == len(self._glob)
        self._at += 3
        # "/a/**" needs something below "/a/"; "/a/**/b" also matches "/a/b".
        return "/.*" if last else "(?:/.*)?"

    def _extended(self, kind: str) -> str:
        self._at += 2
        alternatives = self._alternatives("|", ")")
        if kind == "!":
            return rf"(?!(?:{alternatives})(?:/|$))[^/]*"
        return rf"(?:{alternatives}){_EXTENDED[kind]}"

    def _alternatives(self, separator: str, end: str) -> str:
        found = [self._until(separator + end)]
        while self._at < len(self._glob) and self._glob[self._at] == separator:
            self._at += 1
            found.append(self._until(separator + end))
        if self._at >= len(self._glob):
            raise ValueError(f"missing {end!r} in glob {self._glob!r}")
        self._at += 1
        return "|".join(found)

    def _simple(self, character: str) -> str:
        self._at += 1
        if character == "*":
            return self._star()
        if character == "?":
            return "[^/]"
        if character == "{":
            return f"(?:{self._alternatives(',', '}')})"
        if character == "[":
            return self._character_class()
        if character == "\\" and self._at < len(self._glob):
            self._at += 1
            return re.escape(self._glob[self._at - 1])
        return re.escape(character)

    def _star(self) -> str:
        if self._glob.startswith("*", self._at):
            self._at += 1
            if self._at == 2 and self._glob.startswith("/", 2):  # noqa: PLR2004 - after a leading "**"
                self._at += 1
                return "(?:.*/)?"
            return ".*"
        alone = self._glob[: self._at - 1].endswith("/") and self._glob[self._at :][:1] in {"", "/"}
        return "[^/]+" if alone else "[^/]*"

    def _character_class(self) -> str:
        end = self._glob.find("]", self._at + 1)
        if end < 0:
            return re.escape("[")
        body = self._glob[self._at : end].replace("\\", "\\\\")
        self._at = end + 1
        return f"[^{body[1:]}]" if body[0] in "!^" else f"[{body}]"
