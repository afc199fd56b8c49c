"""Aggregations over the results of a query: count, sum, average. No I/O."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from continuon_local.firestore.errors import invalid_argument
from continuon_local.firestore.fields import get_field, parse_field_path
from continuon_local.firestore.messages import AggregationResult, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from continuon_local.firestore.messages import Message

__all__ = ["INDEX_ENTRIES_PER_READ", "aggregate", "aggregated_fields", "named_aggregations"]

INDEX_ENTRIES_PER_READ = 1000
"""Google bills one document read for each batch of index entries matched."""

MAX_AGGREGATIONS = 5
_MAX_INT64 = (1 << 63) - 1
_MIN_INT64 = -(1 << 63)

_RESERVED = re.compile(r"__.*__", re.DOTALL)


def named_aggregations(aggregations: Sequence[Message]) -> Mapping[str, Message]:
    """Return the aggregations by alias; those without one are named ``field_1`` and on.

    Raises:
        StatusError: INVALID_ARGUMENT for none, too many, unknown ones or an alias used twice.
    """
    if not aggregations:
        raise invalid_argument("Aggregations can not be empty.")
    if len(aggregations) > MAX_AGGREGATIONS:
        raise invalid_argument(f"The maximum number of aggregations is {MAX_AGGREGATIONS}.")
    named: dict[str, Message] = {}
    unnamed = 0
    for aggregation in aggregations:
        alias = aggregation.alias
        if not alias:
            unnamed += 1
            alias = f"field_{unnamed}"
        if _RESERVED.fullmatch(alias):
            raise invalid_argument(f'The aggregation alias "{alias}" is reserved.')
        if alias in named:
            raise invalid_argument(f"Aggregation aliases contain duplicate alias: '{alias}'.")
        kind = aggregation.WhichOneof("operator")
        if kind is None:
            raise invalid_argument("An aggregation must be a count, sum or average.")
        if kind != "count":
            parse_field_path(getattr(aggregation, kind).field.field_path)
        elif aggregation.count.HasField("up_to") and aggregation.count.up_to.value <= 0:
            raise invalid_argument("The 'up_to' of a count must be greater than zero.")
        named[alias] = aggregation
    return named


def aggregated_fields(aggregations: Mapping[str, Message]) -> Sequence[str]:
    """Return the paths of the fields summed or averaged.

    Their index is what the service scans: documents without such a field do not count, and
    without other sort orders the limit takes the smallest values.
    """
    kinds = {alias: each.WhichOneof("operator") for alias, each in aggregations.items()}
    paths = [
        getattr(aggregations[alias], str(kind)).field.field_path
        for alias, kind in kinds.items()
        if kind != "count"
    ]
    return sorted(set(paths))


def _numbers(documents: Iterable[Message], path: str) -> list[int | float]:
    segments = parse_field_path(path)
    numbers: list[int | float] = []
    for document in documents:
        value = get_field(document.fields, segments)
        kind = None if value is None else value.WhichOneof("value_type")
        if value is not None and kind in {"integer_value", "double_value"}:
            numbers.append(getattr(value, kind))
    return numbers


def _float_sum(numbers: Sequence[int | float]) -> float:
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):  # beyond a double, or infinities of both signs
        return float(sum(map(float, numbers)))


def _sum(numbers: Sequence[int | float]) -> Message:
    """Integers stay integers as long as the sum is one of 64 bits."""
    if all(isinstance(number, int) for number in numbers):
        total = int(sum(numbers))
        if _MIN_INT64 <= total <= _MAX_INT64:
            return Value(integer_value=total)
    return Value(double_value=_float_sum(numbers))


def _average(numbers: Sequence[int | float]) -> Message:
    if not numbers:
        return Value(null_value=0)
    return Value(double_value=_float_sum(numbers) / len(numbers))


def _value(aggregation: Message, documents: Sequence[Message]) -> Message:
    kind = aggregation.WhichOneof("operator")
    if kind == "count":
        count = len(documents)
        if aggregation.count.HasField("up_to"):
            count = min(count, aggregation.count.up_to.value)
        return Value(integer_value=count)
    if kind == "sum":
        return _sum(_numbers(documents, aggregation.sum.field.field_path))
    return _average(_numbers(documents, aggregation.avg.field.field_path))


def aggregate(aggregations: Mapping[str, Message], documents: Sequence[Message]) -> Message:
    """Return the ``AggregationResult`` of ``aggregations`` over ``documents``.

    Only their number matters, and they may be anything, when no field is aggregated.
    """
    result: Message = AggregationResult()
    for alias, aggregation in aggregations.items():
        result.aggregate_fields[alias].CopyFrom(_value(aggregation, documents))
    return result
