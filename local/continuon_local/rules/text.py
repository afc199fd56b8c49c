"""Text as the rules see it: UTF-16 units, RE2 expressions, Java's numbers.

Google's evaluator counts and orders strings by UTF-16 code units, changes the case of ASCII letters
only, and writes floats as Java does.
"""

from __future__ import annotations

import functools
import math
import re
from decimal import Decimal

import re2

from continuon_local.rules.errors import EvaluationError
from continuon_local.rules.values import check_size

__all__ = [
    "compile_pattern",
    "cut",
    "float_text",
    "lower",
    "matches",
    "order_key",
    "replace",
    "split",
    "trim",
    "units",
    "upper",
]

_CASE = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {code + 32: code for code in range(ord("A"), ord("Z") + 1)}
_WHITESPACE = "".join(map(chr, range(0x21)))
_REPLACEMENT = re.compile(r"\\(.)|\$(\d+)|\$\{(\w+)\}|(\$|\\)", re.DOTALL)
_PLAIN_EXPONENTS = range(-3, 7)
_NO_LOG = re2.Options()
_NO_LOG.log_errors = False


def order_key(text: str) -> bytes:
    """Return bytes that sort as the rules sort strings."""
    return text.encode("utf-16-be", "surrogatepass")


def units(text: str) -> int:
    """Return the length in UTF-16 units."""
    return len(order_key(text)) // 2


def cut(text: str, start: int, end: int) -> str:
    """Return the UTF-16 units from ``start`` to ``end``."""
    return order_key(text)[2 * start : 2 * end].decode("utf-16-be", "surrogatepass")


def lower(text: str) -> str:
    """Return ``text`` with ASCII letters in lower case."""
    return text.translate(_CASE)


def upper(text: str) -> str:
    """Return ``text`` with ASCII letters in upper case."""
    return text.translate(_UPPER)


def trim(text: str) -> str:
    """Return ``text`` without ASCII spaces and controls at its ends."""
    return text.strip(_WHITESPACE)


@functools.lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> re2._Regexp:
    """Compile an RE2 expression.

    Raises:
        EvaluationError: RE2 does not accept it.
    """
    try:
        return re2.compile(pattern, _NO_LOG)
    except (re2.error, UnicodeError) as error:
        raise EvaluationError(f"Invalid regular expression pattern. Pattern: {pattern}.") from error


def matches(text: str, pattern: str) -> bool:
    """Tell whether the expression matches all of ``text``.

    Raises:
        EvaluationError: The expression is invalid, or ``text`` is not Unicode.
    """
    compiled = compile_pattern(pattern)
    return compiled.fullmatch(_searchable(text)) is not None


def _searchable(text: str) -> str:
    try:
        text.encode()
    except UnicodeError as error:
        raise EvaluationError("The string is half of a surrogate pair.") from error
    return text


def replace(text: str, pattern: str, replacement: str) -> str:
    r"""Replace every match; ``$1`` is a group and a backslash quotes what follows.

    Raises:
        EvaluationError: The expression is invalid, or the replacement names no group.
    """
    compiled, out, end, size = compile_pattern(pattern), [], 0, len(text)
    for found in compiled.finditer(_searchable(text)):
        out += [text[end : found.start()], _filled(replacement, found)]
        end = found.end()
        size += len(out[-1])
        check_size(size)
    return "".join((*out, text[end:]))


def _filled(replacement: str, found: re2._Match[str]) -> str:
    def part(piece: re.Match[str]) -> str:
        quoted, number, name, stray = piece.groups()
        if quoted is not None:
            return str(quoted)
        if stray is not None:
            raise EvaluationError(f"Invalid replacement: {replacement}.")
        try:
            return found.group(int(number) if number else name) or ""
        except (IndexError, KeyError, re2.error) as error:
            raise EvaluationError(f"Invalid replacement: {replacement}.") from error

    return _REPLACEMENT.sub(part, replacement)


def split(text: str, pattern: str) -> list[str]:
    """Split at every match; empty strings at the end are left out.

    Raises:
        EvaluationError: The expression is invalid.
    """
    compiled, parts, end = compile_pattern(pattern), [], 0
    for found in compiled.finditer(_searchable(text)):
        if found.start() == found.end() == len(text):
            break
        parts.append(text[end : found.start()])
        end = found.end()
    parts.append(text[end:])
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return parts


def float_text(number: float) -> str:
    """Return ``number`` as Java writes it: ``1.0``, ``1.0E8``, ``NaN``, ``Infinity``."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    if number == 0:
        return "-0.0" if math.copysign(1, number) < 0 else "0.0"
    sign, digits, _ = Decimal(repr(number)).as_tuple()
    exponent = Decimal(repr(number)).adjusted()
    if exponent in _PLAIN_EXPONENTS:
        text = f"{Decimal(repr(number)):f}"
        return text if "." in text else f"{text}.0"
    significant = "".join(map(str, digits)).rstrip("0")
    mantissa = f"{significant[0]}.{significant[1:] or '0'}"
    return f"{'-' if sign else ''}{mantissa}E{exponent}"
