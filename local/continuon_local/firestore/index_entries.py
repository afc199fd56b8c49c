"""How many index entries a document has in the indexes that exist by themselves. No I/O.

See https://firebase.google.com/docs/firestore/quotas#indexes: every field that is neither a map nor
an array has an ascending and a descending entry, an array one for each element, and a map what is
inside it. An exempted field has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.firestore.errors import invalid_argument
from continuon_local.firestore.limits import MAX_INDEX_ENTRIES
from continuon_local.firestore.ordering import encode_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from continuon_local.firestore.messages import Message
    from continuon_local.firestore.paths import DocumentName

__all__ = ["check_index_entries", "count_index_entries"]

_WORTH_COUNTING_BYTES = 100_000
"""A field takes five bytes and an element four, so smaller documents are below the limit."""

_BOTH_DIRECTIONS = 2


def count_index_entries(fields: Message, is_exempt: Callable[[str], bool], prefix: str = "") -> int:
    """Return the number of entries of a map of fields.

    Args:
        fields: The fields.
        is_exempt: Tells whether the field at a path has no index.
        prefix: The path of the map, with a dot, or nothing.
    """
    count = 0
    for name, value in fields.items():
        path = prefix + name
        kind = value.WhichOneof("value_type")
        if kind == "map_value":
            count += count_index_entries(value.map_value.fields, is_exempt, f"{path}.")
        elif is_exempt(path):
            continue
        elif kind == "array_value":
            count += len({encode_value(element) for element in value.array_value.values})
        else:
            count += _BOTH_DIRECTIONS
    return count


def check_index_entries(
    name: DocumentName, document: Message, is_exempt: Callable[[str, str], bool]
) -> None:
    """Refuse a document with too many index entries.

    Args:
        name: Its name.
        document: The document.
        is_exempt: Tells whether a field of a collection has no index.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if document.ByteSize() < _WORTH_COUNTING_BYTES:
        return
    collection_id = name.collection.collection_id
    count = count_index_entries(document.fields, lambda path: is_exempt(collection_id, path))
    if count > MAX_INDEX_ENTRIES:
        raise invalid_argument(
            f"too many index entries for entity /{name.path}: {count} of {MAX_INDEX_ENTRIES}"
        )
