"""Limits and names: what Firestore refuses to store, and with which code."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from google.cloud.firestore import Increment

from conformance.answers import attempt
from conformance.model import Area, FirestoreGround

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AREAS"]

limits = Area("firestore", "limits")

MIB = 1024 * 1024


def _set(ground: FirestoreGround, fields: dict[str, Any], *, name: str = "d") -> Any:
    body = {"update": {"name": f"{ground.root}/{ground.case}/{name}", "fields": fields}}
    return attempt(
        lambda: ground.api.commit(request={"database": ground.database, "writes": [body]}) and None
    )


def _deep_map(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"integer_value": 1}
    for _ in range(depth):
        value = {"map_value": {"fields": {"m": value}}}
    return value


_FIELDS: dict[str, Callable[[], dict[str, Any]]] = {
    "string_of_1048487_bytes": lambda: {"a": {"string_value": "x" * 1048487}},
    "string_of_1048488_bytes": lambda: {"a": {"string_value": "x" * 1048488}},
    "bytes_of_1_mib": lambda: {"a": {"bytes_value": b"x" * MIB}},
    "two_halves_too_large_together": lambda: {
        "a": {"string_value": "x" * (MIB // 2)},
        "b": {"string_value": "x" * (MIB // 2)},
    },
    "many_fields": lambda: {f"f{n:05}": {"integer_value": n} for n in range(1000)},
    "depth_19": lambda: {"a": _deep_map(19)},
    "depth_20": lambda: {"a": _deep_map(20)},
    "depth_21": lambda: {"a": _deep_map(21)},
    "field_name_1500_bytes": lambda: {"n" * 1500: {"integer_value": 1}},
    "field_name_1501_bytes": lambda: {"n" * 1501: {"integer_value": 1}},
    "field_name_empty": lambda: {"": {"integer_value": 1}},
    "field_name_reserved": lambda: {"__a__": {"integer_value": 1}},
    "field_name_half_reserved": lambda: {"__a": {"integer_value": 1}},
    "field_name_underscores": lambda: {"____": {"integer_value": 1}},
    "field_name_with_dot": lambda: {"a.b": {"integer_value": 1}},
    "field_name_with_slash": lambda: {"a/b*[c]~": {"integer_value": 1}},
    "field_name_umlaut": lambda: {"\u00e9": {"integer_value": 1}},
    "nested_field_name_reserved": lambda: {
        "a": {"map_value": {"fields": {"__a__": {"integer_value": 1}}}}
    },
    "nested_field_name_empty": lambda: {"a": {"map_value": {"fields": {"": {"integer_value": 1}}}}},
    "timestamp_too_early": lambda: {"a": {"timestamp_value": {"seconds": -62135596801}}},
    "timestamp_too_late": lambda: {"a": {"timestamp_value": {"seconds": 253402300800}}},
    "timestamp_nanoseconds_too_many": lambda: {
        "a": {"timestamp_value": {"seconds": 1, "nanos": 1_000_000_000}}
    },
    "longitude_out_of_range": lambda: {"a": {"geo_point_value": {"longitude": 180.5}}},
    "latitude_nan": lambda: {"a": {"geo_point_value": {"latitude": float("nan")}}},
}

_IDS: dict[str, str] = {
    "dot": ".",
    "two_dots": "..",
    "three_dots": "...",
    "reserved": "__a__",
    "reserved_short": "____",
    "half_reserved": "__a",
    "numeric_id": "__id42__",
    "umlaut": "\u00e9",
    "space": "a b",
    "percent": "a%2Fb",
    "colon": "a:b",
    "bytes_1500": "i" * 1500,
    "bytes_1501": "i" * 1501,
    "two_segments": "a/b",
    "three_segments": "a/b/c",
    "trailing_slash": "a/",
    "empty": "",
    "null_character": "a\x00b",
    "line_break": "a\nb",
}


def _fields(ground: FirestoreGround, *, name: str) -> Any:
    return [_set(ground, _FIELDS[name]()), ground.docs.document("d").get().exists]


def _document_id(ground: FirestoreGround, *, name: str) -> Any:
    return [_set(ground, {}, name=_IDS[name]), len(list(ground.docs.list_documents()))]


def _collection_id(ground: FirestoreGround, *, name: str) -> Any:
    body = {"update": {"name": f"{ground.root}/{ground.case}/d/{_IDS[name]}/e"}}
    return attempt(
        lambda: ground.api.commit(request={"database": ground.database, "writes": [body]}) and None
    )


for _name in _FIELDS:
    limits.add(_name, partial(_fields, name=_name))
for _name in _IDS:
    limits.add(f"document_id_{_name}", partial(_document_id, name=_name))
    limits.add(f"collection_id_{_name}", partial(_collection_id, name=_name))


@limits.case
def path_of_101_collections(ground: FirestoreGround) -> Any:
    return _set(ground, {}, name="d" + "/c/d" * 100)


@limits.case
def commit_of_500_writes(ground: FirestoreGround) -> Any:
    return _many(ground, 500)


@limits.case
def commit_of_501_writes(ground: FirestoreGround) -> Any:
    return _many(ground, 501)


def _many(ground: FirestoreGround, count: int) -> Any:
    batch = ground.client.batch()
    for number in range(count):
        batch.set(ground.docs.document(f"{number:04}"), {})
    docs: Any = ground.docs
    outcome = attempt(lambda: len(batch.commit()))
    return [outcome, docs.count().get()[0][0].value]


def _transforms(ground: FirestoreGround, count: int) -> Any:
    change = {f"n{number}": Increment(1) for number in range(count)}
    return attempt(lambda: ground.docs.document("d").set(change) and None)


@limits.case
def transforms_500_of_one_document(ground: FirestoreGround) -> Any:
    return _transforms(ground, 500)


@limits.case
def transforms_501_of_one_document(ground: FirestoreGround) -> Any:
    return _transforms(ground, 501)


@limits.case
def index_entries_40001(ground: FirestoreGround) -> Any:
    values = [{"integer_value": n} for n in range(20_001)]
    return _set(ground, {"a": {"array_value": {"values": values}}})


@limits.case
def vector_of_2048(ground: FirestoreGround) -> Any:
    return _vector(ground, 2048)


@limits.case
def vector_of_2049(ground: FirestoreGround) -> Any:
    return _vector(ground, 2049)


@limits.case
def vector_of_nothing(ground: FirestoreGround) -> Any:
    return _vector(ground, 0)


def _vector(ground: FirestoreGround, size: int) -> Any:
    values = [{"double_value": 1.0}] * size
    fields = {
        "__type__": {"string_value": "__vector__"},
        "value": {"array_value": {"values": values}},
    }
    return _set(ground, {"v": {"map_value": {"fields": fields}}})


AREAS = [limits]
