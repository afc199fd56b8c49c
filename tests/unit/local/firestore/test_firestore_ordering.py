"""The byte order of values is Firestore's order."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from google.cloud.firestore_v1 import GeoPoint
from google.cloud.firestore_v1._helpers import encode_value as client_value
from google.cloud.firestore_v1.vector import Vector
from hypothesis import given
from hypothesis import strategies as st

from continuon_local.firestore.messages import Document, Value
from continuon_local.firestore.ordering import encode_path, encode_value, invert, type_range
from continuon_local.firestore.paths import decode_id, encode_id, encode_segment
from own_messages import own

_ROOT = "projects/p/databases/(default)/documents"


def key(python: Any) -> bytes:
    return encode_value(own(client_value(python)))


def reference(path: str) -> bytes:
    return encode_value(Value(reference_value=f"{_ROOT}/{path}"))


IN_ORDER = [
    key(None),
    key(False),  # noqa: FBT003 - a value of the type under test
    key(True),  # noqa: FBT003
    key(float("nan")),
    key(float("-inf")),
    key(-(2**63)),
    key(-1.5),
    key(-1),
    key(-5e-324),
    key(0),
    key(5e-324),
    key(1),
    key(1.5),
    key(2**53),
    key(2**53 + 1),
    key(2**53 + 2),
    key(2**63 - 1025),
    key(float(2**63 - 1024)),
    key(2**63 - 1023),
    key(2**63 - 1),
    key(float(2**63)),
    key(float("inf")),
    key(datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC)),
    key(datetime(1970, 1, 1, tzinfo=UTC)),
    key(datetime(1970, 1, 1, microsecond=1, tzinfo=UTC)),
    key(""),
    key("\x00"),
    key("\x00\x00"),
    key("a"),
    key("a\x00"),
    key("ab"),
    key("\uffff"),
    key("\U00010000"),  # after U+FFFF in UTF-8, before it in UTF-16
    key(b""),
    key(b"\x00"),
    key(b"a"),
    key(b"\xff"),
    reference("a/__id-3__"),
    reference("a/__id7__"),
    reference("a/__id10__"),
    reference("a/b"),
    reference("a/b/c/d"),
    reference("a/ba"),
    key(GeoPoint(-90, 0)),
    key(GeoPoint(0, -180)),
    key(GeoPoint(0, 180)),
    key([]),
    key([None]),
    key([1]),
    key([1, 2]),
    key([2]),
    key(Vector([9.0])),
    key(Vector([1.0, 2.0])),
    key(Vector([1.0, 3.0])),
    key({}),
    key({"a": 1}),
    key({"a": 1, "b": 0}),
    key({"a": 2}),
    key({"b": 0}),
]


@pytest.mark.parametrize(("smaller", "larger"), list(pairwise(IN_ORDER)))
def test_values_of_all_types_sort_as_documented(smaller: bytes, larger: bytes) -> None:
    assert smaller < larger


def test_numbers_are_equal_across_types_and_signs_of_zero() -> None:
    assert key(1) == key(1.0)
    assert key(0) == key(0.0) == key(-0.0)
    assert key(2**53 + 1) != key(float(2**53 + 1))


@given(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
def test_integers_and_doubles_compare_exactly(integer: int, double: float) -> None:
    assert (key(integer) < key(double)) == (integer < double)
    assert (key(integer) == key(double)) == (integer == double)


_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary()
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)


@given(_VALUES, _VALUES)
def test_no_encoding_begins_another_so_inverting_reverses_the_order(one: Any, other: Any) -> None:
    first, second = key(one), key(other)
    assert first == second or not first.startswith(second)
    assert (first < second) == (invert(first) > invert(second))


@given(st.text(min_size=1), st.text(min_size=1))
def test_document_ids_sort_as_utf8(one: str, other: str) -> None:
    assert decode_id(encode_id(one)) == one
    if not (one.startswith("__") or other.startswith("__")):
        assert (encode_segment(one) < encode_segment(other)) == (one.encode() < other.encode())


def test_an_inequality_covers_its_own_type_only() -> None:
    low, high = type_range(key(3))
    assert low < key(float("-inf"))
    assert key(float("inf")) < high
    assert not low <= key(float("nan")) < high
    assert not low <= key("3") < high


def test_a_malformed_reference_in_a_document_still_sorts() -> None:
    assert encode_path("") < encode_path("projects/p")
    assert Document().fields == {}
