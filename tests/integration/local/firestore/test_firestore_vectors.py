"""Vector search through Google's client."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import InvalidArgument
from google.cloud.firestore import FieldFilter
from google.cloud.firestore_v1.base_vector_query import DistanceMeasure
from google.cloud.firestore_v1.vector import Vector


@pytest.fixture
def vectors(items: Any) -> Any:
    for name, vector in {"a": [1.0, 0.0], "b": [0.0, 2.0], "c": [3.0, 3.0]}.items():
        items.document(name).set({"v": Vector(vector), "kind": "k" if name < "c" else "l"})
    items.document("none").set({"kind": "k"})
    items.document("zero").set({"v": Vector([0.0, 0.0]), "kind": "l"})
    items.document("other-length").set({"v": Vector([1.0, 0.0, 0.0]), "kind": "k"})
    items.document("list").set({"v": [1.0, 0.0], "kind": "k"})
    return items


def search(query: Any, measure: DistanceMeasure, **options: Any) -> list[tuple[str, Any]]:
    options.setdefault("limit", 10)
    found = query.find_nearest(
        vector_field="v",
        query_vector=Vector([1.0, 0.0]),
        distance_measure=measure,
        distance_result_field="distance",
        **options,
    )
    return [(each.id, round(each.get("distance"), 6)) for each in found.stream()]


@pytest.mark.parametrize(
    ("measure", "found"),
    [
        (
            DistanceMeasure.EUCLIDEAN,
            [("a", 0.0), ("zero", 1.0), ("b", 2.236068), ("c", 3.605551)],
        ),
        (DistanceMeasure.COSINE, [("a", 0.0), ("c", 0.292893), ("b", 1.0)]),
        (DistanceMeasure.DOT_PRODUCT, [("c", 3.0), ("a", 1.0), ("b", 0.0), ("zero", 0.0)]),
    ],
)
def test_the_nearest_come_first(
    vectors: Any, measure: DistanceMeasure, found: list[tuple[str, float]]
) -> None:
    assert search(vectors, measure) == found


def test_filters_limits_and_thresholds_narrow_a_search(vectors: Any) -> None:
    filtered = vectors.where(filter=FieldFilter("kind", "==", "k"))
    assert [name for name, _ in search(filtered, DistanceMeasure.EUCLIDEAN)] == ["a", "b"]
    assert search(vectors, DistanceMeasure.COSINE, limit=1) == [("a", 0.0)]
    near = search(vectors, DistanceMeasure.EUCLIDEAN, distance_threshold=1.0)
    assert [name for name, _ in near] == ["a", "zero"]
    alike = search(vectors, DistanceMeasure.DOT_PRODUCT, distance_threshold=1.0)
    assert [name for name, _ in alike] == ["c", "a"]


def test_a_search_selects_fields_the_distance_among_them(vectors: Any) -> None:
    found = vectors.select(["kind", "distance"]).find_nearest(
        vector_field="v",
        query_vector=Vector([1.0, 0.0]),
        distance_measure=DistanceMeasure.EUCLIDEAN,
        limit=1,
        distance_result_field="distance",
    )
    (snapshot,) = found.get()
    assert snapshot.to_dict() == {"kind": "k", "distance": 0.0}
    assert "distance" not in vectors.document("a").get().to_dict()


@pytest.mark.parametrize(
    ("vector", "limit"), [([], 1), ([1.0], 0), ([1.0], 1001), ([1.0] * 2049, 1)]
)
def test_searches_beyond_the_limits_are_refused(
    items: Any, vector: list[float], limit: int
) -> None:
    found = items.find_nearest("v", Vector(vector), limit, DistanceMeasure.COSINE)
    with pytest.raises(InvalidArgument):
        found.get()
