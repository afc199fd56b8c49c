"""Values that are compared and never stored: in queries and in removals from arrays. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.firestore.errors import invalid_argument
from continuon_local.firestore.limits import MAX_INDEXED_VALUE_BYTES
from continuon_local.firestore.paths import parse_document_name
from continuon_local.firestore.validation import check_geo_point, check_map_key, value_size

if TYPE_CHECKING:
    from continuon_local.firestore.messages import Message

__all__ = ["check_operand", "check_query_value"]


def check_operand(value: Message, path: str) -> None:
    """Refuse to compare a field with what no index could hold.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    check_query_value(value)
    if value_size(value) > MAX_INDEXED_VALUE_BYTES:
        raise invalid_argument(f"value for {path} is too large to be used in a query")


def check_query_value(value: Message) -> None:
    """Refuse malformed references, points and names of fields, at any depth.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    kind = value.WhichOneof("value_type")
    if kind == "reference_value":
        parse_document_name(value.reference_value)
    elif kind == "geo_point_value":
        check_geo_point(value, "of the query")
    elif kind == "array_value":
        for element in value.array_value.values:
            check_query_value(element)
    elif kind == "map_value":
        for name, item in value.map_value.fields.items():
            check_map_key(name)
            check_query_value(item)
