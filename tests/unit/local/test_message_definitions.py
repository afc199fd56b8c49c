"""The definitions of messages that come with the local cloud are those of Google's clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.cloud.firestore_v1.types import firestore
from google.protobuf.descriptor_pb2 import DescriptorProto
from google.pubsub_v1.types import pubsub

from continuon_local.protos import message_class

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor


def _messages(file: FileDescriptor) -> dict[str, Any]:
    """Return every message that a client defines, and enumerations, in an order of our own."""
    found: dict[str, Any] = {}
    for needed in file.dependencies:
        found |= _messages(needed)
    for message in file.message_types_by_name.values():
        definition = DescriptorProto()
        message.CopyToProto(definition)
        for part in (definition.nested_type, definition.enum_type):
            part.sort(key=lambda each: each.name)
        found[message.full_name] = definition
    return found


@pytest.mark.parametrize("message", [firestore.ListenResponse, pubsub.Topic])
def test_definitions_are_those_of_the_installed_client(message: Any) -> None:
    theirs = message.pb().DESCRIPTOR
    own = message_class(theirs.full_name).DESCRIPTOR
    assert _messages(own.file) == _messages(theirs.file), (
        "the client was updated: run scripts/descriptors.py"
    )
