"""Glob patterns of listings: https://cloud.google.com/storage/docs/json_api/v1/objects/list."""

from __future__ import annotations

import re

from continuon_local.storage.errors import invalid

__all__ = ["compile_glob"]

# A pattern is a parameter of a request; the service takes no longer ones than names.
_MAX_PATTERN_CHARACTERS = 1024

_TOKEN = re.compile(
    r"(?P<folders>\*\*/)|(?P<deep>\*\*)|(?P<flat>\*)|(?P<one>\?)|(?P<set>\[(?P<not>[!^]?)(?P<members>[^\]]+)\])"
    r"|(?P<open>\{)|(?P<close>\})|(?P<or>,)|\\(?P<escaped>.)|(?P<other>.)",
    re.DOTALL,
)


def compile_glob(pattern: str) -> re.Pattern[str]:
    """Return the expression that full names must match.

    ``*`` and ``?`` stop at slashes, ``**`` does not; ``[a-z]``, ``[!a-z]`` and ``{a,b}`` are known.

    Raises:
        StorageError: The pattern is malformed (400).
    """
    if len(pattern) > _MAX_PATTERN_CHARACTERS:
        raise invalid("The glob pattern is too long.")
    depth = 0
    parts: list[str] = []
    for token in _TOKEN.finditer(pattern):
        depth += (token["open"] is not None) - (token["close"] is not None)
        if depth < 0:
            break
        parts.append(_translate(token, inside=depth > 0))
    if depth != 0:
        raise invalid(f"Invalid glob pattern: {pattern}")
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error:
        raise invalid(f"Invalid glob pattern: {pattern}") from None


def _translate(token: re.Match[str], *, inside: bool) -> str:
    kind = token.lastgroup
    if token["set"] is not None:
        members = token["members"].replace("\\", "\\\\").replace("[", "\\[")
        return f"[{'^' if token['not'] else ''}{members}]"
    if kind == "or":
        return "|" if inside else ","
    if kind in {"escaped", "other"}:
        return re.escape(token[kind])
    return {
        "folders": "(?:.*/)?",
        "deep": ".*",
        "flat": "[^/]*",
        "one": "[^/]",
        "open": "(?:",
        "close": ")",
    }[str(kind)]
