"""JSON objects that strangers send."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from continuon_local.storage.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["is_one_of", "parse_object"]


def is_one_of(value: object, choices: Iterable[str]) -> bool:
    """Say whether a value of a stranger's JSON, of whatever type, is one of some texts."""
    return isinstance(value, str) and value in choices


def parse_object(data: bytes | bytearray) -> dict[str, Any]:
    """Return the JSON object in ``data``.

    Raises:
        StorageError: It is no JSON object, nested too deeply, or holds text that no UTF-8 can
            carry, such as half of a surrogate pair (400).
    """
    try:
        body = json.loads(data)
        if b"\\u" in data:
            json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise invalid("Parse Error", reason="parseError")
    return body
