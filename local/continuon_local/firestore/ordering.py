"""The order of Firestore values, as bytes that compare the same way.

``encode_value(a) < encode_value(b)`` exactly when Firestore sorts ``a`` before ``b``, and equal
bytes mean equal values (1 equals 1.0, 0.0 equals -0.0). No encoding is the beginning of
another's, so encodings can be concatenated, and inverted bit by bit for descending order. See
https://firebase.google.com/docs/firestore/manage-data/data-types#value_type_ordering.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from continuon_local.firestore.paths import encode_segment

if TYPE_CHECKING:
    from collections.abc import Callable

    from continuon_local.firestore.messages import Message

__all__ = [
    "VECTOR_MARK",
    "encode_path",
    "encode_value",
    "invert",
    "is_nan",
    "is_vector",
    "type_range",
]

VECTOR_MARK = "__vector__"
"""A vector is stored as a map ``{"__type__": "__vector__", "value": [...]}``."""

_NULL = b"\x05"
_BOOLEAN = b"\x10"
_NUMBER = b"\x15"
_TIMESTAMP = b"\x20"
_STRING = b"\x25"
_BYTES = b"\x30"
_REFERENCE = b"\x37"
_GEO_POINT = b"\x40"
_ARRAY = b"\x50"
_VECTOR = b"\x55"
_MAP = b"\x60"
_END = b"\x00"

_NAN = _NUMBER + b"\x00"
_SIGN = 1 << 63
_ALL = (1 << 64) - 1
_EXACT_INTEGERS = 1 << 53
_INVERTED = bytes(255 - byte for byte in range(256))
_pack_double = struct.Struct(">d").pack
_unpack_bits = struct.Struct(">Q").unpack
_pack_number = struct.Struct(">QH").pack
_pack_bits = struct.Struct(">Q").pack
_pack_time = struct.Struct(">QI").pack


def invert(key: bytes) -> bytes:
    """Return bytes that sort the other way round."""
    return key.translate(_INVERTED)


def is_vector(fields: Message) -> bool:
    """Tell whether the fields of a map are those of a vector."""
    return "__type__" in fields and fields["__type__"].string_value == VECTOR_MARK


def is_nan(value: Message) -> bool:
    """Tell whether ``value`` is the double NaN."""
    return value.WhichOneof("value_type") == "double_value" and math.isnan(value.double_value)


def _double_bits(number: float) -> int:
    bits: int = _unpack_bits(_pack_double(number + 0.0))[0]
    return bits ^ _ALL if bits & _SIGN else bits | _SIGN


def _encode_double(number: float) -> bytes:
    if number != number:  # noqa: PLR0124 - the cheapest test for NaN
        return _NAN
    return _NUMBER + b"\x01" + _pack_number(_double_bits(number), 0)


def _encode_integer(number: int) -> bytes:
    """Encode as the largest double not above the integer, and the rest (below 1,024)."""
    floor = float(number)
    if -_EXACT_INTEGERS <= number <= _EXACT_INTEGERS:
        return _NUMBER + b"\x01" + _pack_number(_double_bits(floor), 0)
    if int(floor) > number:
        floor = math.nextafter(floor, -math.inf)
    return _NUMBER + b"\x01" + _pack_number(_double_bits(floor), number - int(floor))


def _encode_timestamp(value: Message) -> bytes:
    time = value.timestamp_value
    return _TIMESTAMP + _pack_time(time.seconds + _SIGN, time.nanos)


def _escape(raw: bytes) -> bytes:
    if b"\x00" in raw:
        raw = raw.replace(b"\x00", b"\x00\xff")
    return raw + b"\x00\x01"


def encode_path(name: str) -> bytes:
    """Encode a resource name: segment by segment, shorter before longer."""
    parts = name.split("/")
    # "projects", "databases" and "documents" are the same in every name.
    named = (*parts[1:2], *parts[3:4], *parts[5:])
    return b"".join([encode_segment(part) for part in named]) + _END


def _encode_array(values: Message) -> bytes:
    return b"".join([encode_value(value) for value in values]) + _END


def _encode_map(value: Message) -> bytes:
    fields = value.map_value.fields
    if is_vector(fields):
        elements = fields["value"].array_value.values
        return _VECTOR + struct.pack(">I", len(elements)) + _encode_array(elements)
    pairs = [
        b"\x01" + _escape(name.encode()) + encode_value(fields[name]) for name in sorted(fields)
    ]
    return _MAP + b"".join(pairs) + _END


def _encode_geo_point(value: Message) -> bytes:
    point = value.geo_point_value
    return (
        _GEO_POINT
        + _pack_bits(_double_bits(point.latitude))
        + _pack_bits(_double_bits(point.longitude))
    )


_ENCODERS: dict[str | None, Callable[[Message], bytes]] = {
    None: lambda _: _NULL,
    "null_value": lambda _: _NULL,
    "boolean_value": lambda value: _BOOLEAN + (b"\x01" if value.boolean_value else b"\x00"),
    "integer_value": lambda value: _encode_integer(value.integer_value),
    "double_value": lambda value: _encode_double(value.double_value),
    "timestamp_value": _encode_timestamp,
    "string_value": lambda value: _STRING + _escape(value.string_value.encode()),
    "bytes_value": lambda value: _BYTES + _escape(value.bytes_value),
    "reference_value": lambda value: _REFERENCE + encode_path(value.reference_value),
    "geo_point_value": _encode_geo_point,
    "array_value": lambda value: _ARRAY + _encode_array(value.array_value.values),
    "map_value": _encode_map,
}


def encode_value(value: Message) -> bytes:
    """Return the bytes whose order is the order of ``value``."""
    return _ENCODERS[value.WhichOneof("value_type")](value)


def type_range(encoded: bytes) -> tuple[bytes, bytes]:
    """Return the half-open range of all values comparable with an encoded one.

    An inequality matches values of the same type only; NaN compares with no other number.
    """
    tag = encoded[:2] if encoded[:1] == _NUMBER else encoded[:1]
    return tag, tag[:-1] + bytes([tag[-1] + 1])
