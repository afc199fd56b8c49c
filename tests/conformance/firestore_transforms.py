"""Field transforms: arithmetic, extremes, arrays and the server's time."""

from __future__ import annotations

from functools import partial
from typing import Any

from google.cloud import firestore
from google.cloud.firestore_v1 import types

from conformance.answers import attempt
from conformance.model import Area, FirestoreGround

__all__ = ["AREAS"]

MAX_INT = 2**63 - 1
MIN_INT = -(2**63)

transforms = Area("firestore", "transforms")

_NUMBERS: dict[str, Any] = {
    "int": 5,
    "double": 1.5,
    "nan": float("nan"),
    "infinity": float("inf"),
    "max_int": MAX_INT,
    "min_int": MIN_INT,
    "minus_zero": -0.0,
    "text": "x",
    "null": None,
    "array": [1],
}
_OPERANDS: dict[str, Any] = {
    "one": 1,
    "minus_one": -1,
    "half": 0.5,
    "max_int": MAX_INT,
    "min_int": MIN_INT,
    "nan": float("nan"),
    "minus_infinity": float("-inf"),
    "zero": 0,
}
_NUMERIC = {
    "increment": firestore.Increment,
    "maximum": firestore.Maximum,
    "minimum": firestore.Minimum,
}


def _numeric(ground: FirestoreGround, *, transform: str, before: str, operand: str) -> Any:
    reference = ground.docs.document("d")
    reference.set({} if before == "absent" else {"n": _NUMBERS[before]})
    change = {"n": _NUMERIC[transform](_OPERANDS[operand])}
    return [attempt(lambda: reference.update(change) and None), reference.get()]


for _transform in _NUMERIC:
    for _before in [*_NUMBERS, "absent"]:
        for _operand in _OPERANDS:
            transforms.add(
                f"{_transform} {_before} by {_operand}",
                partial(_numeric, transform=_transform, before=_before, operand=_operand),
            )

_ARRAYS: dict[str, Any] = {
    "numbers": [1, 2, 1],
    "mixed": [1, 1.0, "a", None, float("nan")],
    "empty": [],
    "text": "x",
    "null": None,
    "map": {"a": 1},
}
_ELEMENTS: dict[str, list[Any]] = {
    "one": [1],
    "one_double": [1.0],
    "new_twice": [7, 7],
    "nan": [float("nan")],
    "null": [None],
    "map": [{"a": 1}],
    "none": [],
    "minus_zero": [-0.0],
}
_ARRAY_TRANSFORMS = {"union": firestore.ArrayUnion, "remove": firestore.ArrayRemove}


def _array(ground: FirestoreGround, *, transform: str, before: str, elements: str) -> Any:
    reference = ground.docs.document("d")
    reference.set({} if before == "absent" else {"n": _ARRAYS[before]})
    change = {"n": _ARRAY_TRANSFORMS[transform](_ELEMENTS[elements])}
    return [attempt(lambda: reference.update(change) and None), reference.get()]


for _transform in _ARRAY_TRANSFORMS:
    for _before in [*_ARRAYS, "absent"]:
        for _elements in _ELEMENTS:
            transforms.add(
                f"{_transform} {_before} with {_elements}",
                partial(_array, transform=_transform, before=_before, elements=_elements),
            )


@transforms.case
def server_time_is_the_commit_time(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    reference.set({"at": firestore.SERVER_TIMESTAMP, "m": {"at": firestore.SERVER_TIMESTAMP}})
    data = reference.get().to_dict()
    assert data is not None
    return [data["at"] == data["m"]["at"], data]


@transforms.case
def transform_results(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    reference.set({"n": 1, "l": [1]})
    result = reference.update(
        {"n": firestore.Increment(2), "l": firestore.ArrayUnion([2]), "x": firestore.Maximum(3)}
    )
    return [types.Value.to_dict(value) for value in result.transform_results]


AREAS = [transforms]
