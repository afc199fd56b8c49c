"""Object contexts: small key-value pairs that listings can filter by.

https://cloud.google.com/storage/docs/object-contexts
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from continuon_local.storage.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from continuon_local.storage.records import ObjectRecord

__all__ = ["ContextFilter", "merged", "parse_contexts", "parse_filter"]

# https://cloud.google.com/storage/docs/object-contexts#limitations
_MAX_CONTEXTS = 50
_MAX_KEY_BYTES = 256

_FILTER = re.compile(r'(?P<not>-)?contexts\."(?P<key>[^"]+)"(?:="(?P<value>[^"]*)"|(?P<any>:\*))')


def parse_contexts(value: object) -> dict[str, Any]:
    """Read ``contexts``: by key a text, or None to remove it; an empty answer removes all.

    Raises:
        StorageError: It is not a map of payloads, or too large (400).
    """
    custom = value.get("custom") if isinstance(value, dict) else value
    if not isinstance(custom, dict | None) or not isinstance(value, dict):
        raise invalid("Invalid value for contexts")
    if len(custom or {}) > _MAX_CONTEXTS:
        raise invalid(f"An object has at most {_MAX_CONTEXTS} contexts.")
    return {"custom": None if custom is None else {k: _text(k, v) for k, v in custom.items()}}


def _text(key: str, payload: object) -> str | None:
    value = payload.get("value") if isinstance(payload, dict) else payload
    fits = key and '"' not in key and len(key.encode()) <= _MAX_KEY_BYTES
    if (
        not fits
        or not isinstance(value, str | None)
        or len((value or "").encode()) > _MAX_KEY_BYTES
    ):
        raise invalid(f"Invalid value for contexts.custom.{key}")
    return value


def merged(
    old: Mapping[str, Any] | None, patch: Mapping[str, Any] | None, moment: str
) -> dict[str, Any] | None:
    """Return stored contexts after ``patch``, as :func:`parse_contexts` reads it."""
    known: dict[str, Any] = dict((old or {}).get("custom") or {})
    if patch is None or patch["custom"] is None:
        return None
    for key, value in patch["custom"].items():
        if value is None:
            known.pop(key, None)
        elif (known.get(key) or {}).get("value") != value:
            created = (known.get(key) or {}).get("createTime") or moment
            known[key] = {"value": value, "createTime": created, "updateTime": moment}
    return {"custom": known} if known else None


@dataclass(frozen=True)
class ContextFilter:
    """One clause of a listing's filter; a ``value`` of None asks for the key alone."""

    key: str
    value: str | None
    negated: bool

    def matches(self, record: ObjectRecord) -> bool:
        """Say whether a listing with this filter shows an object."""
        custom = (record.fields.get("contexts") or {}).get("custom") or {}
        found = custom.get(self.key)
        holds = found is not None and self.value in {None, found["value"]}
        return holds is not self.negated


def parse_filter(text: str) -> ContextFilter:
    """Read the ``filter`` of a listing.

    Raises:
        StorageError: It is not one of the four forms that the service documents (400).
    """
    match = _FILTER.fullmatch(text.strip())
    if match is None:
        raise invalid(f"Invalid filter: {text}")
    return ContextFilter(match["key"], match["value"], negated=match["not"] is not None)
