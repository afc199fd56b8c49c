"""Field masks on what a call returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.firestore.fields import parse_field_path, project
from continuon_local.firestore.messages import Document

if TYPE_CHECKING:
    from continuon_local.firestore.messages import Message

__all__ = ["masked"]


def masked(data: bytes, request: Message) -> bytes:
    """Return a serialized document with the fields of the request's ``mask`` only.

    Raises:
        StatusError: INVALID_ARGUMENT when the mask has a malformed path.
    """
    if not request.HasField("mask"):
        return data
    document = Document.FromString(data)
    result = Document(name=document.name)
    if document.HasField("create_time"):
        result.create_time.CopyFrom(document.create_time)
        result.update_time.CopyFrom(document.update_time)
    paths = [parse_field_path(path) for path in request.mask.field_paths]
    project(document.fields, paths, result.fields)
    return bytes(result.SerializeToString())
