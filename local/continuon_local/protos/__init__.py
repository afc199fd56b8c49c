"""The messages of Google's APIs, without the client libraries that define them.

``firestore.binpb`` and ``pubsub.binpb`` are the clients' own definitions, serialized;
``scripts/descriptors.py`` writes them, and a test compares them with the installed clients. To
import a client only for its messages takes half a second and 50 MB.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

__all__ = ["FOLDER", "message_class"]

FOLDER = Path(__file__).parent
"""Where the descriptors are."""

_IMPORTED = (
    "google.protobuf.any_pb2",
    "google.protobuf.duration_pb2",
    "google.protobuf.empty_pb2",
    "google.protobuf.field_mask_pb2",
    "google.protobuf.struct_pb2",
    "google.protobuf.timestamp_pb2",
    "google.protobuf.wrappers_pb2",
    "google.rpc.status_pb2",
    "google.type.latlng_pb2",
)
"""What the definitions build on."""


@cache
def _pool() -> DescriptorPool:
    """Register what the definitions build on, and the definitions.

    In a pool of our own: the clients' definitions come with their parts in an order that changes
    from process to process, which the common pool takes for a contradiction.
    """
    pool = DescriptorPool()
    for name in _IMPORTED:
        pool.AddSerializedFile(import_module(name).DESCRIPTOR.serialized_pb)
    for path in sorted(FOLDER.glob("*.binpb")):
        for file in FileDescriptorSet.FromString(path.read_bytes()).file:
            pool.AddSerializedFile(file.SerializeToString())
    return pool


@cache
def message_class(name: str) -> Any:
    """Return the class of a message by its full name, as ``google.firestore.v1.Document``.

    A client library in the same process has classes of its own: between the two, messages go as
    bytes.

    Raises:
        KeyError: There is no such message.
    """
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))
