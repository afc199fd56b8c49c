"""Field paths: parsing, and reaching into the nested maps of a document."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from continuon_local.firestore.errors import invalid_argument

if TYPE_CHECKING:
    from collections.abc import Iterable

    from continuon_local.firestore.messages import Message

__all__ = [
    "DOCUMENT_ID",
    "FieldPath",
    "get_field",
    "parse_field_path",
    "project",
    "remove_field",
    "set_field",
]

DOCUMENT_ID = "__name__"
"""The field path that stands for the document's name."""

FieldPath = tuple[str, ...]

_SEGMENT = re.compile(r"([A-Za-z_][A-Za-z_0-9]*)|`((?:[^`\\]|\\.)+)`", re.DOTALL)
_RESERVED = re.compile(r"__.*__", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@lru_cache(maxsize=8192)
def parse_field_path(path: str) -> FieldPath:
    """Split ``a.b.`odd name``` into its segments.

    Raises:
        StatusError: INVALID_ARGUMENT when the path is malformed.
    """
    segments: list[str] = []
    position = 0
    while True:
        match = _SEGMENT.match(path, position)
        if match is None:
            raise invalid_argument(f'Invalid property path "{path}".')
        segment = match[1] if match[1] is not None else _ESCAPE.sub(r"\1", match[2])
        if segment.startswith("__") and _RESERVED.fullmatch(segment):
            raise invalid_argument(f"Invalid reserved name in field path {path}")
        segments.append(segment)
        position = match.end()
        if position == len(path):
            return tuple(segments)
        if path[position] != ".":
            raise invalid_argument(f'Invalid property path "{path}".')
        position += 1


def get_field(fields: Message, path: FieldPath) -> Message | None:
    """Return the value at ``path`` in a map of fields, or None where there is none."""
    for segment in path[:-1]:
        # Membership first: reading a missing key of a message map would create it.
        if segment not in fields:
            return None
        value = fields[segment]
        if value.WhichOneof("value_type") != "map_value":
            return None
        fields = value.map_value.fields
    return fields.get(path[-1])


def set_field(fields: Message, path: FieldPath, value: Message) -> None:
    """Store ``value`` at ``path``; whatever is in the way of the path becomes a map."""
    for segment in path[:-1]:
        entry = fields[segment]
        if entry.WhichOneof("value_type") != "map_value":
            entry.map_value.SetInParent()
        fields = entry.map_value.fields
    fields[path[-1]].CopyFrom(value)


def remove_field(fields: Message, path: FieldPath) -> None:
    """Remove the value at ``path``; nothing happens where there is none."""
    for segment in path[:-1]:
        if segment not in fields or fields[segment].WhichOneof("value_type") != "map_value":
            return
        fields = fields[segment].map_value.fields
    if path[-1] in fields:
        del fields[path[-1]]


def project(source: Message, paths: Iterable[FieldPath], target: Message) -> None:
    """Copy the values at ``paths`` from one map of fields to another."""
    for path in paths:
        value = get_field(source, path)
        if value is not None:
            set_field(target, path, value)
