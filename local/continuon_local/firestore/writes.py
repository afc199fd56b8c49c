"""One ``Write`` against one document: preconditions, masks, transforms. No I/O."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from continuon_local.firestore.errors import (
    already_exists,
    failed_precondition,
    invalid_argument,
    not_found,
)
from continuon_local.firestore.fields import get_field, parse_field_path, remove_field, set_field
from continuon_local.firestore.limits import MAX_COMMIT_TRANSFORMS
from continuon_local.firestore.messages import Document, Value, Write, WriteResult
from continuon_local.firestore.ordering import is_nan
from continuon_local.firestore.paths import parse_document_name
from continuon_local.firestore.times import from_timestamp, to_timestamp
from continuon_local.firestore.transforms import apply_transform
from continuon_local.firestore.validation import check_document, check_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from continuon_local.firestore.messages import Message

__all__ = ["apply_write", "check_writes", "write_name"]


def write_name(write: Message) -> str:
    """Return the name of the document that ``write`` is about.

    Raises:
        StatusError: INVALID_ARGUMENT when the write has no operation.
    """
    operation = write.WhichOneof("operation")
    name: str
    if operation == "update":
        name = write.update.name
    elif operation == "delete":
        name = write.delete
    elif operation == "transform":
        name = write.transform.document
    else:
        raise invalid_argument("A write must have one of update, delete or transform.")
    return name


def _check_precondition(write: Message, name: str, current: Message | None) -> None:
    condition = write.current_document
    kind = condition.WhichOneof("condition_type")
    if kind == "exists":
        if condition.exists and current is None:
            raise not_found(f"No document to update: {name}")
        if not condition.exists and current is not None:
            raise already_exists(f"Document already exists: {name}")
    elif kind == "update_time":
        required = from_timestamp(condition.update_time)
        stored = 0 if current is None else from_timestamp(current.update_time)
        if stored != required:
            raise failed_precondition(
                f"the stored version ({stored}) does not match "
                f"the required base version ({required})"
            )


def _updated(write: Message, name: str, current: Message | None) -> Message:
    document = Document(name=name)
    if not write.HasField("update_mask"):
        document.fields.MergeFrom(write.update.fields)
        return document
    if current is not None:
        document.fields.MergeFrom(current.fields)
    # Sorted, so that a map goes before what is inside it.
    for path in sorted(map(parse_field_path, write.update_mask.field_paths)):
        value = get_field(write.update.fields, path)
        if value is None:
            remove_field(document.fields, path)
        else:
            set_field(document.fields, path, value)
    return document


def _check_nesting(transforms: Sequence[Message]) -> None:
    """Refuse to transform a field and one inside it; the same field twice is allowed."""
    paths = sorted(tuple(parse_field_path(each.field_path)) for each in transforms)
    for above, below in pairwise(paths):
        if len(below) > len(above) and below[: len(above)] == above:
            raise invalid_argument(
                f"Cannot transform property {'.'.join(above)} and its nested property "
                "at the same time."
            )


def _transformed(
    document: Message, transforms: Sequence[Message], now: Message, results: Message
) -> None:
    _check_nesting(transforms)
    count = 0
    for transform in transforms:
        count += 1
        results.append(apply_transform(document.fields, transform, now))
    if count > MAX_COMMIT_TRANSFORMS:
        raise invalid_argument(
            f"A document cannot have more than {MAX_COMMIT_TRANSFORMS} field transforms "
            "in one commit."
        )


def _contains_nan(value: Message) -> bool:
    kind = value.WhichOneof("value_type")
    if kind == "map_value":
        return any(map(_contains_nan, value.map_value.fields.values()))
    if kind == "array_value":
        return any(map(_contains_nan, value.array_value.values))
    return is_nan(value)


def _same_fields(one: Message, other: Message) -> bool:
    if one.fields == other.fields:
        return True
    # NaN is not equal to itself; only then is the slow comparison worth its time.
    if len(one.fields) != len(other.fields) or not any(map(_contains_nan, one.fields.values())):
        return False
    return bool(
        Value(map_value={"fields": one.fields}).SerializeToString(deterministic=True)
        == Value(map_value={"fields": other.fields}).SerializeToString(deterministic=True)
    )


def apply_write(
    write: Message, current: Message | None, commit_time: int
) -> tuple[Message | None, Message]:
    """Apply ``write`` to the current state of its document.

    A write that changes nothing keeps the document and its update time.

    Args:
        write: The ``Write``.
        current: The stored ``Document``, or None. Not changed.
        commit_time: In microseconds since 1970.

    Returns:
        The document after the write (``current`` itself when nothing changed, None when deleted)
        and the ``WriteResult``.

    Raises:
        StatusError: The precondition does not hold, or the write is not allowed.
    """
    name = write_name(write)
    _check_precondition(write, name, current)
    operation = write.WhichOneof("operation")
    result: Message = WriteResult()
    if operation == "delete":
        return None, result
    now = to_timestamp(commit_time)
    if operation == "update":
        check_fields(write.update.fields)
        document = _updated(write, name, current)
        _transformed(document, write.update_transforms, now, result.transform_results)
    else:
        document = Document(name=name)
        if current is not None:
            document.fields.MergeFrom(current.fields)
        transforms = write.transform.field_transforms
        if not transforms:
            raise invalid_argument("The list of FieldTransform must not be empty.")
        _transformed(document, transforms, now, result.transform_results)
    if len(result.transform_results):
        check_fields(document.fields)
    check_document(parse_document_name(name).path, document)
    if current is not None and _same_fields(document, current):
        result.update_time.CopyFrom(current.update_time)
        return current, result
    document.create_time.CopyFrom(now if current is None else current.create_time)
    document.update_time.CopyFrom(now)
    result.update_time.CopyFrom(now)
    return document, result


def check_writes(writes: Sequence[Message], commit_time: int) -> None:
    """Refuse writes that no state of their documents would let through.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    for write in writes:
        unconditional = Write()
        unconditional.CopyFrom(write)
        unconditional.ClearField("current_document")
        apply_write(unconditional, None, commit_time)
