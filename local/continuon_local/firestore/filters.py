"""Filters of a query: validated once, then asked about one document at a time."""

from __future__ import annotations

import math
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from continuon_local.firestore.errors import invalid_argument
from continuon_local.firestore.fields import DOCUMENT_ID, get_field, parse_field_path
from continuon_local.firestore.limits import (
    MAX_DISJUNCTIONS,
    MAX_IN_VALUES,
    MAX_NOT_IN_VALUES,
)
from continuon_local.firestore.messages import StructuredQuery, Value
from continuon_local.firestore.operands import check_operand
from continuon_local.firestore.ordering import encode_value, is_nan, type_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from continuon_local.firestore.messages import Message

    Predicate = Callable[[str, Message], bool]
    ValueTest = Callable[[Message], bool]

__all__ = [
    "Operator",
    "check_disjunctions",
    "compile_filter",
    "disjunctions",
    "equality_fields",
    "inequality_fields",
    "is_unary",
    "leaves",
]

Operator = StructuredQuery.FieldFilter.Operator
_Unary = StructuredQuery.UnaryFilter.Operator
_Composite = StructuredQuery.CompositeFilter.Operator
_RANGE = {
    Operator.LESS_THAN,
    Operator.LESS_THAN_OR_EQUAL,
    Operator.GREATER_THAN,
    Operator.GREATER_THAN_OR_EQUAL,
}
_INEQUALITY = {*_RANGE, Operator.NOT_EQUAL, Operator.NOT_IN}
_LISTS = {
    Operator.IN: MAX_IN_VALUES,
    Operator.NOT_IN: MAX_NOT_IN_VALUES,
    Operator.ARRAY_CONTAINS_ANY: MAX_IN_VALUES,
}
_ARRAY = {Operator.ARRAY_CONTAINS, Operator.ARRAY_CONTAINS_ANY}
_KNOWN_UNARY = {_Unary.IS_NAN, _Unary.IS_NULL, _Unary.IS_NOT_NAN, _Unary.IS_NOT_NULL}
_NULL = encode_value(Value(null_value=0))
_NAN = encode_value(Value(double_value=math.nan))


def leaves(condition: Message) -> Iterator[Message]:
    """Yield the field and unary filters of a filter tree."""
    kind = condition.WhichOneof("filter_type")
    if kind == "composite_filter":
        for part in condition.composite_filter.filters:
            yield from leaves(part)
    elif kind == "field_filter":
        yield condition.field_filter
    elif kind == "unary_filter":
        yield condition.unary_filter


def is_unary(leaf: Message) -> bool:
    """Tell a unary filter from a field filter."""
    return bool(leaf.DESCRIPTOR.name == "UnaryFilter")


def _possible(condition: Message) -> list[Message] | None:
    """Return the leaves that could be true, None where the whole condition never is."""
    if condition.WhichOneof("filter_type") != "composite_filter":
        found = list(leaves(condition))
        return None if any(map(_compares_with_null, found)) else found
    parts = [_possible(part) for part in condition.composite_filter.filters]
    if condition.composite_filter.op != _Composite.OR and None in parts:
        return None
    return [leaf for part in parts if part is not None for leaf in part]


def _compares_with_null(leaf: Message) -> bool:
    if is_unary(leaf) or leaf.op in _LISTS:
        return False
    return bool(leaf.value.WhichOneof("value_type") == "null_value")


def inequality_fields(condition: Message) -> Sequence[str]:
    """Return the paths of all fields under an inequality, in lexicographical order."""
    unary = {_Unary.IS_NOT_NAN, _Unary.IS_NOT_NULL}
    found = {
        leaf.field.field_path
        for leaf in _possible(condition) or ()
        if leaf.op in (unary if is_unary(leaf) else _INEQUALITY)
    }
    return sorted(found)


def equality_fields(condition: Message) -> Sequence[str]:
    """Return the paths of all fields compared for equality or array membership, sorted."""
    unary = {_Unary.IS_NAN, _Unary.IS_NULL}
    found = {
        leaf.field.field_path
        for leaf in leaves(condition)
        if (leaf.op in unary if is_unary(leaf) else leaf.op not in _INEQUALITY)
    }
    return sorted(found)


