"""From one type to another: ``int()``, ``float()``, ``string()``, ``path()``."""

from __future__ import annotations

import math
import re

from continuon_local.rules.errors import EvaluationError
from continuon_local.rules.text import float_text
from continuon_local.rules.values import BoundSegment, Path, Value, type_name

__all__ = ["to_float", "to_integer", "to_path", "to_string"]

_INTEGER = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?(NaN|Infinity|([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[fFdD]?)")
_MAX_DIGITS = 400
_INT64 = 1 << 63
_CAPTURE = re.compile(r"\{(\w+)\}", re.ASCII)


def _unsupported(name: str, value: Value) -> EvaluationError:
    return EvaluationError(f"Unsupported operation error. Received: {name}({type_name(value)}).")


def _inconvertible(value: str, name: str) -> EvaluationError:
    return EvaluationError(
        f"Type conversion error. Argument: [{value}], From type: [string], To type: [{name}]."
    )


def to_integer(value: Value) -> int:
    """Convert a number (towards zero, within int64) or decimal text.

    Raises:
        EvaluationError: It is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            return 0
        limited = max(-float(_INT64), min(float(_INT64), value))
        return min(int(limited), _INT64 - 1)
    if not isinstance(value, str):
        raise _unsupported("int", value)
    if len(value) > _MAX_DIGITS or not _INTEGER.fullmatch(value):
        raise _inconvertible(value[:_MAX_DIGITS], "int")
    number = int(value)
    if not -_INT64 <= number < _INT64:
        raise _inconvertible(value, "int")
    return number


def to_float(value: Value) -> float:
    """Convert a number or text, surrounding spaces allowed.

    Raises:
        EvaluationError: It is neither.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        raise _unsupported("float", value)
    stripped = value.strip()
    if len(stripped) > _MAX_DIGITS or not _FLOAT.fullmatch(stripped):
        raise _inconvertible(value[:_MAX_DIGITS], "float")
    return float(stripped.rstrip("fFdD") if stripped[-1] in "fFdD" else stripped)


def to_string(value: Value) -> str:
    """Convert null, a boolean, a number, a path or text.

    Raises:
        EvaluationError: It is none of these.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, Path):
        return value.text()
    if isinstance(value, str):
        return value
    raise _unsupported("string", value)


def to_path(value: Value) -> Path:
    """Convert text with slashes; ``{name}`` is a capture to bind.

    Raises:
        EvaluationError: It is not text, or a segment is empty.
    """
    if not isinstance(value, str):
        raise _unsupported("path", value)
    if not value:
        raise EvaluationError("Empty Path Template is not allowed.")
    parts = value.removeprefix("/").split("/")
    if "" in parts:
        raise EvaluationError(f"Invalid Path Template {value}. Empty segment is not allowed.")
    captures = (_CAPTURE.fullmatch(part) for part in parts)
    return Path(
        tuple(
            BoundSegment(found[1]) if found else part
            for part, found in zip(parts, captures, strict=True)
        )
    )
