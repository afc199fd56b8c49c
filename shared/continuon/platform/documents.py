"""JSON that strangers wrote, in a form that a Firestore document can hold. Pure, and lossless.

Firestore has no arrays of arrays, no integers beyond 64 bits, no empty or ``__reserved__`` field
names, and 20 levels of nesting. Metadata of a recording may have any of them: such a value is kept
as JSON text in a map with the one key ``$json``, and read back as it was.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

__all__ = ["restored", "storable"]

_MARK: Final = "$json"
_MAX_DEPTH: Final = 12
"""Of 20 levels, what is left below the field of a document that holds the value."""
_MAX_NAME_BYTES: Final = 1500
_INT64: Final = range(-(2**63), 2**63)
_RESERVED: Final = re.compile(r"__.*__", re.DOTALL)


def storable(value: Any) -> Any:
    """Return ``value``, which is JSON data, as Firestore can hold it."""
    return _storable(value, _MAX_DEPTH)


def _storable(value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        if depth > 0 and all(_is_field_name(name) for name in value):
            return {name: _storable(item, depth - 1) for name, item in value.items()}
    elif isinstance(value, list):
        if depth > 0 and not any(isinstance(item, list) for item in value):
            return [_storable(item, depth - 1) for item in value]
    elif isinstance(value, float):
        if math.isfinite(value):
            return value
    elif not isinstance(value, int) or value in _INT64:
        return value
    return {_MARK: json.dumps(value)}


def _is_field_name(name: str) -> bool:
    return (
        name not in {"", _MARK}
        and not _RESERVED.fullmatch(name)
        and len(name.encode()) <= _MAX_NAME_BYTES
    )


def restored(value: Any) -> Any:
    """Return what :func:`storable` was given."""
    if isinstance(value, dict):
        if value.keys() == {_MARK}:
            return json.loads(value[_MARK])
        return {name: restored(item) for name, item in value.items()}
    if isinstance(value, list):
        return [restored(item) for item in value]
    return value
