"""The methods of values: ``'a'.size()``, ``[1].hasAny([2])``, ``request.time.year()`` ...

A method is found by the type of its target, its name, and the types of its arguments; anything else
raises EvaluationError. Source: the interfaces of firebase.google.com/docs/reference/rules.
"""

from __future__ import annotations

import base64
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from continuon_local.rules import text
from continuon_local.rules.conversions import to_string
from continuon_local.rules.errors import EvaluationError
from continuon_local.rules.values import (
    NANOS,
    BoundSegment,
    Duration,
    LatLng,
    MapDiff,
    Path,
    RulesSet,
    Timestamp,
    Value,
    check_size,
    loose_key,
    strict_key,
    type_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["METHOD_ARITIES", "call_method"]

_EARTH_RADIUS_M = 6_371_009.0
"""The mean radius that Google's evaluator uses."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _date(moment: Timestamp) -> datetime:
    return _EPOCH + timedelta(seconds=moment.nanos // NANOS)


def _seconds_towards_zero(duration: Duration) -> int:
    seconds = abs(duration.nanos) // NANOS
    return seconds if duration.nanos >= 0 else -seconds


def _distance(one: LatLng, other: LatLng) -> float:
    """Return the great-circle distance in metres."""
    south, north = math.radians(one.latitude), math.radians(other.latitude)
    east = math.radians(other.longitude - one.longitude)
    chord = (
        math.sin((north - south) / 2) ** 2
        + math.cos(south) * math.cos(north) * math.sin(east / 2) ** 2
    )
    return _EARTH_RADIUS_M * 2 * math.asin(min(1.0, math.sqrt(chord)))


def _strict_keys(values: list[Value]) -> set[Value]:
    return set(map(strict_key, values))


def _concatenated(values: list[Value], others: list[Value]) -> list[Value]:
    check_size(len(values) + len(others))
    return values + others


def _joined(values: list[Value], between: str) -> str:
    parts = list(map(to_string, values))
    check_size(sum(map(len, parts)) + len(parts) * len(between))
    return between.join(parts)


def _without(values: list[Value], removed: list[Value]) -> list[Value]:
    keys = _strict_keys(removed)
    return [value for value in values if strict_key(value) not in keys]


def _set_of(values: list[Value] | RulesSet) -> RulesSet:
    return values if isinstance(values, RulesSet) else RulesSet.of(values)


def _some(one: RulesSet, keys: Callable[[object], bool]) -> RulesSet:
    return RulesSet({key: value for key, value in one.items.items() if keys(key)})


def _map_get(fields: dict[str, Value], path: str | list[Value], default: Value) -> Value:
    value: Value = fields
    for name in [path] if isinstance(path, str) else path:
        if not isinstance(value, dict) or not isinstance(name, str) or name not in value:
            return default
        value = value[name]
    return value


def _bind(path: Path, values: dict[str, Value]) -> Path:
    names = {segment.name for segment in path.segments if isinstance(segment, BoundSegment)}
    if stray := sorted(values.keys() - names):
        raise EvaluationError(f"Variable(s) {', '.join(stray)} do not exist in the path template.")
    segments = (
        BoundSegment(segment.name, str(values.get(segment.name, segment.value)))
        if isinstance(segment, BoundSegment) and segment.name in values
        else segment
        for segment in path.segments
    )
    return Path(tuple(segments))


def _changed(diff: MapDiff, *, same: bool) -> set[str]:
    return {
        name
        for name in diff.left.keys() & diff.right.keys()
        if (loose_key(diff.left[name]) == loose_key(diff.right[name])) is same
    }


def _affected(diff: MapDiff) -> set[str]:
    return (diff.left.keys() ^ diff.right.keys()) | _changed(diff, same=False)


_LIST, _SET = (list,), (RulesSet,)
_EITHER = (list, RulesSet)
_TEXT = (str,)
_Method: TypeAlias = "tuple[Callable[..., Value], Sequence[tuple[type, ...]]]"

_METHODS: dict[tuple[type, str], _Method] = {
    (str, "lower"): (text.lower, ()),
    (str, "upper"): (text.upper, ()),
    (str, "trim"): (text.trim, ()),
    (str, "size"): (text.units, ()),
    (str, "toUtf8"): (lambda value: value.encode(errors="replace"), ()),
    (str, "matches"): (text.matches, (_TEXT,)),
    (str, "split"): (text.split, (_TEXT,)),
    (str, "replace"): (text.replace, (_TEXT, _TEXT)),
    (bytes, "size"): (len, ()),
    (bytes, "toBase64"): (lambda value: base64.urlsafe_b64encode(value).decode(), ()),
    (bytes, "toHexString"): (lambda value: value.hex().upper(), ()),
    (list, "size"): (len, ()),
    (list, "concat"): (_concatenated, (_LIST,)),
    (list, "join"): (_joined, (_TEXT,)),
    (list, "removeAll"): (_without, (_LIST,)),
    (list, "toSet"): (RulesSet.of, ()),
    (list, "hasAll"): (lambda one, two: _strict_keys(two) <= _strict_keys(one), (_LIST,)),
    (list, "hasAny"): (lambda one, two: bool(_strict_keys(one) & _strict_keys(two)), (_LIST,)),
    (list, "hasOnly"): (lambda one, two: _strict_keys(one) <= _strict_keys(two), (_LIST,)),
    (RulesSet, "size"): (lambda value: len(value.items), ()),
    (RulesSet, "union"): (lambda one, two: RulesSet({**two.items, **one.items}), (_SET,)),
    (RulesSet, "intersection"): (
        lambda one, two: _some(one, lambda key: key in two.items),
        (_SET,),
    ),
    (RulesSet, "difference"): (
        lambda one, two: _some(one, lambda key: key not in two.items),
        (_SET,),
    ),
    (RulesSet, "hasAll"): (
        lambda one, two: _set_of(two).items.keys() <= one.items.keys(),
        (_EITHER,),
    ),
    (RulesSet, "hasAny"): (
        lambda one, two: bool(_set_of(two).items.keys() & one.items.keys()),
        (_EITHER,),
    ),
    (RulesSet, "hasOnly"): (
        lambda one, two: one.items.keys() <= _set_of(two).items.keys(),
        (_EITHER,),
    ),
    (dict, "size"): (len, ()),
    (dict, "keys"): (lambda value: sorted(value, key=text.order_key), ()),
    (dict, "values"): (lambda value: list(value.values()), ()),
    (dict, "get"): (_map_get, ((str, list), (object,))),
    (dict, "diff"): (MapDiff, ((dict,),)),
    (MapDiff, "addedKeys"): (lambda diff: RulesSet.of(diff.left.keys() - diff.right.keys()), ()),
    (MapDiff, "removedKeys"): (lambda diff: RulesSet.of(diff.right.keys() - diff.left.keys()), ()),
    (MapDiff, "changedKeys"): (lambda diff: RulesSet.of(_changed(diff, same=False)), ()),
    (MapDiff, "unchangedKeys"): (lambda diff: RulesSet.of(_changed(diff, same=True)), ()),
    (MapDiff, "affectedKeys"): (lambda diff: RulesSet.of(_affected(diff)), ()),
    (Path, "bind"): (_bind, ((dict,),)),
    (Timestamp, "date"): (
        lambda moment: Timestamp(moment.nanos - moment.nanos % (86_400 * NANOS)),
        (),
    ),
    (Timestamp, "time"): (lambda moment: Duration(moment.nanos % (86_400 * NANOS)), ()),
    (Timestamp, "year"): (lambda moment: _date(moment).year, ()),
    (Timestamp, "month"): (lambda moment: _date(moment).month, ()),
    (Timestamp, "day"): (lambda moment: _date(moment).day, ()),
    (Timestamp, "dayOfWeek"): (lambda moment: _date(moment).isoweekday(), ()),
    (Timestamp, "dayOfYear"): (lambda moment: _date(moment).timetuple().tm_yday, ()),
    (Timestamp, "hours"): (lambda moment: _date(moment).hour, ()),
    (Timestamp, "minutes"): (lambda moment: _date(moment).minute, ()),
    (Timestamp, "seconds"): (lambda moment: _date(moment).second, ()),
    (Timestamp, "nanos"): (lambda moment: moment.nanos % NANOS, ()),
    (Timestamp, "toMillis"): (lambda moment: moment.nanos // 1_000_000, ()),
    (Duration, "seconds"): (_seconds_towards_zero, ()),
    (Duration, "nanos"): (
        lambda value: value.nanos - _seconds_towards_zero(value) * NANOS,
        (),
    ),
    (LatLng, "latitude"): (lambda place: place.latitude, ()),
    (LatLng, "longitude"): (lambda place: place.longitude, ()),
    (LatLng, "distance"): (_distance, ((LatLng,),)),
}

METHOD_ARITIES: dict[str, set[int]] = {}
"""How many arguments the methods of a name take, over all types."""
for (_, _name), _method in _METHODS.items():
    METHOD_ARITIES.setdefault(_name, set()).add(len(_method[1]))


def call_method(target: Value, name: str, arguments: Sequence[Value]) -> Value:
    """Return ``target.name(arguments)``.

    Raises:
        EvaluationError: There is no such method for these types, or it fails.
    """
    if target is None:
        raise EvaluationError("Null value error.")
    found = _METHODS.get((type(target), name))
    if found is None:
        raise EvaluationError(f"Function not found error: Name: [{name}].")
    function, accepted = found
    kind = type_name(target)
    if len(arguments) != len(accepted):
        raise EvaluationError(
            f"Incorrect number of arguments. Received: {len(arguments)}. "
            f"Expected: {len(accepted)} for {kind}.{name}."
        )
    for argument, types in zip(arguments, accepted, strict=True):
        if object not in types and type(argument) not in types:
            received = ", ".join(map(type_name, arguments))
            raise EvaluationError(
                f"Unsupported operation error. Received: {kind}.{name}({received})."
            )
    return function(target, *arguments)
