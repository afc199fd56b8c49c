"""Every type there and back, and the order and the filters over all of them."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Any

from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.cloud.firestore import GeoPoint, Query
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.firestore_v1.vector import Vector

from conformance.model import Area, FirestoreGround

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AREAS"]

MAX_INT = 2**63 - 1
MIN_INT = -(2**63)
UTC = dt.UTC

_precise: Any = DatetimeWithNanoseconds

VALUES: dict[str, Callable[[FirestoreGround], Any]] = {
    "null": lambda _: None,
    "false": lambda _: False,
    "true": lambda _: True,
    "nan": lambda _: float("nan"),
    "minus_infinity": lambda _: float("-inf"),
    "min_int": lambda _: MIN_INT,
    "minus_one": lambda _: -1,
    "minus_zero": lambda _: -0.0,
    "zero": lambda _: 0,
    "zero_double": lambda _: 0.0,
    "tiny_double": lambda _: 5e-324,
    "one": lambda _: 1,
    "one_double": lambda _: 1.0,
    "one_and_a_half": lambda _: 1.5,
    "beyond_double": lambda _: 2**53 + 1,
    "double_beside_it": lambda _: float(2**53),
    "max_int": lambda _: MAX_INT,
    "max_int_as_double": lambda _: float(2**63),
    "infinity": lambda _: float("inf"),
    "early_time": lambda _: dt.datetime(1, 1, 1, tzinfo=UTC),
    "time_before_1970": lambda _: dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    "time": lambda _: dt.datetime(2024, 1, 4, 21, 20, tzinfo=UTC),
    "time_nanoseconds": lambda _: _precise(2024, 1, 4, 21, 20, nanosecond=123456789, tzinfo=UTC),
    "late_time": lambda _: dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    "empty_string": lambda _: "",
    "string": lambda _: "abc",
    "string_prefix": lambda _: "ab",
    "string_upper": lambda _: "Abc",
    "string_umlaut": lambda _: "\u00e9",
    "string_private_use": lambda _: "\uffee",
    "string_astral": lambda _: "\U0001f916",
    "string_with_null": lambda _: "a\x00b",
    "empty_bytes": lambda _: b"",
    "bytes": lambda _: b"\x00\xff",
    "bytes_longer": lambda _: b"\x00\xff\x00",
    "reference": lambda ground: ground.client.document("robots/a"),
    "reference_deeper": lambda ground: ground.client.document("robots/a/commands/b"),
    "reference_numeric_id": lambda ground: ground.client.document("robots/__id7__"),
    "geo": lambda _: GeoPoint(52.5, 13.4),
    "geo_extreme": lambda _: GeoPoint(-90.0, 180.0),
    "empty_array": lambda _: [],
    "array": lambda _: [1, "two", None, {"three": 3.0}],
    "array_of_one": lambda _: [1],
    "array_of_nan": lambda _: [float("nan")],
    "empty_map": lambda _: {},
    "map": lambda _: {"a": 1, "b": {"c": [True]}},
    "map_shorter": lambda _: {"a": 1},
    "map_later_key": lambda _: {"b": 0},
    "vector": lambda _: Vector([1.0, 2.0, 3.0]),
    "vector_short": lambda _: Vector([9.0]),
    "vector_of_nan": lambda _: Vector([float("nan")]),
}

# Google's emulator stores no vector with a NaN in it.
_STORABLE = [name for name in VALUES if name != "vector_of_nan"]
_COMPARISONS = ["==", "!=", "<", "<=", ">", ">="]
_LISTS: dict[str, Callable[[FirestoreGround], Any]] = {
    "numbers": lambda _: [1, 1.5, 0],
    "null_and_nan": lambda _: [None, float("nan")],
    "mixed": lambda ground: ["abc", True, b"\x00\xff", ground.client.document("robots/a")],
    "arrays": lambda _: [[1], []],
    "maps": lambda _: [{"a": 1}, {}],
    "empty": lambda _: [],
    "thirty": lambda _: list(range(30)),
    "thirty_one": lambda _: list(range(31)),
    "eleven": lambda _: list(range(11)),
    "hundred": lambda _: list(range(100)),
    "hundred_and_one": lambda _: list(range(101)),
    "twice_the_same": lambda _: [1, 1],
}

round_trips = Area("firestore", "values")
ordering = Area("firestore", "value-order")


def _round_trip(ground: FirestoreGround, name: str) -> Any:
    reference = ground.docs.document("d")
    reference.set({"v": VALUES[name](ground)})
    return reference.get()


def _nested(ground: FirestoreGround, name: str) -> Any:
    value = VALUES[name](ground)
    reference = ground.docs.document("d")
    wrapped: dict[str, Any] = {"map": {"v": value}}
    if not isinstance(value, list):
        wrapped["array"] = [value]
    reference.set(wrapped)
    return reference.get()


def _seed(ground: FirestoreGround) -> None:
    batch = ground.client.batch()
    mixed = ground.client.collection("mixed")
    for name in _STORABLE:
        batch.set(mixed.document(name), {"v": VALUES[name](ground), "name": name})
    batch.set(mixed.document("absent"), {"name": "absent"})
    batch.commit()


def _ids(query: Any) -> list[str]:
    return [snapshot.id for snapshot in query.stream()]


def _mixed(ground: FirestoreGround) -> Any:
    return ground.client.collection("mixed")


def _ordered(ground: FirestoreGround, *, direction: str) -> Any:
    return _ids(_mixed(ground).order_by("v", direction=direction))


def _filtered(ground: FirestoreGround, *, op: str, name: str) -> Any:
    return _ids(_mixed(ground).where(filter=FieldFilter("v", op, VALUES[name](ground))))


def _listed(ground: FirestoreGround, *, op: str, name: str) -> Any:
    return _ids(_mixed(ground).where(filter=FieldFilter("v", op, _LISTS[name](ground))))


def _started(ground: FirestoreGround, *, name: str, method: str) -> Any:
    query = _mixed(ground).order_by("v")
    return _ids(getattr(query, method)({"v": VALUES[name](ground)}))


ordering.seed = _seed
for _name in VALUES:
    round_trips.add(f"round_trip_{_name}", partial(_round_trip, name=_name))
    round_trips.add(f"nested_{_name}", partial(_nested, name=_name))
for _name in _STORABLE:
    for _op in _COMPARISONS:
        ordering.add(f"{_op} {_name}", partial(_filtered, op=_op, name=_name))
    ordering.add(f"contains {_name}", partial(_filtered, op="array_contains", name=_name))
    for _method in ("start_at", "start_after", "end_at", "end_before"):
        ordering.add(f"{_method} {_name}", partial(_started, name=_name, method=_method))
for _direction in (Query.ASCENDING, Query.DESCENDING):
    ordering.add(f"order {_direction.lower()}", partial(_ordered, direction=_direction))
for _list in _LISTS:
    for _op in ("in", "not-in", "array_contains_any"):
        ordering.add(f"{_op} {_list}", partial(_listed, op=_op, name=_list))

AREAS = [round_trips, ordering]
