"""JSON objects that strangers send."""

from __future__ import annotations

import json
from typing import Any

from continuon_local.storage.errors import invalid

__all__ = ["parse_object"]


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
