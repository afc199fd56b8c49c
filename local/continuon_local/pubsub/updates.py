"""Field masks of the update methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.pubsub.errors import invalid, unimplemented

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from google.protobuf.descriptor import FieldDescriptor

    from continuon_local.pubsub.messages import Message

__all__ = ["apply_mask"]


def apply_mask(
    target: Message, source: Message, paths: Sequence[str], updatable: AbstractSet[str]
) -> None:
    """Replace the fields of ``target`` that ``paths`` names by those of ``source``.

    Raises:
        PubSubError: INVALID_ARGUMENT: an empty mask, or an unknown or immutable field.
            UNIMPLEMENTED: a path into a field.
    """
    if not paths:
        raise invalid("The update_mask must name at least one field.")
    for path in paths:
        if "." in path:
            raise unimplemented(f"An update of {path}")
        if path not in updatable:
            raise invalid(f"Invalid update_mask provided: {path} is unknown or cannot change.")
    for path in paths:
        _copy(target, source, target.DESCRIPTOR.fields_by_name[path])


def _copy(target: Message, source: Message, field: FieldDescriptor) -> None:
    target.ClearField(field.name)
    partial = type(source)()
    partial.CopyFrom(source)
    for other in source.DESCRIPTOR.fields:
        if other.name != field.name:
            partial.ClearField(other.name)
    target.MergeFrom(partial)
