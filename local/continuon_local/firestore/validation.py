"""What a document may contain, and how large it is as Google counts."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from continuon_local.firestore.errors import invalid_argument
from continuon_local.firestore.limits import (
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    MAX_FIELD_NAME_BYTES,
    MAX_PROPERTY_BYTES,
    MAX_VECTOR_DIMENSIONS,
)
from continuon_local.firestore.paths import parse_document_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from continuon_local.firestore.messages import Message

__all__ = [
    "check_document",
    "check_fields",
    "check_geo_point",
    "check_map_key",
    "document_size",
    "value_size",
]

_RESERVED = re.compile(r"__.*__", re.DOTALL)
_MIN_SECONDS = -62_135_596_800  # 0001-01-01
_MAX_SECONDS = 253_402_300_799  # 9999-12-31
_MAX_NANOS = 999_999_999
_MAX_LATITUDE = 90.0
_MAX_LONGITUDE = 180.0
_WORTH_MEASURING_BYTES = 100_000
"""A value takes at most 8 times its encoding, so smaller messages are under the limit."""

_DOCUMENT_OVERHEAD_BYTES = 32
_NAME_OVERHEAD_BYTES = 16
_FIXED_SIZES = {
    None: 1,
    "null_value": 1,
    "boolean_value": 1,
    "integer_value": 8,
    "double_value": 8,
    "timestamp_value": 8,
    "geo_point_value": 16,
}


def check_map_key(name: str) -> None:
    """Refuse a reserved name of a field inside a map of a query.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if name.startswith("__") and _RESERVED.fullmatch(name) and name != "__type__":
        raise invalid_argument(f"field name '{name}' is reserved.")


def _check_name(name: str) -> None:
    if not name:
        raise invalid_argument("The property name must not be empty.")
    if name.startswith("__") and _RESERVED.fullmatch(name) and name != "__type__":
        raise invalid_argument(f'The property "{name}" is invalid because it is reserved.')
    if len(name) * 4 > MAX_FIELD_NAME_BYTES and len(name.encode()) > MAX_FIELD_NAME_BYTES:
        raise invalid_argument(f"The property name is longer than {MAX_FIELD_NAME_BYTES} bytes.")


def _check_length(length: int, name: str) -> None:
    if length > MAX_PROPERTY_BYTES:
        raise invalid_argument(
            f'The value of property "{name}" is longer than {MAX_PROPERTY_BYTES} bytes.'
        )


def _check_timestamp(value: Message, name: str) -> None:
    time = value.timestamp_value
    if not (_MIN_SECONDS <= time.seconds <= _MAX_SECONDS and 0 <= time.nanos <= _MAX_NANOS):
        raise invalid_argument(f'The value of property "{name}" is not a valid timestamp.')
    # Stored timestamps are precise to the microsecond; the rest is cut off.
    if time.nanos % 1000:
        time.nanos -= time.nanos % 1000


def check_geo_point(value: Message, name: str) -> None:
    """Refuse a point that is not on the globe.

    Raises:
        StatusError: INVALID_ARGUMENT, naming the field.
    """
    point = value.geo_point_value
    # Written so that NaN fails too.
    if not (
        -_MAX_LATITUDE <= point.latitude <= _MAX_LATITUDE
        and -_MAX_LONGITUDE <= point.longitude <= _MAX_LONGITUDE
    ):
        raise invalid_argument(f'The value of property "{name}" is not a valid geo point.')


def _is_vector(value: Message) -> bool:
    """Tell whether a map is how vectors travel: its ``__type__`` is ``__vector__``."""
    fields = value.map_value.fields
    return "__type__" in fields and fields["__type__"].string_value == "__vector__"


def _check_vector(value: Message) -> None:
    numbers = value.map_value.fields["value"].array_value.values
    if not numbers:
        raise invalid_argument("Cannot have a zero length vector.")
    if len(numbers) > MAX_VECTOR_DIMENSIONS:
        raise invalid_argument(f"Vectors must be at most {MAX_VECTOR_DIMENSIONS} dimensions.")
    if any(math.isnan(number.double_value) for number in numbers):
        raise invalid_argument("Vector cannot contain NaN values.")


