"""Field transforms: what a server computes from the stored value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.firestore.errors import invalid_argument
from continuon_local.firestore.fields import get_field, parse_field_path, set_field
from continuon_local.firestore.messages import Value
from continuon_local.firestore.operands import check_query_value
from continuon_local.firestore.ordering import encode_value, is_nan

if TYPE_CHECKING:
    from collections.abc import Callable

    from continuon_local.firestore.messages import Message

__all__ = ["apply_transform"]

_MAX_INT64 = (1 << 63) - 1
_MIN_INT64 = -(1 << 63)
_SERVER_TIME = 1  # DocumentTransform.FieldTransform.ServerValue.REQUEST_TIME


def _number(value: Message) -> int | float | None:
    kind = value.WhichOneof("value_type")
    if kind == "integer_value":
        return int(value.integer_value)
    return float(value.double_value) if kind == "double_value" else None


def _require_number(operand: Message, name: str) -> int | float:
    number = _number(operand)
    if number is None:
        raise invalid_argument(f"The operand of {name} must be an integer or a double.")
    return number


def _increment(current: Message | None, operand: Message) -> Message:
    """Add; integers saturate instead of overflowing; anything but a number counts as unset."""
    by = _require_number(operand, "increment")
    base = None if current is None else _number(current)
    if base is None:
        return operand
    if isinstance(base, int) and isinstance(by, int):
        return Value(integer_value=max(_MIN_INT64, min(_MAX_INT64, base + by)))
    return Value(double_value=float(base) + float(by))


def _extreme(current: Message | None, operand: Message, *, largest: bool) -> Message:
    _require_number(operand, "maximum" if largest else "minimum")
    if current is None or _number(current) is None or is_nan(operand):
        return operand
    if is_nan(current):
        return current
    ours, theirs = encode_value(current), encode_value(operand)
    # Equal numbers of different types keep the stored one.
    if ours == theirs or (ours > theirs) == largest:
        return current
    return operand


def _maximum(current: Message | None, operand: Message) -> Message:
    return _extreme(current, operand, largest=True)


def _minimum(current: Message | None, operand: Message) -> Message:
    return _extreme(current, operand, largest=False)


def _elements(current: Message | None) -> list[Message]:
    if current is None or current.WhichOneof("value_type") != "array_value":
        return []
    return list(current.array_value.values)


def _array(elements: list[Message]) -> Message:
    value = Value()
    value.array_value.SetInParent()
    value.array_value.values.extend(elements)
    return value


def _union(current: Message | None, operand: Message) -> Message:
    elements = _elements(current)
    present = {encode_value(element) for element in elements}
    for element in operand.values:
        key = encode_value(element)
        if key not in present:
            present.add(key)
            elements.append(element)
    return _array(elements)


def _remove(current: Message | None, operand: Message) -> Message:
    gone = {encode_value(element) for element in operand.values}
    return _array([value for value in _elements(current) if encode_value(value) not in gone])


_NUMERIC: dict[str, Callable[[Message | None, Message], Message]] = {
    "increment": _increment,
    "maximum": _maximum,
    "minimum": _minimum,
}
_ARRAYS: dict[str, Callable[[Message | None, Message], Message]] = {
    "append_missing_elements": _union,
    "remove_all_from_array": _remove,
}


def apply_transform(fields: Message, transform: Message, now: Message) -> Message:
    """Apply one field transform to a document's fields.

    Args:
        fields: The fields, changed in place.
        transform: A ``FieldTransform``.
        now: The commit time as a ``Timestamp``.

    Returns:
        The ``Value`` for ``transform_results``: the new value, or null for array transforms.

    Raises:
        StatusError: INVALID_ARGUMENT for a transform without a known operation or a bad operand.
    """
    path = parse_field_path(transform.field_path)
    kind = transform.WhichOneof("transform_type")
    result: Message
    if kind == "set_to_server_value" and transform.set_to_server_value == _SERVER_TIME:
        result = value = Value(timestamp_value=now)
    elif kind in _NUMERIC:
        result = value = _NUMERIC[kind](get_field(fields, path), getattr(transform, kind))
    elif kind in _ARRAYS:
        operand = getattr(transform, kind)
        for element in operand.values:
            # What is removed is never stored, and still has to be well formed.
            check_query_value(element)
        value = _ARRAYS[kind](get_field(fields, path), operand)
        result = Value(null_value=0)
    else:
        raise invalid_argument(f'Unknown transform of field "{transform.field_path}".')
    # A copy, because the result may be the very value that is about to be replaced.
    detached = Value()
    detached.CopyFrom(value)
    set_field(fields, path, detached)
    if result is value:
        return detached
    return result
