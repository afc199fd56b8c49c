"""Vector search: the nearest neighbours of a vector, found by looking at all candidates. No I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from continuon_local.firestore.errors import invalid_argument, unimplemented
from continuon_local.firestore.fields import FieldPath, get_field, parse_field_path, set_field
from continuon_local.firestore.limits import MAX_VECTOR_DIMENSIONS
from continuon_local.firestore.messages import StructuredQuery, Value
from continuon_local.firestore.ordering import is_vector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from continuon_local.firestore.messages import Message

__all__ = ["Nearest", "compile_nearest"]

MAX_NEIGHBOURS = 1000
"""Results of one search."""

_Measure = StructuredQuery.FindNearest.DistanceMeasure


def _euclidean(one: Sequence[float], other: Sequence[float]) -> float | None:
    return math.dist(one, other)


def _dot_product(one: Sequence[float], other: Sequence[float]) -> float | None:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def _cosine(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return 1 less the cosine; a vector without length has no direction."""
    lengths = math.hypot(*one) * math.hypot(*other)
    if not lengths:
        return None
    return 1.0 - math.fsum(a * b for a, b in zip(one, other, strict=True)) / lengths


_DISTANCES: dict[int, Callable[[Sequence[float], Sequence[float]], float | None]] = {
    _Measure.EUCLIDEAN: _euclidean,
    _Measure.COSINE: _cosine,
    _Measure.DOT_PRODUCT: _dot_product,
}


def _numbers(value: Message | None) -> tuple[float, ...] | None:
    """Return the numbers of a vector, or None for any other value."""
    if value is None or value.WhichOneof("value_type") != "map_value":
        return None
    fields = value.map_value.fields
    if not is_vector(fields) or "value" not in fields:
        return None
    return tuple(
        float(each.integer_value)
        if each.WhichOneof("value_type") == "integer_value"
        else each.double_value
        for each in fields["value"].array_value.values
    )


@dataclass(frozen=True, slots=True)
class Nearest:
    """What a vector search asks for.

    Attributes:
        path: The field of the vectors, as text.
        segments: The same, split.
        vector: What to be near to.
        measure: A ``DistanceMeasure``.
        limit: How many results at most.
        threshold: The largest distance that counts (the smallest dot product), or None.
        result: Where the distance is put into the results, or None.
    """

    path: str
    segments: FieldPath
    vector: tuple[float, ...]
    measure: int
    limit: int
    threshold: float | None
    result: FieldPath | None

    def distance(self, fields: Message) -> float | None:
        """Return a document's distance, or None when it is not a result.

        A document without the vector, or with one of another length, is none.
        """
        vector = _numbers(get_field(fields, self.segments))
        if vector is None or len(vector) != len(self.vector):
            return None
        distance = _DISTANCES[self.measure](vector, self.vector)
        if distance is None or (self.threshold is not None and self._is_beyond(distance)):
            return None
        return distance

    def _is_beyond(self, distance: float) -> bool:
        threshold = self.threshold or 0.0
        return (distance < threshold) if self._largest_first else (distance > threshold)

    @property
    def _largest_first(self) -> bool:
        """A larger dot product is nearer, everything else is nearer the smaller it is."""
        return bool(self.measure == _Measure.DOT_PRODUCT)

    def rank(self, distance: float) -> float:
        """Return a number by which results sort, the nearest first."""
        return -distance if self._largest_first else distance

    def with_distance(self, document: Message, distance: float) -> None:
        """Put the distance into a result where it is asked for."""
        if self.result is not None:
            set_field(document.fields, self.result, Value(double_value=distance))


def compile_nearest(query: Message) -> Nearest | None:
    """Validate the ``find_nearest`` of a ``StructuredQuery``; None where there is none.

    Raises:
        StatusError: INVALID_ARGUMENT for a search that Firestore does not accept, UNIMPLEMENTED
            for one combined with sort orders or cursors.
    """
    if not query.HasField("find_nearest"):
        return None
    search = query.find_nearest
    if query.order_by or query.HasField("start_at") or query.HasField("end_at"):
        raise unimplemented("StructuredQuery.find_nearest with sort orders or cursors")
    vector = _numbers(search.query_vector)
    if not vector:
        raise invalid_argument("query_vector must be a vector with at least one dimension.")
    if len(vector) > MAX_VECTOR_DIMENSIONS:
        raise invalid_argument(f"A vector has at most {MAX_VECTOR_DIMENSIONS} dimensions.")
    if search.distance_measure not in _DISTANCES:
        raise invalid_argument("distance_measure must be EUCLIDEAN, COSINE or DOT_PRODUCT.")
    if not 1 <= search.limit.value <= MAX_NEIGHBOURS:
        raise invalid_argument(f"The limit must be from 1 to {MAX_NEIGHBOURS}.")
    result = search.distance_result_field
    has_threshold = search.HasField("distance_threshold")
    return Nearest(
        path=search.vector_field.field_path,
        segments=parse_field_path(search.vector_field.field_path),
        vector=vector,
        measure=search.distance_measure,
        limit=search.limit.value,
        threshold=search.distance_threshold.value if has_threshold else None,
        result=parse_field_path(result) if result else None,
    )
