"""The functions that need no target value: conversions, and the namespaces.

Source: the namespaces of firebase.google.com/docs/reference/rules.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

import google_crc32c

from continuon_local.rules.conversions import to_float, to_integer, to_path, to_string
from continuon_local.rules.errors import EvaluationError
from continuon_local.rules.values import NANOS, Duration, LatLng, Timestamp, Value, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["FUNCTION_ARITIES", "NAMESPACES", "call_function"]

_UNIT_NANOS = {
    "w": 7 * 86_400 * NANOS,
    "d": 86_400 * NANOS,
    "h": 3_600 * NANOS,
    "m": 60 * NANOS,
    "s": NANOS,
    "ms": 1_000_000,
    "ns": 1,
}
_INT64 = 1 << 63
_NUMBER = (int, float)
_HASHED = (bytes, str)


def _date(year: int, month: int, day: int) -> Timestamp:
    try:
        moment = datetime(year, month, day, tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise EvaluationError(
            f"Date is not valid. year: {year}, month: {month} day: {day}."
        ) from error
    return Timestamp(int(moment.timestamp()) * NANOS)


def _duration(magnitude: int, unit: str) -> Duration:
    if unit not in _UNIT_NANOS:
        raise EvaluationError(f"Invalid duration unit: {unit}.")
    return Duration(magnitude * _UNIT_NANOS[unit])


def _time(hours: int, minutes: int, seconds: int, nanos: int) -> Duration:
    return Duration(((hours * 60 + minutes) * 60 + seconds) * NANOS + nanos)


def _absolute(number: float) -> float:
    if number == -_INT64 and isinstance(number, int):
        return number  # as Java's Math.abs
    return abs(number)


def _rounded(number: float) -> int:
    """Round half up, into int64; NaN is 0."""
    if isinstance(number, int):
        return number
    if math.isnan(number) or math.isinf(number):
        return to_integer(number)
    floor = math.floor(number)
    return to_integer(float(floor + (number - floor >= 0.5)))  # noqa: PLR2004 - a half


def _power(base: float, exponent: float) -> float:
    try:
        return math.pow(base, exponent)
    except ValueError:
        return math.inf if base == 0 else math.nan
    except OverflowError:
        odd = exponent == math.floor(exponent) and exponent % 2 == 1
        return -math.inf if base < 0 and odd else math.inf


def _unless_special(function: Callable[[float], int]) -> Callable[[float], float]:
    return lambda number: float(function(number)) if math.isfinite(number) else number


def _raw(data: bytes | str) -> bytes:
    return data if isinstance(data, bytes) else data.encode(errors="replace")


def _md5(data: bytes | str) -> bytes:
    return hashlib.md5(_raw(data), usedforsecurity=False).digest()


_Function: TypeAlias = "tuple[Callable[..., Value], Sequence[tuple[type, ...]]]"

_FUNCTIONS: dict[str, _Function] = {
    "int": (to_integer, ((object,),)),
    "float": (to_float, ((object,),)),
    "string": (to_string, ((object,),)),
    "path": (to_path, ((object,),)),
    "math.abs": (_absolute, (_NUMBER,)),
    "math.ceil": (_unless_special(math.ceil), (_NUMBER,)),
    "math.floor": (_unless_special(math.floor), (_NUMBER,)),
    "math.round": (_rounded, (_NUMBER,)),
    "math.sqrt": (lambda number: math.sqrt(number) if number >= 0 else math.nan, (_NUMBER,)),
    "math.pow": (_power, (_NUMBER, _NUMBER)),
    "math.isNaN": (math.isnan, (_NUMBER,)),
    "math.isInfinite": (math.isinf, (_NUMBER,)),
    "hashing.md5": (_md5, (_HASHED,)),
    "hashing.sha256": (lambda data: hashlib.sha256(_raw(data)).digest(), (_HASHED,)),
    # Both as little-endian bytes, as measured.
    "hashing.crc32": (lambda data: zlib.crc32(_raw(data)).to_bytes(4, "little"), (_HASHED,)),
    "hashing.crc32c": (
        lambda data: google_crc32c.value(_raw(data)).to_bytes(4, "little"),
        (_HASHED,),
    ),
    "timestamp.date": (_date, ((int,), (int,), (int,))),
    "timestamp.value": (lambda millis: Timestamp(millis * 1_000_000), ((int,),)),
    "duration.value": (_duration, ((int,), (str,))),
    "duration.time": (_time, ((int,), (int,), (int,), (int,))),
    "duration.abs": (lambda value: Duration(abs(value.nanos)), ((Duration,),)),
    "latlng.value": (
        lambda latitude, longitude: LatLng(float(latitude), float(longitude)),
        (_NUMBER, _NUMBER),
    ),
}

NAMESPACES = frozenset(name.partition(".")[0] for name in _FUNCTIONS if "." in name)
"""The names before the dot."""

FUNCTION_ARITIES = {name: len(accepted) for name, (_, accepted) in _FUNCTIONS.items()}
"""How many arguments each function takes."""


def call_function(name: str, arguments: Sequence[Value]) -> Value:
    """Return ``name(arguments)``; a namespace is part of the name.

    Raises:
        EvaluationError: There is no such function for these types, or it fails.
    """
    found = _FUNCTIONS.get(name)
    if found is None:
        raise EvaluationError(f"Function not found error: Name: [{name}].")
    function, accepted = found
    if len(arguments) != len(accepted):
        raise EvaluationError(
            f"Incorrect number of arguments. Received: {len(arguments)}. "
            f"Expected: {len(accepted)} for {name}."
        )
    for argument, types in zip(arguments, accepted, strict=True):
        if object not in types and type(argument) not in types:
            received = ", ".join(map(type_name, arguments))
            raise EvaluationError(f"Unsupported operation error. Received: {name}({received}).")
    return function(*arguments)
