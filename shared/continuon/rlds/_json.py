"""Strict JSON for single values: UTF-8, bounded depth, no NaN, exact integers.

`msgspec` decides what is grammatical (it validates what it skips, except for UTF-8); the standard
library then builds the values, because it keeps `1e999` apart from a syntax error. Both accept a
repeated key and keep its last value, as every reader of these files in use does.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final, Literal, TypeGuard

import msgspec

from continuon.rlds.errors import EpisodeError

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["utf8", "depth", "nonfinite", "syntax"]

_GRAMMAR: Final = msgspec.json.Decoder(msgspec.Raw)
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NOT_BRACKETS: Final = bytes(c for c in range(256) if c not in b"[]{}")
_NOT_STRUCTURE: Final = bytes(c for c in range(256) if c not in b'[]{}"\\')
_NONFINITE: Final = re.compile(rb"(?<![A-Za-z])(?:NaN|-?Infinity)(?![A-Za-z])")
_MAX_INTEGER_DIGITS: Final = 64
"""Longer integers become floats: parsing huge integers takes quadratic time."""


class JsonFault(EpisodeError):  # noqa: N818 - a fault of the data, like `Fault` in rules
    """Bytes that are not one strict JSON value.

    Attributes:
        kind: Which rule was broken.
        message: What and where, for people.
        path: Dotted path of the offending value, when known.
    """

    def __init__(self, kind: Kind, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message
        self.path = path


class _NonFinite:
    """Marks where a NaN or Infinity stood."""


class DuplicateKeyError(EpisodeError):
    """A key occurs twice in one object; raised only where that is checked."""


def loads(
    data: bytes,
    *,
    max_depth: int,
    pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """Read one JSON value.

    Args:
        data: The bytes, without trailing values; surrounding white space is allowed.
        max_depth: Deepest nesting accepted.
        pairs_hook: Builds objects, for callers that look at repeated keys.

    Returns:
        The value. Numbers outside the double range come back as infinities.

    Raises:
        JsonFault: The bytes break a rule.
    """
    text = _decode(data)
    check_depth(data, max_depth)
    try:
        _GRAMMAR.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _explain(data, text, error) from error
    return json.loads(text, parse_int=_integer, object_pairs_hook=pairs_hook)


def is_finite_number(value: Any) -> TypeGuard[int | float]:
    """Whether a JSON value is a number within the range of a double."""
    if type(value) is not int and type(value) is not float:
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the double range
        return False


def unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing a repeated key.

    Raises:
        DuplicateKeyError: A key occurs twice.
    """
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DuplicateKeyError(twice)
    return result


def check_depth(data: bytes, max_depth: int) -> None:
    """Refuse nesting beyond `max_depth`, in linear time and without recursion.

    Raises:
        JsonFault: The value is nested too deeply.
    """
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return
    brackets = _STRING.sub(b"", data).translate(None, _NOT_BRACKETS)
    if _closes_within(brackets, max_depth):
        return
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > max_depth:
            raise JsonFault("depth", f"nested deeper than {max_depth} levels")


def is_shallow(data: bytes, max_depth: int) -> bool:
    """Whether values are surely nested at most `max_depth` deep; False when unsure.

    Only brackets, quotes and backslashes are kept. Without backslashes, quotes come in adjacent
    pairs exactly when no string holds a bracket.
    """
    rest = data.translate(None, _NOT_STRUCTURE)
    if b"\\" in rest:
        return False
    rest = rest.replace(b'""', b"")
    if b'"' in rest:
        return False
    return _closes_within(rest, max_depth)


def _closes_within(brackets: bytes, max_depth: int) -> bool:
    """Whether taking away innermost pairs `max_depth` times leaves nothing."""
    rest = brackets
    for _ in range(max_depth):
        if not rest:
            return True
        rest = rest.replace(b"[]", b"").replace(b"{}", b"")
    return not rest


def _decode(data: bytes) -> str:
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise JsonFault("utf8", "starts with a byte order mark")
    if b"\x00" in data:
        raise JsonFault("utf8", "contains NUL bytes (UTF-16?)")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise JsonFault("utf8", f"bad byte at offset {error.start}") from error


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_INTEGER_DIGITS else float(digits)


def _explain(data: bytes, text: str, error: Exception) -> JsonFault:
    if _NONFINITE.search(_STRING.sub(b"", data)):
        path = _find_nonfinite(text)
        if path is not None:
            return JsonFault("nonfinite", "NaN or Infinity is not JSON", path)
    return JsonFault("syntax", str(error))


def _find_nonfinite(text: str) -> str | None:
    """Return where the first NaN or Infinity stands, if that is all that is wrong."""
    try:
        value = json.loads(text, parse_int=_integer, parse_constant=lambda _: _NonFinite())
    except ValueError:
        return None
    return _search(value, "")


def _search(value: Any, path: str) -> str | None:
    if isinstance(value, _NonFinite):
        return path
    if isinstance(value, dict):
        children = ((f"{path}.{key}" if path else key, item) for key, item in value.items())
    elif isinstance(value, list):
        children = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    else:
        return None
    return next((hit for name, item in children if (hit := _search(item, name)) is not None), None)
