"""Queries through the unmodified client."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore import FieldFilter, Or
from google.cloud.firestore_v1.query_profile import ExplainOptions


def ids(query: Any) -> list[str]:
    return [snapshot.id for snapshot in query.stream()]


def store(items: Any, **documents: dict[str, Any]) -> None:
    for name, data in documents.items():
        items.document(name).set(data)


def test_filters_match_as_documented(items: Any) -> None:
    store(
        items,
        a={"n": 1, "tags": ["x"]},
        b={"n": 2.0, "tags": ["x", "y"]},
        c={"n": "2"},
        d={"n": None},
        e={"n": float("nan")},
        f={"other": 1},
    )

    def found(op: str, value: Any, field: str = "n") -> list[str]:
        return ids(items.where(filter=FieldFilter(field, op, value)))

    assert found("==", 2) == ["b"]
    assert found(">", 1) == ["b"]
    assert found("<=", 2) == ["a", "b"]
    assert found("!=", 2) == ["e", "a", "c"]
    assert found("in", [1, "2"]) == ["a", "c"]
    assert found("not-in", [1, "2"]) == ["e", "b"]
    assert found("==", None) == ["d"]
    assert found("==", float("nan")) == ["e"]
    assert found("!=", None) == ["e", "a", "b", "c"]
    assert found("array_contains", "y", "tags") == ["b"]
    assert found("array_contains_any", ["x", "z"], "tags") == ["a", "b"]


def test_composite_filters_and_inequalities_on_several_fields(items: Any) -> None:
    store(items, a={"x": 1, "y": 1}, b={"x": 2, "y": 1}, c={"x": 2, "y": 2}, d={"x": 3, "y": 0})
    both = items.where(filter=FieldFilter("x", ">", 1)).where(filter=FieldFilter("y", ">", 0))
    assert ids(both) == ["b", "c"]
    either = Or([FieldFilter("x", "==", 1), FieldFilter("y", "==", 2)])
    assert ids(items.where(filter=either)) == ["a", "c"]


def test_orders_cursors_offsets_and_limits(items: Any) -> None:
    store(items, **{f"d{number}": {"n": number // 2} for number in range(10)}, unordered={"m": 1})
    by_n = items.order_by("n", direction="DESCENDING")
    assert ids(by_n.limit(3)) == ["d9", "d8", "d7"]
    assert ids(by_n.offset(8)) == ["d1", "d0"]
    assert ids(by_n.start_at({"n": 1})) == ["d3", "d2", "d1", "d0"]
    assert ids(by_n.start_after({"n": 1})) == ["d1", "d0"]
    assert ids(by_n.end_before({"n": 3})) == ["d9", "d8"]
    assert ids(by_n.start_after(items.document("d3").get()).limit(2)) == ["d2", "d1"]
    assert [each.id for each in by_n.limit_to_last(2).get()] == ["d1", "d0"]


def test_document_ids_are_filtered_and_ordered(items: Any) -> None:
    store(items, b={}, a={}, __id10__={}, __id9__={})
    assert ids(items) == ["__id9__", "__id10__", "a", "b"]
    after = items.where(filter=FieldFilter("__name__", ">", items.document("a")))
    assert ids(after) == ["b"]


def test_projections_return_the_selected_fields_only(items: Any) -> None:
    store(items, a={"x": {"y": 1, "z": 2}, "w": 3})
    (snapshot,) = items.select(["x.y"]).stream()
    assert snapshot.to_dict() == {"x": {"y": 1}}
    (empty,) = items.select([]).stream()
    assert empty.to_dict() == {}


def test_collection_groups_reach_every_depth(client: Any, items: Any) -> None:
    group = f"notes{items.id.removeprefix('items-')}"
    client.document(group, "root").set({"n": 1})
    items.document("a").collection(group).document("one").set({"n": 2})
    items.document("a").collection(group).document("one").collection(group).document("two").set(
        {"n": 3}
    )
    assert ids(client.collection_group(group)) == ["one", "two", "root"]
    found = client.collection_group(group).where(filter=FieldFilter("n", ">=", 2))
    assert ids(found) == ["one", "two"]


def test_aggregations_count_sum_and_average(items: Any) -> None:
    store(items, a={"n": 1}, b={"n": 2}, c={"n": "text"}, d={})
    query = items.count(alias="all")
    assert query.get()[0][0].value == 4
    assert items.limit(2).count().get()[0][0].value == 2
    sums: Any = items.sum("n", alias="sum").avg("n", alias="average").get()[0]
    assert {each.alias: each.value for each in sums} == {"sum": 3, "average": 1.5}


def test_an_empty_result_has_a_read_time(items: Any) -> None:
    assert items.count().get()[0][0].read_time is not None
    assert ids(items) == []


def test_bad_queries_are_invalid_arguments(items: Any) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        ids(items.where(filter=FieldFilter("a", "in", list(range(31)))))
    with pytest.raises(exceptions.InvalidArgument):
        ids(items.where(filter=FieldFilter("__name__", ">", 3)))


async def test_the_asynchronous_client_streams_too(client: Any, items: Any) -> None:
    store(items, a={"n": 1}, b={"n": 2})
    other = firestore.AsyncClient(project=client.project)
    found = [each.id async for each in other.collection(items.id).order_by("n").stream()]
    assert found == ["a", "b"]
    await other._firestore_api.transport.close()


@pytest.mark.parametrize("analyze", [False, True])
def test_an_explanation_is_refused_by_name_and_not_made_up(items: Any, *, analyze: bool) -> None:
    options = ExplainOptions(analyze=analyze)
    query = items.limit(1)
    with pytest.raises(exceptions.MethodNotImplemented, match=r"RunQueryRequest\.explain_options"):
        list(query.stream(explain_options=options))
    aggregation = r"RunAggregationQueryRequest\.explain_options"
    with pytest.raises(exceptions.MethodNotImplemented, match=aggregation):
        list(query.count().stream(explain_options=options))
