"""What a query without its index is told: Google's sentences, and what to add to the file."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from continuon_local.firestore.fields import DOCUMENT_ID
from continuon_local.firestore.wire import embed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["VECTOR", "missing_index_message", "missing_vector_message"]

VECTOR = "VECTOR_"
"""Stands before the dimension of a vector field."""

_CONSOLE = "https://console.firebase.google.com/v1/r/project/{project}/firestore"
_SCOPES = {"COLLECTION": 1, "COLLECTION_GROUP": 2}
_ORDERS = {"ASCENDING": 1, "DESCENDING": 2}
_CONTAINS = 1
_SHORT = {"ASCENDING": "ASC", "DESCENDING": "DESC", "CONTAINS": "CONTAINS"}


def _number(field_number: int, value: int) -> bytes:
    """Return a small number as a field of a message."""
    return bytes((field_number << 3, value))


def _field(field: Mapping[str, str]) -> bytes:
    """Return an ``IndexField`` of ``google.firestore.admin.v1.Index``."""
    path = embed(1, field["fieldPath"].encode())
    if "arrayConfig" in field:
        return path + _number(3, _CONTAINS)
    return path + _number(2, _ORDERS[field["order"]])


def _link(database: str, collection_id: str, kind: str, name: str, rest: bytes) -> str:
    """Return the console's address for creating an index; it carries the definition."""
    full = f"{database}/collectionGroups/{collection_id}/{name}"
    encoded = base64.urlsafe_b64encode(embed(1, full.encode()) + rest).decode().rstrip("=")
    console = _CONSOLE.format(project=database.split("/")[1])
    return f"{console}/indexes?create_{kind}={encoded}"


def _composite_link(database: str, definition: Mapping[str, Any]) -> str:
    fields = list(definition["fields"])
    if fields[-1]["fieldPath"] != DOCUMENT_ID:
        fields.append({"fieldPath": DOCUMENT_ID, "order": fields[-1].get("order", "ASCENDING")})
    rest = _number(2, _SCOPES[definition["queryScope"]])
    rest += b"".join(embed(3, _field(field)) for field in fields)
    return _link(database, definition["collectionGroup"], "composite", "indexes/_", rest)


def missing_index_message(database: str, definition: Mapping[str, Any]) -> str:
    """Return the error for a missing index.

    Args:
        database: ``projects/P/databases/D``.
        definition: What ``firestore.indexes.json`` lacks: an index, or ``fieldOverrides``.
    """
    add = f"\nAdd to firestore.indexes.json: {json.dumps(definition)}"
    if "fieldOverrides" not in definition:
        link = _composite_link(database, definition)
        return f"The query requires an index. You can create it here: {link}{add}"
    (override,) = definition["fieldOverrides"]
    (index,) = override["indexes"]
    kind = _SHORT[index.get("order") or index["arrayConfig"]]
    collection_id, path = override["collectionGroup"], override["fieldPath"]
    rest = _number(2, _SCOPES[index["queryScope"]]) + embed(3, _field({"fieldPath": path, **index}))
    link = _link(database, collection_id, "exemption", f"fields/{path}", rest)
    return (
        f"The query requires a {index['queryScope']}_{kind} index for collection {collection_id} "
        f"and field {path}. You can create it here: {link}{add}"
    )


def missing_vector_message(
    database: str, collection_id: str, scope: str, fields: Sequence[tuple[str, str]]
) -> str:
    """Return the error for a missing vector index, with the command that creates it.

    Args:
        database: ``projects/P/databases/D``.
        collection_id: The collection.
        scope: ``COLLECTION`` or ``COLLECTION_GROUP``.
        fields: Paths and kinds, the vector's last.
    """
    configs, entries = [], []
    for path, kind in fields:
        if kind.startswith(VECTOR):
            dimension = int(kind.removeprefix(VECTOR))
            configs.append(
                f"""--field-config=vector-config='{{"dimension":"{dimension}","flat": "{{}}"}}',"""
                f"field-path={path}"
            )
            vector = {"dimension": dimension, "flat": {}}
            entries.append({"fieldPath": path, "vectorConfig": vector})
        elif kind == "CONTAINS":
            configs.append(f"--field-config=array-config=CONTAINS,field-path={path}")
            entries.append({"fieldPath": path, "arrayConfig": kind})
        else:
            configs.append(f"--field-config=order={kind},field-path={path}")
            entries.append({"fieldPath": path, "order": kind})
    definition = {"collectionGroup": collection_id, "queryScope": scope, "fields": entries}
    return (
        "Missing vector index configuration. Please create the required index with the following "
        f"gcloud command: gcloud firestore indexes composite create "
        f"--project={database.split('/')[1]} --collection-group={collection_id} "
        f"--query-scope={scope} {' '.join(configs)}"
        f"\nAdd to firestore.indexes.json: {json.dumps(definition)}"
    )
