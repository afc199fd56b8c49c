"""What random operations (`--fuzz`) have found: requests that were once answered differently."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from conformance.model import Area, FirestoreGround

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AREAS"]

finds = Area("firestore", "random-finds")

_ONE = {"integer_value": 1}
_NULL = {"null_value": None}


def _field(path: str, operator: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"field_filter": {"field": {"field_path": path}, "op": operator, "value": value}}


def _all(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"composite_filter": {"op": "AND", "filters": list(filters)}}


def _any(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"composite_filter": {"op": "OR", "filters": list(filters)}}


def _by(*paths: str) -> list[dict[str, Any]]:
    return [{"field": {"field_path": path}} for path in paths]


def _named(operator: str, root: str, name: str = "a") -> dict[str, Any]:
    return _field("__name__", operator, {"reference_value": f"{root}/x/{name}"})


_Query = dict[str, Any]
_ABOVE = _field("n", "GREATER_THAN", _ONE)
_QUERIES: dict[str, Callable[[str], _Query]] = {
    "inequality_by_name": lambda _: {"where": _ABOVE, "order_by": _by("__name__")},
    "inequality_by_another_and_name": lambda _: {"where": _ABOVE, "order_by": _by("m", "__name__")},
    "inequality_by_itself_and_name": lambda _: {"where": _ABOVE, "order_by": _by("n", "__name__")},
    "inequality_and_name_range": lambda root: {"where": _all(_ABOVE, _named("GREATER_THAN", root))},
    "inequality_or_name_range": lambda root: {"where": _any(_ABOVE, _named("GREATER_THAN", root))},
    "inequality_and_one_name": lambda root: {"where": _all(_ABOVE, _named("EQUAL", root, "b"))},
    "inequality_or_one_name": lambda root: {"where": _any(_ABOVE, _named("EQUAL", root, "b"))},
    "order_twice_in_two_spellings": lambda _: {"order_by": _by("n", "`n`")},
    "empty_and": lambda _: {"where": _all()},
    "empty_or": lambda _: {"where": _any()},
    "empty_or_within": lambda _: {"where": _all(_ABOVE, _any())},
    **{
        f"null_{operator.lower()}": lambda _, operator=operator: {  # type: ignore[misc]
            "where": _field("m", operator, _NULL)
        }
        for operator in ("NOT_EQUAL", "LESS_THAN", "LESS_THAN_OR_EQUAL", "GREATER_THAN_OR_EQUAL")
    },
    "contains_null": lambda _: {"where": _any(_field("l", "ARRAY_CONTAINS", _NULL), _ABOVE)},
    "null_orders_nothing": lambda _: {
        "where": _any(_all(_ABOVE, _field("m", "LESS_THAN", _NULL)), _field("k", "EQUAL", _ONE)),
    },
}
_VALUES: dict[str, Callable[[str], dict[str, Any]]] = {
    "reference_to_a_dot": lambda root: {"reference_value": f"{root}/x/."},
    "reference_to_a_reserved_id": lambda root: {"reference_value": f"{root}/x/__a__"},
    "reference_to_nowhere": lambda _: {"reference_value": "nowhere"},
    "reference_within_an_array": lambda _: {
        "array_value": {"values": [{"reference_value": "nowhere"}]}
    },
    "reserved_name_within_a_map": lambda _: {"map_value": {"fields": {"__a__": _ONE}}},
    "latitude_100": lambda _: {"geo_point_value": {"latitude": 100}},
    "string_1499": lambda _: {"string_value": "x" * 1499},
    "string_1500": lambda _: {"string_value": "x" * 1500},
    "bytes_1501": lambda _: {"bytes_value": b"x" * 1501},
    "array_of_1501": lambda _: {"array_value": {"values": [{"string_value": "x" * 1501}]}},
}


@finds.case
def documents(ground: FirestoreGround) -> Any:
    batch = ground.client.batch()
    collection = ground.client.collection("x")
    stored: dict[str, dict[str, Any]] = {
        "a": {"n": 2, "m": 1, "k": 1},
        "b": {"n": 3, "m": None},
        "c": {"n": 1, "k": 1},
        "d": {"m": 5, "n": 0, "l": [None]},
    }
    for name, fields in stored.items():
        batch.set(collection.document(name), fields)
    batch.set(ground.client.document("x/a/y/1"), {"n": 1})
    return len(batch.commit())


def _query(ground: FirestoreGround, *, query: _Query, parent: str = "") -> Any:
    asked = {"from_": [{"collection_id": "x"}], **query}
    request = {"parent": ground.root + parent, "structured_query": asked}
    found = ground.api.run_query(request=request)
    return [answer.document.name.rpartition("/")[2] for answer in found if answer.document]


def _made(ground: FirestoreGround, *, make: Callable[[str], _Query]) -> Any:
    return _query(ground, query=make(ground.root))


def _compared(ground: FirestoreGround, *, value: Callable[[str], dict[str, Any]]) -> Any:
    return _query(ground, query={"where": _field("n", "EQUAL", value(ground.root))})


def _from(ground: FirestoreGround, *, value: Callable[[str], dict[str, Any]]) -> Any:
    cursor = {"values": [value(ground.root)], "before": True}
    return _query(ground, query={"order_by": _by("n"), "start_at": cursor})


for _name, _make in _QUERIES.items():
    finds.add(_name, partial(_made, make=_make))
for _name, _value in _VALUES.items():
    finds.add(f"compare_{_name}", partial(_compared, value=_value))
    finds.add(f"start_at_{_name}", partial(_from, value=_value))


_GROUP = {"from_": [{"collection_id": "y", "all_descendants": True}]}
_GROUPS: dict[str, _Query] = {
    "group_below_a_document": _GROUP,
    "group_below_a_document_filtered": {**_GROUP, "where": _field("n", "EQUAL", _ONE)},
    "group_below_a_document_ordered": {**_GROUP, "order_by": _by("n")},
}
for _name, _grouped in _GROUPS.items():
    finds.add(_name, partial(_query, query=_grouped, parent="/x/a"))


def _sum(ground: FirestoreGround, *, query: _Query) -> Any:
    document = {
        "structured_query": {"from_": [{"collection_id": "x"}], **query},
        "aggregations": [{"alias": "s", "sum": {"field": {"field_path": "n"}}}],
    }
    request = {"parent": ground.root, "structured_aggregation_query": document}
    found = list(ground.api.run_aggregation_query(request=request))
    return found[0].result.aggregate_fields["s"].integer_value


finds.add("sum_by_name", partial(_sum, query={"order_by": _by("__name__")}))
finds.add("sum_by_itself_and_name", partial(_sum, query={"order_by": _by("n", "__name__")}))


@finds.case
def sum_of_one_name(ground: FirestoreGround) -> Any:
    return _sum(ground, query={"where": _named("EQUAL", ground.root)})


def _commit(ground: FirestoreGround, *, second: dict[str, Any]) -> Any:
    """Write a document that is missing, and something malformed after it."""
    name = f"{ground.root}/{ground.case}/d"
    missing = {"update": {"name": name}, "current_document": {"exists": True}}
    other = {"transform": {"document": f"{name}2", "field_transforms": [second]}}
    request = {"database": ground.database, "writes": [missing, other]}
    return len(ground.api.commit(request=request).write_results)


_MALFORMED: dict[str, dict[str, Any]] = {
    "transform_without_a_kind": {"field_path": "n", "set_to_server_value": 0},
    "transform_of_a_bad_path": {"field_path": "1n", "increment": _ONE},
    "transform_by_a_string": {"field_path": "n", "increment": {"string_value": "1"}},
    "removal_of_a_bad_reference": {
        "field_path": "n",
        "remove_all_from_array": {"values": [{"reference_value": "nowhere"}]},
    },
    "transform_that_is_right": {"field_path": "n", "increment": _ONE},
}
for _name, _second in _MALFORMED.items():
    finds.add(f"missing_before_a_{_name}", partial(_commit, second=_second))

AREAS = [finds]
