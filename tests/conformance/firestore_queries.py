"""Queries: filters together, orders, cursors, groups, limits, partitions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from google.cloud.firestore import And, FieldFilter, Or, Query
from google.cloud.firestore_v1.field_path import FieldPath

from conformance.model import Area, FirestoreGround

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AREAS", "seed"]

queries = Area("firestore", "queries")

NAN = float("nan")
NAME = FieldPath.document_id()
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


def seed(ground: FirestoreGround) -> None:
    """Store the robots that queries look for."""
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


queries.seed = seed


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


AREAS = [queries]
