"""Renew the message definitions of the local cloud from the installed client libraries.

Run it when google-cloud-firestore or google-cloud-pubsub has been updated and a test says that the
definitions differ: ``python scripts/descriptors.py``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from google.cloud.firestore_v1.types import firestore
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.pubsub_v1.types import pubsub

from continuon_local.protos import FOLDER

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor

__all__ = ["definitions"]

_OWN = ("google/cloud/", "google/pubsub_v1/")
"""Files of the clients; the others come with protobuf and googleapis-common-protos."""


def definitions(message: Any) -> bytes:
    """Return the file that defines a client's message and those it needs, in order, serialized."""
    files: dict[str, FileDescriptor] = {}

    def collect(file: FileDescriptor) -> None:
        for needed in file.dependencies:
            collect(needed)
        if file.name.startswith(_OWN):
            files.setdefault(file.name, file)

    collect(message.pb().DESCRIPTOR.file)
    found = FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(found.file.add())
    return found.SerializeToString(deterministic=True)


def main() -> None:
    """Write the files."""
    for api, message in {"firestore": firestore.ListenResponse, "pubsub": pubsub.Topic}.items():
        path = FOLDER / f"{api}.binpb"
        path.write_bytes(definitions(message))
        sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    main()
