"""Queries: filters together, orders, cursors, groups, limits, aggregations, vectors, partitions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from google.cloud.firestore import And, FieldFilter, Or, Query
from google.cloud.firestore_v1.base_vector_query import DistanceMeasure
from google.cloud.firestore_v1.field_path import FieldPath
from google.cloud.firestore_v1.vector import Vector

from conformance.model import Area, FirestoreGround

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AREAS"]

queries = Area("firestore", "queries")
aggregations = Area("firestore", "aggregations")
vectors = Area("firestore", "vectors")
raw_queries = Area("firestore", "query-requests")

NAN = float("nan")
NAME = FieldPath.document_id()
MAX_INT = 2**63 - 1
_F = FieldFilter

_ROBOTS: dict[str, dict[str, Any]] = {
    "r1": {"model": "arm", "n": 1, "s": 0.5, "tags": ["a", "b"], "at": {"x": 1, "y": 2}},
    "r2": {"model": "arm", "n": 2, "s": NAN, "tags": ["b"], "at": {"x": 2}},
    "r3": {"model": "dog", "n": 2, "s": None, "tags": []},
    "r4": {"model": "dog", "n": 3.0, "tags": ["a", 1, None]},
    "r5": {"model": None, "n": -4, "s": 7, "tags": "a"},
    "r6": {"n": "text", "s": 0, "at": {"y": 1}},
    "r7": {"model": "arm", "n": 7, "s": -0.0, "tags": ["a", "b", "c"], "odd name": 1},
    "R8": {"model": "Arm", "n": None, "s": 1, "tags": [["nested"] and "a"]},
}


def _seed(ground: FirestoreGround) -> None:
    client = ground.client
    for name, data in _ROBOTS.items():
        client.document(f"robots/{name}").set(data)
    for parent in ("r1", "r2", "ghost"):
        for number in range(3):
            client.document(f"robots/{parent}/commands/c{number}").set(
                {"n": number, "robot": parent}
            )
    client.document("commands/top").set({"n": 9, "robot": "none"})
    client.document("a/b/robots/z").set({"n": 100})


queries.seed = _seed
raw_queries.seed = _seed


def _desc(field: str) -> Callable[[Any], Any]:
    return lambda query: query.order_by(field, direction=Query.DESCENDING)


_ROBOT_QUERIES: dict[str, Callable[[Any, FirestoreGround], Any]] = {
    "all": lambda q, _: q,
    "two_equalities": lambda q, _: q.where(filter=_F("model", "==", "arm")).where(
        filter=_F("n", "==", 2)
    ),
    "equality_and_range": lambda q, _: q.where(filter=_F("model", "==", "arm")).where(
        filter=_F("n", ">", 1)
    ),
    "two_ranges_one_field": lambda q, _: q.where(filter=_F("n", ">", 1)).where(
        filter=_F("n", "<=", 3)
    ),
    "ranges_on_two_fields": lambda q, _: q.where(filter=_F("n", ">", 0)).where(
        filter=_F("s", ">=", 0)
    ),
    "ranges_on_two_fields_ordered": lambda q, _: _desc("s")(
        q.where(filter=_F("n", ">", 0)).where(filter=_F("s", ">=", 0))
    ).order_by("n"),
    "range_and_not_equal": lambda q, _: q.where(filter=_F("n", ">", 0)).where(
        filter=_F("model", "!=", "dog")
    ),
    "not_equal_twice": lambda q, _: q.where(filter=_F("n", "!=", 1)).where(filter=_F("n", "!=", 2)),
    "not_equal_null": lambda q, _: q.where(filter=_F("model", "!=", None)),
    "equal_null": lambda q, _: q.where(filter=_F("model", "==", None)),
    "equal_nan": lambda q, _: q.where(filter=_F("s", "==", NAN)),
    "not_equal_nan": lambda q, _: q.where(filter=_F("s", "!=", NAN)),
    "greater_than_null": lambda q, _: q.where(filter=_F("model", ">", None)),
    "greater_than_nan": lambda q, _: q.where(filter=_F("s", ">", NAN)),
    "at_least_nan": lambda q, _: q.where(filter=_F("s", ">=", NAN)),
    "in": lambda q, _: q.where(filter=_F("model", "in", ["arm", "cat"])),
    "in_with_null": lambda q, _: q.where(filter=_F("model", "in", ["arm", None])),
    "in_with_nan": lambda q, _: q.where(filter=_F("s", "in", [NAN, 7])),
    "in_two_fields": lambda q, _: q.where(filter=_F("model", "in", ["arm", "dog"])).where(
        filter=_F("n", "in", [2, 3])
    ),
    "in_ordered": lambda q, _: _desc("n")(q.where(filter=_F("model", "in", ["arm", "dog"]))),
    "not_in": lambda q, _: q.where(filter=_F("model", "not-in", ["arm"])),
    "not_in_null": lambda q, _: q.where(filter=_F("model", "not-in", ["arm", None])),
    "not_in_and_in": lambda q, _: q.where(filter=_F("model", "not-in", ["dog"])).where(
        filter=_F("n", "in", [1, 2])
    ),
    "not_in_and_not_equal": lambda q, _: q.where(filter=_F("model", "not-in", ["dog"])).where(
        filter=_F("n", "!=", 2)
    ),
    "contains": lambda q, _: q.where(filter=_F("tags", "array_contains", "a")),
    "contains_number": lambda q, _: q.where(filter=_F("tags", "array_contains", 1.0)),
    "contains_null": lambda q, _: q.where(filter=_F("tags", "array_contains", None)),
    "contains_twice": lambda q, _: q.where(filter=_F("tags", "array_contains", "a")).where(
        filter=_F("tags", "array_contains", "b")
    ),
    "contains_any": lambda q, _: q.where(filter=_F("tags", "array_contains_any", ["c", 1])),
    "contains_and_any": lambda q, _: q.where(filter=_F("tags", "array_contains", "a")).where(
        filter=_F("tags", "array_contains_any", ["b"])
    ),
    "contains_any_and_in": lambda q, _: q.where(
        filter=_F("tags", "array_contains_any", ["a", "b"])
    ).where(filter=_F("n", "in", [1, 2])),
    "contains_any_twice": lambda q, _: q.where(
        filter=_F("tags", "array_contains_any", ["a"])
    ).where(filter=_F("tags", "array_contains_any", ["b"])),
    "contains_ordered": lambda q, _: _desc("n")(q.where(filter=_F("tags", "array_contains", "a"))),
    "nested_field": lambda q, _: q.where(filter=_F("at.x", ">=", 1)),
    "map_equality": lambda q, _: q.where(filter=_F("at", "==", {"x": 2})),
    "map_range": lambda q, _: q.where(filter=_F("at", ">", {"x": 1})),
    "quoted_field": lambda q, _: q.where(filter=_F("`odd name`", "==", 1)),
    "or": lambda q, _: q.where(filter=Or([_F("n", "==", 1), _F("model", "==", "dog")])),
    "or_of_ranges": lambda q, _: q.where(filter=Or([_F("n", "<", 0), _F("n", ">", 2)])),
    "or_overlapping": lambda q, _: q.where(filter=Or([_F("model", "==", "arm"), _F("n", "==", 2)])),
    "or_ordered": lambda q, _: _desc("n")(
        q.where(filter=Or([_F("n", "==", 1), _F("model", "==", "dog")]))
    ),
    "or_limited": lambda q, _: q.where(
        filter=Or([_F("n", "==", 1), _F("model", "==", "dog")])
    ).limit(2),
    "or_inside_and": lambda q, _: q.where(
        filter=And([_F("model", "==", "arm"), Or([_F("n", "==", 1), _F("n", "==", 7)])])
    ),
    "and_inside_or": lambda q, _: q.where(
        filter=Or([And([_F("model", "==", "arm"), _F("n", ">", 1)]), _F("n", "==", -4)])
    ),
    "or_with_in": lambda q, _: q.where(
        filter=Or([_F("model", "in", ["arm", "Arm"]), _F("n", "==", -4)])
    ),
    "or_with_contains_any": lambda q, _: q.where(
        filter=Or([_F("tags", "array_contains_any", ["c"]), _F("n", "==", -4)])
    ),
    "or_with_not_in": lambda q, _: q.where(
        filter=Or([_F("model", "not-in", ["arm"]), _F("n", "==", 1)])
    ),
    "or_with_not_equal": lambda q, _: q.where(
        filter=Or([_F("model", "!=", "arm"), _F("n", "==", 1)])
    ),
    "or_of_one": lambda q, _: q.where(filter=Or([_F("n", "==", 1)])),
    "or_of_31": lambda q, _: q.where(filter=Or([_F("n", "==", n) for n in range(31)])),
    "in_times_in_above_30": lambda q, _: q.where(filter=_F("n", "in", list(range(6)))).where(
        filter=_F("s", "in", list(range(6)))
    ),
    "order": lambda q, _: q.order_by("n"),
    "order_desc": lambda q, _: _desc("n")(q),
    "order_two": lambda q, _: q.order_by("model").order_by("n", direction=Query.DESCENDING),
    "order_same_twice": lambda q, _: q.order_by("n").order_by("n"),
    "order_missing_field": lambda q, _: q.order_by("s"),
    "order_nested": lambda q, _: q.order_by("at.y"),
    "order_map": lambda q, _: q.order_by("at"),
    "order_array": lambda q, _: q.order_by("tags"),
    "order_name": lambda q, _: q.order_by("__name__"),
    "order_name_desc": lambda q, _: _desc("__name__")(q),
    "order_field_then_name_desc": lambda q, _: _desc("__name__")(q.order_by("n")),
    "order_name_then_field": lambda q, _: q.order_by("__name__").order_by("n"),
    "order_differs_from_range": lambda q, _: q.where(filter=_F("n", ">", 1)).order_by("s"),
    "order_by_equal_field": lambda q, _: q.where(filter=_F("n", "==", 2)).order_by("n"),
    "range_then_implicit_order_desc": lambda q, _: _desc("n")(q.where(filter=_F("n", ">", 0))),
    "limit": lambda q, _: q.order_by("n").limit(3),
    "limit_zero": lambda q, _: q.limit(0),
    "limit_negative": lambda q, _: q.limit(-1),
    "offset": lambda q, _: q.order_by("n").offset(2),
    "offset_beyond": lambda q, _: q.order_by("n").offset(200),
    "offset_negative": lambda q, _: q.offset(-1),
    "offset_and_limit": lambda q, _: q.order_by("n").offset(2).limit(2),
    "limit_to_last": lambda q, _: q.order_by("n").limit_to_last(3),
    "limit_to_last_two_orders": lambda q, _: q.order_by("model").order_by("n").limit_to_last(3),
    "limit_to_last_with_cursor": lambda q, _: q.order_by("n").end_before({"n": 3}).limit_to_last(2),
    "start_at": lambda q, _: q.order_by("n").start_at({"n": 2}),
    "start_after": lambda q, _: q.order_by("n").start_after({"n": 2}),
    "end_at": lambda q, _: q.order_by("n").end_at({"n": 2}),
    "end_before": lambda q, _: q.order_by("n").end_before({"n": 2}),
    "start_at_desc": lambda q, _: _desc("n")(q).start_at({"n": 2}),
    "start_after_end_before": lambda q, _: (
        q.order_by("n").start_after({"n": 1}).end_before({"n": 7})
    ),
    "start_past_end": lambda q, _: q.order_by("n").start_at({"n": 7}).end_at({"n": 1}),
    "cursor_on_prefix": lambda q, _: q.order_by("model").order_by("n").start_after(["arm"]),
    "cursor_on_two": lambda q, _: q.order_by("model").order_by("n").start_after(["arm", 2]),
    "cursor_of_other_type": lambda q, _: q.order_by("n").start_at(["a"]),
    "cursor_null": lambda q, _: q.order_by("n").start_after([None]),
    "cursor_nan": lambda q, _: q.order_by("s").start_at([NAN]),
    "cursor_snapshot": lambda q, g: q.order_by("n").start_after(
        g.client.document("robots/r2").get()
    ),
    "cursor_snapshot_without_order": lambda q, g: q.start_after(
        g.client.document("robots/r2").get()
    ),
    "cursor_snapshot_with_range": lambda q, g: q.where(filter=_F("n", ">", 0)).start_at(
        g.client.document("robots/r2").get()
    ),
    "cursor_snapshot_desc": lambda q, g: _desc("n")(q).end_at(g.client.document("robots/r2").get()),
    "cursor_name": lambda q, g: q.order_by("__name__").start_at(
        {"__name__": g.client.document("robots/r3")}
    ),
    "cursor_missing_snapshot": lambda q, g: q.order_by("__name__").start_at(
        {"__name__": g.client.document("robots/r3x")}
    ),
    "cursor_too_many_values": lambda q, _: q.order_by("n").start_at([1, 2]),
    "name_equals": lambda q, g: q.where(filter=_F(NAME, "==", g.client.document("robots/r3"))),
    "name_above": lambda q, g: q.where(filter=_F(NAME, ">", g.client.document("robots/r3"))),
    "name_below_desc": lambda q, g: _desc("__name__")(
        q.where(filter=_F(NAME, "<", g.client.document("robots/r3")))
    ),
    "name_in": lambda q, g: q.where(
        filter=_F(NAME, "in", [g.client.document(f"robots/{i}") for i in ("r5", "r1", "none")])
    ),
    "name_not_in": lambda q, g: q.where(
        filter=_F(NAME, "not-in", [g.client.document("robots/r5")])
    ),
    "name_not_equal": lambda q, g: q.where(filter=_F(NAME, "!=", g.client.document("robots/r5"))),
    "name_as_text": lambda q, _: q.where(filter=_F(NAME, "==", "r3")),
    "name_of_other_collection": lambda q, g: q.where(
        filter=_F(NAME, "==", g.client.document("commands/top"))
    ),
    "name_and_field_range": lambda q, g: q.where(filter=_F("n", ">", 1)).where(
        filter=_F(NAME, ">", g.client.document("robots/r3"))
    ),
    "select": lambda q, _: q.select(["n"]),
    "select_nested": lambda q, _: q.select(["at.x", "n"]),
    "select_nothing": lambda q, _: q.select([]),
    "select_name": lambda q, _: q.select(["__name__"]),
    "select_absent": lambda q, _: q.select(["zz"]),
}


def _robots(ground: FirestoreGround, *, name: str) -> Any:
    query = _ROBOT_QUERIES[name](ground.client.collection("robots"), ground)
    found = query.get()
    if name.startswith("select"):
        return list(found)
    return [snapshot.id for snapshot in found]


def _counted(ground: FirestoreGround, *, name: str) -> Any:
    query = _ROBOT_QUERIES[name](ground.client.collection("robots"), ground)
    return query.count().get()[0][0].value


for _name in _ROBOT_QUERIES:
    queries.add(_name, partial(_robots, name=_name))
    if not _name.startswith(("select", "limit_to_last")):
        queries.add(f"count_{_name}", partial(_counted, name=_name))

_GROUPS: dict[str, Callable[[Any, FirestoreGround], Any]] = {
    "all": lambda q, _: q,
    "filtered": lambda q, _: q.where(filter=_F("n", ">", 1)),
    "ordered": lambda q, _: _desc("n")(q),
    "by_parent": lambda q, _: q.where(filter=_F("robot", "==", "ghost")),
    "limited": lambda q, _: q.order_by("n").limit(2),
    "name_range": lambda q, g: q.where(
        filter=_F(NAME, ">", g.client.document("robots/r1/commands/c1"))
    ),
    "order_name_desc": lambda q, _: _desc("__name__")(q),
    "cursor": lambda q, g: q.order_by("n").start_after(
        g.client.document("robots/r1/commands/c1").get()
    ),
    "count": lambda q, _: q,
}


def _group(ground: FirestoreGround, *, name: str) -> Any:
    query = _GROUPS[name](ground.client.collection_group("commands"), ground)
    if name == "count":
        return query.count().get()[0][0].value
    return [snapshot.reference.path for snapshot in query.stream()]


for _name in _GROUPS:
    queries.add(f"group_{_name}", partial(_group, name=_name))


@queries.case
def group_ignores_other_ids(ground: FirestoreGround) -> Any:
    return [s.reference.path for s in ground.client.collection_group("robots").stream()]


@queries.case
def subcollection_of_missing_parent(ground: FirestoreGround) -> Any:
    commands = ground.client.collection("robots/ghost/commands")
    return [s.id for s in commands.stream()]


@queries.case
def unknown_collection(ground: FirestoreGround) -> Any:
    return list(ground.client.collection("nothing").stream())


@queries.case
def partitions_cover_everything(ground: FirestoreGround) -> Any:
    partitions: list[Any] = list(ground.client.collection_group("commands").get_partitions(2))
    found = [s.reference.path for p in partitions for s in p.query().stream()]
    return sorted(found)


_RAW: dict[str, dict[str, Any]] = {
    "no_from": {},
    "two_from": {"from": [{"collection_id": "robots"}, {"collection_id": "commands"}]},
    "all_descendants_everywhere": {"from": [{"all_descendants": True}]},
    "empty_collection": {"from": [{"collection_id": ""}]},
    "collection_with_slash": {"from": [{"collection_id": "robots/r1/commands"}]},
    "unspecified_operator": {
        "where": {
            "field_filter": {
                "field": {"field_path": "n"},
                "op": 0,
                "value": {"integer_value": 1},
            }
        }
    },
    "filter_without_value": {
        "where": {"field_filter": {"field": {"field_path": "n"}, "op": "EQUAL"}}
    },
    "filter_without_field": {
        "where": {"field_filter": {"op": "EQUAL", "value": {"integer_value": 1}}}
    },
    "empty_filter": {"where": {}},
    "empty_composite": {"where": {"composite_filter": {"op": "AND"}}},
    "composite_without_operator": {
        "where": {
            "composite_filter": {
                "filters": [{"unary_filter": {"field": {"field_path": "n"}, "op": "IS_NULL"}}]
            }
        }
    },
    "unary_is_null": {
        "where": {"unary_filter": {"field": {"field_path": "model"}, "op": "IS_NULL"}}
    },
    "unary_is_not_null": {
        "where": {"unary_filter": {"field": {"field_path": "model"}, "op": "IS_NOT_NULL"}}
    },
    "unary_is_nan": {"where": {"unary_filter": {"field": {"field_path": "s"}, "op": "IS_NAN"}}},
    "unary_is_not_nan": {
        "where": {"unary_filter": {"field": {"field_path": "s"}, "op": "IS_NOT_NAN"}}
    },
    "equal_null_value": {
        "where": {
            "field_filter": {
                "field": {"field_path": "model"},
                "op": "EQUAL",
                "value": {"null_value": None},
            }
        }
    },
    "in_without_array": {
        "where": {
            "field_filter": {
                "field": {"field_path": "n"},
                "op": "IN",
                "value": {"integer_value": 1},
            }
        }
    },
    "bad_field_path": {"order_by": [{"field": {"field_path": "a..b"}}]},
    "empty_field_path": {"order_by": [{"field": {"field_path": ""}}]},
    "order_without_direction": {"order_by": [{"field": {"field_path": "n"}}]},
    "cursor_without_order": {"start_at": {"values": [{"integer_value": 1}], "before": True}},
    "cursor_empty": {"start_at": {"values": []}},
    "cursor_name_of_wrong_type": {
        "order_by": [{"field": {"field_path": "__name__"}}],
        "start_at": {"values": [{"string_value": "r1"}], "before": True},
    },
    "limit_negative": {"limit": -1},
    "limit_zero": {"limit": 0},
    "offset_negative": {"offset": -1},
    "select_empty": {"select": {"fields": []}},
    "select_bad_path": {"select": {"fields": [{"field_path": "a..b"}]}},
    "reserved_collection": {"from": [{"collection_id": "__robots__"}]},
}


def _raw_query(ground: FirestoreGround, *, name: str) -> Any:
    query = {"from_": [{"collection_id": "robots"}], **_RAW[name]}
    if "from" in query:
        query["from_"] = query.pop("from")
    if name == "no_from":
        del query["from_"]
    request = {"parent": ground.root, "structured_query": query}
    answers = list(ground.api.run_query(request=request))
    return [answer.document.name.rsplit("/", 1)[-1] for answer in answers if answer.document]


for _name in _RAW:
    raw_queries.add(_name, partial(_raw_query, name=_name))


@raw_queries.case
def no_query(ground: FirestoreGround) -> Any:
    return len(list(ground.api.run_query(request={"parent": ground.root})))


@raw_queries.case
def parent_is_a_collection(ground: FirestoreGround) -> Any:
    query = {"from_": [{"collection_id": "commands"}]}
    request = {"parent": f"{ground.root}/robots", "structured_query": query}
    return len(list(ground.api.run_query(request=request)))


@raw_queries.case
def skipped_results_are_reported(ground: FirestoreGround) -> Any:
    query = {"from_": [{"collection_id": "robots"}], "offset": 3, "limit": 2}
    request = {"parent": ground.root, "structured_query": query}
    answers = list(ground.api.run_query(request=request))
    return sum(answer.skipped_results for answer in answers)


@raw_queries.case
def empty_result_has_a_read_time(ground: FirestoreGround) -> Any:
    query = {"from_": [{"collection_id": "nothing"}]}
    request = {"parent": ground.root, "structured_query": query}
    return [bool(answer.read_time) for answer in ground.api.run_query(request=request)]


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

AREAS = [queries, raw_queries, aggregations, vectors]