def _disjunctions(condition: Message) -> int:
    """Count the disjunctions of the filter in disjunctive normal form."""
    kind = condition.WhichOneof("filter_type")
    if kind == "composite_filter":
        parts = [_disjunctions(part) for part in condition.composite_filter.filters]
        return sum(parts) if condition.composite_filter.op == _Composite.OR else prod(parts)
    if kind == "field_filter" and condition.field_filter.op in {
        Operator.IN,
        Operator.ARRAY_CONTAINS_ANY,
    }:
        return max(1, len(condition.field_filter.value.array_value.values))
    return 1


def disjunctions(condition: Message) -> Iterator[Sequence[Message]]:
    """Yield the leaves of each disjunction; ``in`` counts as one leaf."""
    if condition.WhichOneof("filter_type") != "composite_filter":
        yield list(leaves(condition))
        return
    parts = [list(disjunctions(part)) for part in condition.composite_filter.filters]
    if condition.composite_filter.op == _Composite.OR:
        for part in parts:
            yield from part
        return
    for combination in product(*parts):
        yield [leaf for leaves_of_part in combination for leaf in leaves_of_part]


def check_disjunctions(condition: Message) -> None:
    """Refuse filters that combine too much or what cannot be combined.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    count = _disjunctions(condition)
    if count > MAX_DISJUNCTIONS:
        raise invalid_argument(
            f"Too many disjunctions after normalization. Result had {count} disjunctions "
            f"which is more than the maximum of {MAX_DISJUNCTIONS}"
        )
    every = list(leaves(condition))
    if sum(_is_exclusive(leaf) for leaf in every) > 1:
        raise invalid_argument(
            "Only a single 'NOT_EQUAL', 'NOT_IN', 'IS_NOT_NAN', or 'IS_NOT_NULL' filter "
            "allowed per query."
        )
    operators = [leaf.op for leaf in every if not is_unary(leaf)]
    others = {Operator.IN, Operator.ARRAY_CONTAINS_ANY}
    if Operator.NOT_IN in operators and (_has_or(condition) or others & set(operators)):
        raise invalid_argument(
            "'NOT_IN' cannot be used in the same query with 'IN', 'ARRAY_CONTAINS_ANY' or 'OR'."
        )
    for disjunction in disjunctions(condition):
        if sum(not is_unary(leaf) and leaf.op in _ARRAY for leaf in disjunction) > 1:
            raise invalid_argument(
                "A maximum of 1 'ARRAY_CONTAINS' filter is allowed per disjunction."
            )


def _is_exclusive(leaf: Message) -> bool:
    unary = {_Unary.IS_NOT_NAN, _Unary.IS_NOT_NULL}
    return leaf.op in (unary if is_unary(leaf) else {Operator.NOT_EQUAL, Operator.NOT_IN})


def _has_or(condition: Message) -> bool:
    if condition.WhichOneof("filter_type") != "composite_filter":
        return False
    composite = condition.composite_filter
    return composite.op == _Composite.OR or any(map(_has_or, composite.filters))


def compile_filter(condition: Message) -> Predicate:
    """Turn a ``Filter`` into a function of a document's name and fields.

    Raises:
        StatusError: INVALID_ARGUMENT for what Firestore does not accept.
    """
    kind = condition.WhichOneof("filter_type")
    if kind == "composite_filter":
        return _compile_composite(condition.composite_filter)
    if kind == "field_filter":
        return _compile_field(condition.field_filter)
    if kind == "unary_filter":
        return _compile_unary(condition.unary_filter)
    raise invalid_argument("Unknown Filter type.")


def _compile_composite(composite: Message) -> Predicate:
    if composite.op not in {_Composite.AND, _Composite.OR}:
        raise invalid_argument("Unsupported CompositeFilter operator.")
    if composite.op == _Composite.OR and not composite.filters:
        raise invalid_argument("Composite filter must have at least one sub-filter.")
    parts = [compile_filter(part) for part in composite.filters]
    if len(parts) == 1:
        return parts[0]
    if composite.op == _Composite.AND:
        return lambda name, fields: all(part(name, fields) for part in parts)
    return lambda name, fields: any(part(name, fields) for part in parts)


def _on_field(path: str, test: ValueTest) -> Predicate:
    """Apply ``test`` to the field at ``path``; a document without the field never matches."""
    if path == DOCUMENT_ID:
        return lambda name, _: test(Value(reference_value=name))
    segments = parse_field_path(path)

    def check(_: str, fields: Message) -> bool:
        value = get_field(fields, segments)
        return value is not None and test(value)

    if len(segments) > 1:
        return check
    (key,) = segments
    return lambda _, fields: key in fields and test(fields[key])


def _compile_unary(unary: Message) -> Predicate:
    if unary.op not in _KNOWN_UNARY:
        raise invalid_argument("Unknown UnaryFilter operator.")
    if unary.field.field_path == DOCUMENT_ID:
        raise invalid_argument("__key__ filter value must be a Key")
    tests: dict[int, ValueTest] = {
        _Unary.IS_NAN: is_nan,
        _Unary.IS_NULL: _is_null,
        _Unary.IS_NOT_NAN: lambda value: not is_nan(value) and not _is_null(value),
        _Unary.IS_NOT_NULL: lambda value: not _is_null(value),
    }
    return _on_field(unary.field.field_path, tests[unary.op])


def _is_null(value: Message) -> bool:
    return value.WhichOneof("value_type") in {None, "null_value"}


def _check_document_id(op: int, value: Message) -> None:
    values = value.array_value.values if op in _LISTS else [value]
    if op in {Operator.ARRAY_CONTAINS, Operator.ARRAY_CONTAINS_ANY}:
        raise invalid_argument("Array operators cannot be used with '__name__'.")
    if any(each.WhichOneof("value_type") != "reference_value" for each in values):
        raise invalid_argument("__key__ filter value must be a Key")


def _compile_field(leaf: Message) -> Predicate:
    op, value, path = leaf.op, leaf.value, leaf.field.field_path
    if value.WhichOneof("value_type") is None:
        raise invalid_argument("Cannot convert firestore.v1.Value with type unset.")
    if op in _LISTS:
        name = Operator.Name(op)
        if value.WhichOneof("value_type") != "array_value":
            raise invalid_argument(f"'{name}' requires an ArrayValue.")
        count = len(value.array_value.values)
        if not count:
            raise invalid_argument(f"'{name}' requires an non-empty ArrayValue.")
        if count > _LISTS[op]:
            raise invalid_argument(f"'{name}' supports up to {_LISTS[op]} comparison values.")
    if path == DOCUMENT_ID:
        _check_document_id(op, value)
    for operand in value.array_value.values if op in _LISTS else (value,):
        check_operand(operand, path)
    return _on_field(path, _value_test(op, value))


def _value_test(op: int, operand: Message) -> ValueTest:
    if op in _LISTS:
        return _list_test(op, operand)
    target = encode_value(operand)
    if _is_never_true(op, target):
        return lambda _: False
    if op == Operator.EQUAL:
        return lambda value: encode_value(value) == target
    if op == Operator.NOT_EQUAL:
        return lambda value: encode_value(value) not in {target, _NULL}
    if op == Operator.ARRAY_CONTAINS:
        return lambda value: any(
            encode_value(element) == target for element in value.array_value.values
        )
    if op in _RANGE:
        return _range_test(op, target)
    raise invalid_argument("Unknown FieldFilter operator.")


def _is_never_true(op: int, target: bytes) -> bool:
    """Nothing compares with null, and nothing equals NaN; the unary filters find them."""
    return target == _NULL or (op == Operator.EQUAL and target == _NAN)


def _range_test(op: int, target: bytes) -> ValueTest:
    low, high = type_range(target)
    if op == Operator.LESS_THAN:
        return lambda value: low <= encode_value(value) < target
    if op == Operator.LESS_THAN_OR_EQUAL:
        return lambda value: low <= encode_value(value) <= target
    if op == Operator.GREATER_THAN:
        return lambda value: target < encode_value(value) < high
    return lambda value: target <= encode_value(value) < high


def _list_test(op: int, operand: Message) -> ValueTest:
    targets = {encode_value(element) for element in operand.array_value.values}
    has_null = _NULL in targets
    # Nothing equals null or NaN.
    targets -= {_NULL, _NAN}
    if op == Operator.IN:
        return lambda value: encode_value(value) in targets
    if op == Operator.NOT_IN:
        if has_null:
            return lambda _: False
        targets.add(_NULL)
        return lambda value: encode_value(value) not in targets
    return lambda value: any(
        encode_value(element) in targets for element in value.array_value.values
    )
