"""The values of the rules language, what equals what, and what they are called.

Python stands in where it fits: ``None``, ``bool``, ``int``, ``float``, ``str``, ``bytes``, ``list``
and ``dict``. The other types are here.

There are two equalities. ``==`` compares two numbers by value (``1 == 1.0``), and everything else
by type and value (``[1] != [1.0]``); ``in`` on a list goes by type and value too. Sets and ``diff``
compare numbers by value at every depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from continuon_local.rules.errors import EvaluationError
from continuon_local.rules.limits import MAX_VALUE_SIZE
from continuon_local.rules.symbolic import SymbolicMap, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "NANOS",
    "BoundSegment",
    "Duration",
    "LatLng",
    "MapDiff",
    "Path",
    "RulesSet",
    "Timestamp",
    "Value",
    "check_size",
    "equal",
    "loose_key",
    "strict_key",
    "type_name",
]

Value: TypeAlias = Any
"""A value of the rules language; what exactly, only the rules know."""

NANOS = 1_000_000_000
_MIN_TIMESTAMP_S, _MAX_TIMESTAMP_S = -62_135_596_800, 253_402_300_799
_MAX_DURATION_S = 315_576_000_000


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A moment, in nanoseconds since 1970, from year 1 to year 9999."""

    nanos: int

    def __post_init__(self) -> None:
        if not _MIN_TIMESTAMP_S <= self.nanos // NANOS <= _MAX_TIMESTAMP_S:
            raise EvaluationError("Timestamp is not valid: it is not in the years 1 to 9999.")


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time in nanoseconds, up to 10,000 years."""

    nanos: int

    def __post_init__(self) -> None:
        if abs(self.nanos) > _MAX_DURATION_S * NANOS:
            raise EvaluationError("Duration is not valid: it is longer than 10,000 years.")


@dataclass(frozen=True, slots=True)
class LatLng:
    """A place on the globe, in degrees."""

    latitude: float
    longitude: float

    def __post_init__(self) -> None:
        if not (-90 <= self.latitude <= 90 and -180 <= self.longitude <= 180):  # noqa: PLR2004
            raise EvaluationError(
                "Latitude should be in [-90,90] range and longitude should be in [-180,180] range."
            )


@dataclass(frozen=True, slots=True)
class BoundSegment:
    """A capture in a path: ``{name}`` of a literal, with its value once bound."""

    name: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Path:
    """``/a/b``; segments are text, or captures that a literal left open."""

    segments: tuple[str | BoundSegment, ...]

    def text(self) -> str:
        """Return the path as text, with a slash before every segment."""
        return "".join(f"/{_segment_text(segment)}" for segment in self.segments)


def _segment_text(segment: str | BoundSegment) -> str:
    if isinstance(segment, str):
        return segment
    return f"{{{segment.name}}}" if segment.value is None else segment.value


@dataclass(frozen=True, slots=True)
class RulesSet:
    """A set: unique items in the order of their first appearance, by their loose keys."""

    items: dict[Any, Value] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Iterable[Value]) -> RulesSet:
        """Return the set of ``values``."""
        items: dict[Any, Value] = {}
        for value in values:
            items.setdefault(loose_key(value), value)
        return cls(items)


@dataclass(frozen=True, slots=True, eq=False)
class MapDiff:
    """The keys of two maps compared: what ``left.diff(right)`` returns."""

    left: dict[str, Value]
    right: dict[str, Value]


_TYPE_NAMES: dict[type, str] = {
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "float",
    str: "string",
    bytes: "bytes",
    list: "list",
    dict: "map",
    Timestamp: "timestamp",
    Duration: "duration",
    LatLng: "latlng",
    Path: "path",
    RulesSet: "set",
    MapDiff: "map_diff",
    Unknown: "unknown",
    SymbolicMap: "map",
}


def type_name(value: Value) -> str:
    """Return what the language calls the type of ``value``."""
    return _TYPE_NAMES[type(value)]


def check_size(size: int) -> None:
    """Refuse a string or list that would be too large.

    Raises:
        EvaluationError: It would have more than MAX_VALUE_SIZE characters or items.
    """
    if size > MAX_VALUE_SIZE:
        raise EvaluationError(f"The value has more than {MAX_VALUE_SIZE} characters or items.")


def _float_key(value: float) -> Any:
    return "NaN" if math.isnan(value) else value


def _unlike_itself(value: float) -> Any:
    return object() if math.isnan(value) else value


def strict_key(value: Value) -> Any:
    """Return a hashable key, equal for values of the same type and content at every depth."""
    return _key(value, lambda number: (type(number).__name__, _unlike_itself(number)))


def loose_key(value: Value) -> Any:
    """Like :func:`strict_key`, but an integer equals the float of the same value."""
    return _key(value, lambda number: ("number", _float_key(float(number))))


def _key(value: Value, number_key: Callable[[Any], Any]) -> Any:
    if isinstance(value, bool | None):
        return ("constant", value)
    if isinstance(value, int | float):
        return number_key(value)
    if isinstance(value, list):
        return ("list", tuple(_key(item, number_key) for item in value))
    if isinstance(value, dict):
        pairs = frozenset((name, _key(item, number_key)) for name, item in value.items())
        return ("map", pairs)
    if isinstance(value, RulesSet):
        return ("set", frozenset(value.items))
    return value


def equal(left: Value, right: Value) -> bool:
    """Tell whether ``left == right`` in the rules language."""
    if _is_number(left) and _is_number(right):
        return float(left) == float(right) if type(left) is not type(right) else left == right
    return bool(strict_key(left) == strict_key(right))


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