def _check_array(value: Message, name: str, depth: int) -> None:
    for element in value.array_value.values:
        if element.WhichOneof("value_type") == "map_value" and _is_vector(element):
            raise invalid_argument("Cannot convert a vector value in an array value.")
        if element.WhichOneof("value_type") == "array_value":
            raise invalid_argument(
                f"Property {name} contains an invalid nested entity: "
                "Cannot convert an array value in an array value."
            )
        _check_value(element, name, depth)


def _check_reference(value: Message, name: str) -> None:  # noqa: ARG001 - like its siblings
    parse_document_name(value.reference_value)


def _check_string(value: Message, name: str) -> None:
    text = value.string_value
    if len(text) * 4 > MAX_PROPERTY_BYTES:
        _check_length(len(text.encode()), name)


def _check_bytes(value: Message, name: str) -> None:
    _check_length(len(value.bytes_value), name)


def _check_unset(_value: Message, _name: str) -> None:
    raise invalid_argument("Cannot convert firestore.v1.Value with type unset.")


_LEAF_CHECKS: dict[str | None, Callable[[Message, str], None]] = {
    "string_value": _check_string,
    "bytes_value": _check_bytes,
    "timestamp_value": _check_timestamp,
    "geo_point_value": check_geo_point,
    "reference_value": _check_reference,
    None: _check_unset,
}


def _check_value(value: Message, name: str, depth: int) -> None:
    kind = value.WhichOneof("value_type")
    check = _LEAF_CHECKS.get(kind)
    if check is not None:
        check(value, name)
    elif kind in {"map_value", "array_value"}:
        if depth >= MAX_DEPTH:
            raise invalid_argument(
                f"Property {name} contains an invalid nested entity: "
                f"nested deeper than {MAX_DEPTH} levels."
            )
        if kind == "map_value":
            if _is_vector(value):
                _check_vector(value)
            check_fields(value.map_value.fields, depth + 1)
        else:
            _check_array(value, name, depth + 1)
    elif kind not in _FIXED_SIZES:
        raise invalid_argument(f'The value of property "{name}" has an unsupported type: {kind}.')


def check_fields(fields: Message, depth: int = 0) -> None:
    """Refuse fields that Firestore would not store, and cut timestamps to microseconds.

    Raises:
        StatusError: INVALID_ARGUMENT, naming the field.
    """
    for name, value in fields.items():
        _check_name(name)
        _check_value(value, name, depth)


def value_size(value: Message) -> int:
    """Return a value's size in bytes by the rules of the storage-size page."""
    kind = value.WhichOneof("value_type")
    size = _FIXED_SIZES.get(kind)
    if size is not None:
        return size
    if kind == "string_value":
        return len(value.string_value.encode()) + 1
    if kind == "bytes_value":
        return len(value.bytes_value)
    if kind == "reference_value":
        return len(value.reference_value.encode()) + 1 + _NAME_OVERHEAD_BYTES
    if kind == "array_value":
        return sum(map(value_size, value.array_value.values))
    return _fields_size(value.map_value.fields)


def _fields_size(fields: Message) -> int:
    return sum(len(name.encode()) + 1 + value_size(value) for name, value in fields.items())


def document_size(path: str, fields: Message) -> int:
    """Return a document's size in bytes by the rules of the storage-size page.

    See https://firebase.google.com/docs/firestore/storage-size.

    Args:
        path: The document's path below ``documents/``.
        fields: Its fields.
    """
    name = sum(len(segment.encode()) + 1 for segment in path.split("/")) + _NAME_OVERHEAD_BYTES
    return name + _fields_size(fields) + _DOCUMENT_OVERHEAD_BYTES


def check_document(path: str, document: Message) -> None:
    """Refuse a document that is too large.

    Raises:
        StatusError: INVALID_ARGUMENT with the size found.
    """
    if document.ByteSize() < _WORTH_MEASURING_BYTES:
        return
    size = document_size(path, document.fields)
    if size > MAX_DOCUMENT_BYTES:
        raise invalid_argument(
            f"Document '{document.name}' cannot be written because its size ({size:,} bytes) "
            f"exceeds the maximum allowed size of {MAX_DOCUMENT_BYTES:,} bytes."
        )
