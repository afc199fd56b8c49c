"""Whatever JSON a recording carries fits into a document and comes back as it was."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud.firestore_v1 import _helpers
from hypothesis import given
from hypothesis import strategies as st

from continuon.platform.documents import restored, storable

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("$json"), inner),
)


def assert_firestore_can_hold(value: Any, depth: int = 0) -> None:
    assert depth <= 19
    if isinstance(value, dict):
        for name, item in value.items():
            assert name
            assert not (name.startswith("__") and name.endswith("__") and len(name) > 3)
            assert_firestore_can_hold(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            assert not isinstance(item, list)
            assert_firestore_can_hold(item, depth + 1)


@given(_JSON)
def test_any_json_fits_and_comes_back(value: Any) -> None:
    stored = storable(value)
    assert_firestore_can_hold(stored)
    _helpers.encode_dict({"metadata": stored})
    assert restored(stored) == value


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1, "b": [1.5, "x", None, True], "c": {"d": {}}, "a.b": 1, "caf\u00e9": ""},
        [{"a": [1]}, {"b": [2]}],
        2**63 - 1,
    ],
)
def test_ordinary_values_stay_as_they_are(value: Any) -> None:
    assert storable(value) == value


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "value",
    [
        {"matrix": [[1, 2], [3, 4]]},
        {"big": 2**63, "small": -(2**63) - 1},
        {"": 1},
        {"__name__": 1},
        {"$json": "1"},
        {"a" * 1501: 1},
        _nested(32),
    ],
)
def test_what_a_document_cannot_hold_is_kept_as_text(value: Any) -> None:
    stored = storable(value)
    assert stored != value
    assert_firestore_can_hold(stored)
    assert restored(stored) == value
