"""Firestore's values as security rules see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from continuon_local.firestore.paths import split_name
from continuon_local.rules.values import NANOS, LatLng, Path, Timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from continuon_local.firestore.messages import Message

__all__ = ["claims_value", "fields_value", "timestamp_of", "to_rules"]

_INT64 = 1 << 63
_NANOS_PER_MICROSECOND = 1_000


def timestamp_of(microseconds: int) -> Timestamp:
    """Return a version or read time as rules see it."""
    return Timestamp(microseconds * _NANOS_PER_MICROSECOND)


def fields_value(fields: Message) -> dict[str, Any]:
    """Return the fields of a document or map."""
    return {name: to_rules(value) for name, value in fields.items()}


def _reference(name: str) -> Path:
    database, segments = split_name(name)
    return Path(("databases", database.rpartition("/")[2], "documents", *segments))


def _moment(value: Message) -> Timestamp:
    time = value.timestamp_value
    return Timestamp(time.seconds * NANOS + time.nanos)


_CONVERSIONS: dict[str | None, Callable[[Message], Any]] = {
    None: lambda _: None,
    "null_value": lambda _: None,
    "boolean_value": lambda value: value.boolean_value,
    "integer_value": lambda value: value.integer_value,
    "double_value": lambda value: value.double_value,
    "timestamp_value": _moment,
    "string_value": lambda value: value.string_value,
    "bytes_value": lambda value: value.bytes_value,
    "reference_value": lambda value: _reference(value.reference_value),
    "geo_point_value": lambda value: LatLng(
        value.geo_point_value.latitude, value.geo_point_value.longitude
    ),
    "array_value": lambda value: [to_rules(item) for item in value.array_value.values],
    "map_value": lambda value: fields_value(value.map_value.fields),
}


def to_rules(value: Message) -> Any:
    """Return one value; a reference is a path, a vector the map it is stored as.

    Raises:
        StatusError: INVALID_ARGUMENT for a reference to no document name.
    """
    return _CONVERSIONS[value.WhichOneof("value_type")](value)


def _claim_value(value: Any) -> Any:
    """Return a claim of a token, which is JSON: integers beyond 64 bits become floats."""
    if isinstance(value, list):
        return [_claim_value(item) for item in value]
    if isinstance(value, dict):
        return claims_value(value)
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return float(value) if abs(value) < 1 << 1000 else None
    return value


def claims_value(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return all claims of a token."""
    return {name: _claim_value(value) for name, value in claims.items()}
