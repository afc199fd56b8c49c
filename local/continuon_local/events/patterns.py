"""Path patterns of event triggers: ``robots/{robot}/commands/*``, ``logs/{rest=**}``."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_pattern", "match_path"]

_WILDCARD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?:=\*\*?)?\}|\*\*?")


def match_path(pattern: str, path: str) -> Mapping[str, str] | None:
    """Return the captures of ``path`` under ``pattern``, or None where it does not match.

    ``{name}`` and ``*`` stand for one segment, ``{name=**}`` and ``**`` for any number at the end;
    text around a wildcard inside a segment must match as it is.
    """
    found = _compiled(pattern).fullmatch(path.strip("/"))
    return None if found is None else found.groupdict(default="")


def check_pattern(pattern: str) -> None:
    """Refuse a malformed pattern.

    Raises:
        ValueError: The pattern has unbalanced braces or names a capture twice.
    """
    try:
        _compiled(pattern)
    except re.error as error:
        raise ValueError(f"malformed path pattern {pattern!r}: {error}") from error


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    text = pattern.strip("/")
    parts: list[str] = []
    at = 0
    while at < len(text):
        found = _WILDCARD.match(text, at)
        if found:
            _append_wildcard(parts, found, last=found.end() == len(text))
            at = found.end()
        elif text[at] in "{}":
            raise ValueError(f"malformed path pattern {pattern!r}: stray {text[at]!r}")
        else:
            parts.append(re.escape(text[at]))
            at += 1
    return re.compile("".join(parts), re.DOTALL)


def _append_wildcard(parts: list[str], found: re.Match[str], *, last: bool) -> None:
    deep = "**" in found[0]
    matched = ".+" if deep else "[^/]+"
    group = f"(?P<{found[1]}>{matched})" if found[1] else matched
    if deep and last and parts and parts[-1] == "/":
        # Zero segments are allowed too: the slash before them is then absent.
        parts[-1] = f"(?:/{group})?"
    else:
        parts.append(group)
