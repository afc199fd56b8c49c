"""Every kind of write, precondition and transform."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from google.cloud import firestore
from google.cloud.firestore_v1 import types
from google.protobuf import timestamp_pb2

from conformance.answers import attempt
from conformance.model import Area, FirestoreGround

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AREAS"]

writes = Area("firestore", "writes")
batches = Area("firestore", "batch-write")

_BEFORE = {"a": 1, "b": {"c": 2, "d": [1, 2, 3]}, "e f": "x", "text": "old", "none": None}

_UPDATES: dict[str, dict[str, Any]] = {
    "field": {"a": 2},
    "new_field": {"z": 2},
    "nested_field": {"b.c": 3},
    "nested_new": {"b.new.deep": 3},
    "through_a_number": {"a.x": 3},
    "through_null": {"none.x": 3},
    "whole_map": {"b": {"only": 1}},
    "quoted_path": {"`e f`": "y"},
    "delete_field": {"a": firestore.DELETE_FIELD},
    "delete_nested": {"b.c": firestore.DELETE_FIELD},
    "delete_absent": {"zz.yy": firestore.DELETE_FIELD},
    "delete_and_set": {"a": firestore.DELETE_FIELD, "b.c": 5},
    "conflicting_paths": {"b": 1, "b.c": 2},
    "empty": {},
    "union": {"b.d": firestore.ArrayUnion([3, 4])},
    "remove": {"b.d": firestore.ArrayRemove([1, 9])},
    "increment": {"a": firestore.Increment(5)},
    "server_time": {"at": firestore.SERVER_TIMESTAMP},
}

_MERGES: dict[str, tuple[dict[str, Any], Any]] = {
    "all": ({"a": 5, "b": {"new": 1}}, True),
    "all_empty_map": ({"b": {}}, True),
    "all_empty": ({}, True),
    "listed": ({"a": 5, "b": {"c": 9}}, ["a", "b.c"]),
    "listed_whole_map": ({"b": {"c": 9}}, ["b"]),
    "listed_absent": ({"a": 5}, ["a", "zz"]),
    "all_with_delete": ({"a": firestore.DELETE_FIELD, "n": 1}, True),
    "all_with_transform": ({"a": firestore.Increment(1), "t": firestore.SERVER_TIMESTAMP}, True),
    "no_merge": ({"n": 1}, False),
}


def _update(ground: FirestoreGround, *, name: str) -> Any:
    reference = ground.docs.document("d")
    reference.set(_BEFORE)
    return [attempt(lambda: reference.update(_UPDATES[name]) and None), reference.get()]


def _update_missing(ground: FirestoreGround, *, name: str) -> Any:
    reference = ground.docs.document("d")
    return [attempt(lambda: reference.update(_UPDATES[name]) and None), reference.get()]


def _merge(ground: FirestoreGround, *, name: str, exists: bool) -> Any:
    reference = ground.docs.document("d")
    if exists:
        reference.set(_BEFORE)
    data, merge = _MERGES[name]
    return [attempt(lambda: reference.set(data, merge=merge) and None), reference.get()]


for _name in _UPDATES:
    writes.add(f"update_{_name}", partial(_update, name=_name))
    writes.add(f"update_missing_{_name}", partial(_update_missing, name=_name))
for _name in _MERGES:
    writes.add(f"set_merge_{_name}", partial(_merge, name=_name, exists=True))
    writes.add(f"set_merge_{_name}_on_nothing", partial(_merge, name=_name, exists=False))


@writes.case
def create(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    reference.create({"n": 1})
    return reference.get()


@writes.case
def create_twice(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    reference.create({"n": 1})
    return [attempt(lambda: reference.create({"n": 2}) and None), reference.get()]


@writes.case
def create_after_delete(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    reference.create({"n": 1})
    reference.delete()
    reference.create({"n": 2})
    return reference.get()


@writes.case
def set_replaces(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    reference.set({"a": 1})
    reference.set({"b": 2})
    return reference.get()


@writes.case
def set_same_again_keeps_update_time(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    first = reference.set({"a": 1})
    second = reference.set({"a": 1})
    return [first.update_time == second.update_time, reference.get()]


@writes.case
def empty_document(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    reference.set({})
    return reference.get()


@writes.case
def delete_missing(ground: FirestoreGround) -> Any:
    ground.docs.document("d").delete()
    return ground.docs.document("d").get()


@writes.case
def delete_keeps_subcollections(ground: FirestoreGround) -> Any:
    parent = ground.docs.document("d")
    parent.set({"n": 1})
    child = parent.collection("sub").document("c")
    child.set({"n": 2})
    parent.delete()
    return [parent.get(), child.get()]


@writes.case
def add_mints_an_id(ground: FirestoreGround) -> Any:
    _, reference = ground.docs.add({"n": 1})
    return [len(reference.id), reference.get().to_dict()]


@writes.case
def generated_create_document(ground: FirestoreGround) -> Any:
    made = ground.api.create_document(
        request={"parent": ground.root, "collection_id": ground.case, "document": {}}
    )
    return [len(made.name.rsplit("/")[-1]), made.create_time == made.update_time]


_PRECONDITIONS: dict[str, Callable[[FirestoreGround, Any], Any]] = {
    "exists_true": lambda ground, _: ground.client.write_option(exists=True),
    "exists_false": lambda ground, _: ground.client.write_option(exists=False),
    "right_time": lambda ground, seen: ground.client.write_option(
        last_update_time=seen or timestamp_pb2.Timestamp(seconds=1000)
    ),
    "wrong_time": lambda ground, _: ground.client.write_option(
        last_update_time=timestamp_pb2.Timestamp(seconds=1000)
    ),
}


def _precondition(ground: FirestoreGround, *, verb: str, condition: str, exists: bool) -> Any:
    reference = ground.docs.document("d")
    seen = reference.set({"n": 1}).update_time if exists else None
    option = _PRECONDITIONS[condition](ground, seen)

    def act() -> None:
        if verb == "delete":
            reference.delete(option=option)
        else:
            reference.update({"n": 2}, option=option)

    return [attempt(act), reference.get()]


for _verb in ("update", "delete"):
    for _condition in _PRECONDITIONS:
        for _exists in (True, False):
            writes.add(
                f"{_verb}_if_{_condition}_{'there' if _exists else 'not_there'}",
                partial(_precondition, verb=_verb, condition=_condition, exists=_exists),
            )


def _raw_write(ground: FirestoreGround, write: dict[str, Any]) -> Any:
    answer = ground.api.commit(request={"database": ground.database, "writes": [write]})
    return [types.WriteResult.to_dict(result).keys() >= set() for result in answer.write_results]


def _named(ground: FirestoreGround, path: str = "d") -> str:
    return f"{ground.root}/{ground.case}/{path}"


_RAW_WRITES: dict[str, Callable[[FirestoreGround], dict[str, Any]]] = {
    "nothing": lambda _: {},
    "mask_of_absent_field": lambda g: {
        "update": {"name": _named(g)},
        "update_mask": {"field_paths": ["zz"]},
    },
    "empty_mask_creates": lambda g: {"update": {"name": _named(g)}, "update_mask": {}},
    "mask_with_bad_path": lambda g: {
        "update": {"name": _named(g)},
        "update_mask": {"field_paths": ["a..b"]},
    },
    "mask_with_document_id": lambda g: {
        "update": {"name": _named(g)},
        "update_mask": {"field_paths": ["__name__"]},
    },
    "collection_name": lambda g: {"update": {"name": f"{g.root}/{g.case}"}},
    "other_database": lambda g: {
        "update": {"name": f"projects/demo-conformance/databases/other/documents/{g.case}/d"}
    },
    "other_project": lambda g: {
        "update": {"name": f"projects/elsewhere/databases/x/documents/{g.case}/d"}
    },
    "no_name": lambda _: {"update": {"fields": {"a": {"integer_value": 1}}}},
    "value_without_type": lambda g: {"update": {"name": _named(g), "fields": {"a": {}}}},
    "array_in_array": lambda g: {
        "update": {
            "name": _named(g),
            "fields": {"a": {"array_value": {"values": [{"array_value": {}}]}}},
        }
    },
    "geo_out_of_range": lambda g: {
        "update": {
            "name": _named(g),
            "fields": {"a": {"geo_point_value": {"latitude": 91.0, "longitude": 0.0}}},
        }
    },
    "bad_reference": lambda g: {
        "update": {"name": _named(g), "fields": {"a": {"reference_value": "robots/a"}}}
    },
    "transform_alone_creates": lambda g: {
        "transform": {
            "document": _named(g),
            "field_transforms": [{"field_path": "n", "increment": {"integer_value": 1}}],
        }
    },
    "transform_without_fields": lambda g: {"transform": {"document": _named(g)}},
    "transform_of_same_field_twice": lambda g: {
        "update": {"name": _named(g)},
        "update_transforms": [
            {"field_path": "n", "increment": {"integer_value": 1}},
            {"field_path": "n", "increment": {"integer_value": 1}},
        ],
    },
    "transform_below_another": lambda g: {
        "update": {"name": _named(g)},
        "update_transforms": [
            {"field_path": "n", "increment": {"integer_value": 1}},
            {"field_path": "n.m", "increment": {"integer_value": 1}},
        ],
    },
    "update_and_transform_same_field": lambda g: {
        "update": {"name": _named(g), "fields": {"n": {"integer_value": 4}}},
        "update_transforms": [{"field_path": "n", "increment": {"integer_value": 1}}],
    },
    "exists_false_delete": lambda g: {
        "delete": _named(g),
        "current_document": {"exists": False},
    },
}


def _raw(ground: FirestoreGround, *, name: str) -> Any:
    outcome = attempt(lambda: _raw_write(ground, _RAW_WRITES[name](ground)))
    return [outcome, ground.docs.document("d").get()]


for _name in _RAW_WRITES:
    writes.add(f"raw_{_name}", partial(_raw, name=_name))


def _batch_write(ground: FirestoreGround, writes_: list[dict[str, Any]]) -> Any:
    answer = ground.api.batch_write(request={"database": ground.database, "writes": writes_})
    return [status.code for status in answer.status]


@batches.case
def independent_outcomes(ground: FirestoreGround) -> Any:
    missing = {"current_document": {"exists": True}}
    outcome = _batch_write(
        ground,
        [
            {"update": {"name": _named(ground, "a")}},
            {"update": {"name": _named(ground, "b")}, **missing},
            {"update": {"name": _named(ground, "c")}},
        ],
    )
    return [outcome, sorted(s.id for s in ground.docs.stream())]


@batches.case
def same_document_twice(ground: FirestoreGround) -> Any:
    write = {"update": {"name": _named(ground, "a")}}
    return _batch_write(ground, [write, write])


@batches.case
def no_writes(ground: FirestoreGround) -> Any:
    return _batch_write(ground, [])


@batches.case
def bulk_writer(ground: FirestoreGround) -> Any:
    writer: Any = ground.client.bulk_writer()
    for number in range(45):
        writer.create(ground.docs.document(f"{number:03}"), {"n": number})
    writer.close()
    return [s.id for s in ground.docs.stream()]


@batches.case
def atomic_commit_fails_as_a_whole(ground: FirestoreGround) -> Any:
    batch = ground.client.batch()
    batch.set(ground.docs.document("a"), {})
    batch.update(ground.docs.document("missing"), {"n": 1})
    return [attempt(lambda: batch.commit() and None), sorted(s.id for s in ground.docs.stream())]


@batches.case
def same_document_twice_in_a_commit(ground: FirestoreGround) -> Any:
    batch = ground.client.batch()
    batch.set(ground.docs.document("a"), {"n": 1})
    batch.update(ground.docs.document("a"), {"n": firestore.Increment(1)})
    batch.commit()
    return ground.docs.document("a").get()


@batches.case
def create_and_delete_in_a_commit(ground: FirestoreGround) -> Any:
    batch = ground.client.batch()
    batch.create(ground.docs.document("a"), {"n": 1})
    batch.delete(ground.docs.document("a"))
    batch.commit()
    return ground.docs.document("a").get()


AREAS = [writes, batches]
