"""Which ``match`` blocks a path falls into.

In version 2 ``{name=**}`` takes any number of segments, none included, anywhere in the pattern; in
version 1 it takes one or more at the end, and ``match /x/{rest=**}`` says nothing of ``/x``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from continuon_local.rules.nodes import Capture
from continuon_local.rules.symbolic import UNKNOWN, UNKNOWN_SEGMENTS, Unknown
from continuon_local.rules.values import Path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from continuon_local.rules.nodes import Match

__all__ = ["align", "matching_blocks"]

Captures = dict[str, Any]


def align(
    pattern: Sequence[str | Capture], segments: Sequence[Any], *, version: int
) -> Iterator[tuple[Captures, Sequence[Any]]]:
    """Yield every way in which ``pattern`` matches the beginning of ``segments``.

    Args:
        pattern: Of a ``match`` statement.
        segments: Text; for a query also unknown segments, which only captures match.
        version: Of the ruleset.

    Yields:
        The captures, and the segments that are left.
    """
    if not pattern:
        yield {}, segments
        return
    first, rest = pattern[0], pattern[1:]
    if isinstance(first, Capture) and first.many:
        for taken in range(2 - version, len(segments) + 1):
            for captures, left in align(rest, segments[taken:], version=version):
                yield {first.name: _captured_path(segments[:taken]), **captures}, left
    elif segments and _matches_one(first, segments[0]):
        for captures, left in align(rest, segments[1:], version=version):
            if isinstance(first, Capture):
                captures = {first.name: segments[0], **captures}  # noqa: PLW2901 - a new dict
            yield captures, left


def _matches_one(expected: str | Capture, segment: Any) -> bool:
    if segment is UNKNOWN_SEGMENTS:
        return False
    if isinstance(expected, Capture):
        return True
    return not isinstance(segment, Unknown) and bool(expected == segment)


def _captured_path(segments: Sequence[Any]) -> Path | Unknown:
    if all(isinstance(segment, str) for segment in segments):
        return Path(tuple(segments))
    return UNKNOWN


def matching_blocks(
    matches: Sequence[Match], segments: Sequence[Any], *, version: int
) -> Iterator[tuple[list[tuple[Match, Captures]], Match]]:
    """Yield the blocks that match all of ``segments``, each with the blocks around it.

    Yields:
        The chain of blocks from the outermost with their captures, and the innermost block.
    """
    for match in matches:
        for captures, left in align(match.segments, segments, version=version):
            link = (match, captures)
            if not left:
                yield [link], match
            for chain, inner in matching_blocks(match.matches, left, version=version):
                yield [link, *chain], inner
