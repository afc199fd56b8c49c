"""Aggregations, and the search for the nearest vectors."""

from __future__ import annotations

from functools import partial
from typing import Any

from google.cloud.firestore import FieldFilter
from google.cloud.firestore_v1.base_vector_query import DistanceMeasure
from google.cloud.firestore_v1.vector import Vector

from conformance.model import Area, FirestoreGround

__all__ = ["AREAS"]

aggregations = Area("firestore", "aggregations")
vectors = Area("firestore", "vectors")

NAN = float("nan")
MAX_INT = 2**63 - 1
_F = FieldFilter

_COLUMNS: dict[str, list[Any]] = {
    "ints": [1, 2, 3],
    "doubles": [0.5, 1.5],
    "int_and_double": [1, 0.5],
    "with_text": [1, "x", None, True, 4],
    "with_nan": [1, NAN],
    "with_infinity": [1, float("inf")],
    "both_infinities": [float("inf"), float("-inf")],
    "overflow": [MAX_INT, 1],
    "overflow_and_back": [MAX_INT, 1, -1],
    "underflow": [-(2**63), -1],
    "large_mean": [MAX_INT, MAX_INT],
    "minus_zero": [-0.0],
    "only_text": ["x"],
    "nothing": [],
}
_AGGREGATES = ("sum", "avg", "count")


def _aggregate(ground: FirestoreGround, *, column: str, kind: str) -> Any:
    for number, value in enumerate(_COLUMNS[column]):
        ground.docs.document(str(number)).set({"v": value})
    query: Any = ground.docs
    built = query.count() if kind == "count" else getattr(query, kind)("v")
    return built.get()[0][0].value


for _column in _COLUMNS:
    for _kind in _AGGREGATES:
        name = f"{_kind}_{_column}"
        aggregations.add(name, partial(_aggregate, column=_column, kind=_kind))


def _three(ground: FirestoreGround) -> Any:
    for number in range(3):
        ground.docs.document(str(number)).set({"v": number, **({"w": 1} if number else {})})
    return ground.docs


@aggregations.case
def several_at_once(ground: FirestoreGround) -> Any:
    query = _three(ground).count(alias="all").sum("v", alias="total").avg("v", alias="mean")
    return sorted((result.alias, result.value) for result in query.get()[0])


@aggregations.case
def without_alias(ground: FirestoreGround) -> Any:
    query = _three(ground).count().sum("v")
    return sorted((result.alias, result.value) for result in query.get()[0])


@aggregations.case
def only_documents_with_every_field(ground: FirestoreGround) -> Any:
    query = _three(ground).count(alias="all").sum("w", alias="w")
    return sorted((result.alias, result.value) for result in query.get()[0])


@aggregations.case
def limited(ground: FirestoreGround) -> Any:
    return _three(ground).limit(2).count().get()[0][0].value


@aggregations.case
def count_up_to(ground: FirestoreGround) -> Any:
    return _raw_aggregate(ground, [{"count": {"up_to": 2}, "alias": "n"}])


@aggregations.case
def count_up_to_zero(ground: FirestoreGround) -> Any:
    return _raw_aggregate(ground, [{"count": {"up_to": 0}, "alias": "n"}])


@aggregations.case
def five_aggregations(ground: FirestoreGround) -> Any:
    return _raw_aggregate(ground, [{"count": {}, "alias": f"n{i}"} for i in range(5)])


@aggregations.case
def six_aggregations(ground: FirestoreGround) -> Any:
    return _raw_aggregate(ground, [{"count": {}, "alias": f"n{i}"} for i in range(6)])


@aggregations.case
def same_alias_twice(ground: FirestoreGround) -> Any:
    return _raw_aggregate(ground, [{"count": {}, "alias": "n"}, {"count": {}, "alias": "n"}])


@aggregations.case
def no_aggregation(ground: FirestoreGround) -> Any:
    return _raw_aggregate(ground, [])


@aggregations.case
def reserved_alias(ground: FirestoreGround) -> Any:
    return _raw_aggregate(ground, [{"count": {}, "alias": "__n__"}])


def _raw_aggregate(ground: FirestoreGround, parts: list[dict[str, Any]]) -> Any:
    _three(ground)
    query = {
        "structured_query": {"from_": [{"collection_id": ground.case}]},
        "aggregations": parts,
    }
    request = {"parent": ground.root, "structured_aggregation_query": query}
    answers = list(ground.api.run_aggregation_query(request=request))
    return [
        sorted((key, value.integer_value) for key, value in answer.result.aggregate_fields.items())
        for answer in answers
    ]


def _seed_vectors(ground: FirestoreGround) -> None:
    points = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [3.0, 4.0], "d": [-1.0, 0.0]}
    for name, point in points.items():
        ground.client.document(f"points/{name}").set({"v": Vector(point), "even": name in "bd"})
    ground.client.document("points/other_size").set({"v": Vector([1.0, 2.0, 3.0])})
    ground.client.document("points/array").set({"v": [1.0, 0.0]})
    ground.client.document("points/none").set({"x": 1})


vectors.seed = _seed_vectors


def _near(ground: FirestoreGround, *, measure: DistanceMeasure, **options: Any) -> Any:
    query: Any = ground.client.collection("points")
    if options.pop("even", False):
        query = query.where(filter=_F("even", "==", True))  # noqa: FBT003 - a value
    limit = options.pop("limit", 3)
    point = options.pop("point", [1.0, 0.5])
    found = query.find_nearest(
        "v", Vector(point), limit=limit, distance_measure=measure, **options
    ).get()
    if "distance_result_field" in options:
        return [[s.id, round(s.to_dict()["distance"], 9)] for s in found]
    return [s.id for s in found]


_NEAR: dict[str, dict[str, Any]] = {
    "plain": {},
    "filtered": {"even": True},
    "with_distance": {"distance_result_field": "distance"},
    "threshold": {"distance_threshold": 1.0},
    "limit_1000": {"limit": 1000},
    "limit_1001": {"limit": 1001},
    "limit_0": {"limit": 0},
    "other_size": {"point": [1.0, 2.0, 3.0]},
    "zero_vector": {"point": [0.0, 0.0]},
    "empty_vector": {"point": []},
}
for _measure in DistanceMeasure:
    for _name, _options in _NEAR.items():
        vectors.add(
            f"{_measure.name.lower()}_{_name}", partial(_near, measure=_measure, **_options)
        )

AREAS = [aggregations, vectors]
