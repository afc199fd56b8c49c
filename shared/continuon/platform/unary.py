"""The two Firestore calls that every request of every robot pays for, on plain protobuf messages.

The client wraps each message and each field in an object of its own and reads single documents by
a streaming batch call. That is convenient everywhere else; on the upload path it was a third of
the CPU of a request. These calls use the client's channel, credentials and retry policy.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.api_core.exceptions import NotFound, from_grpc_error
from google.cloud.firestore_v1.types import (
    CommitRequest,
    CommitResponse,
    Document,
    GetDocumentRequest,
)

from continuon.platform.firestore import RPC, firestore_errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from google.cloud.firestore import AsyncClient, AsyncDocumentReference

__all__ = ["create_documents", "read_fields"]

_SERVICE: Final = "/google.firestore.v1.Firestore/"
_CommitRequest: Final = CommitRequest.pb()
_CommitResponse: Final = CommitResponse.pb()
_Document: Final = Document.pb()
_GetDocumentRequest: Final = GetDocumentRequest.pb()
_NANOS_PER_MICRO: Final = 1000


@lru_cache(maxsize=8)
def _call(client: AsyncClient, method: str, answer: type[Any]) -> Callable[[Any], Awaitable[Any]]:
    """Return a unary call on the client's channel, with its metadata and our retry policy."""
    channel = client._firestore_api.transport.grpc_channel  # noqa: SLF001 - the client's own
    stub = channel.unary_unary(
        _SERVICE + method,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )
    database = client._database_string  # noqa: SLF001 - as above
    routing = ("x-goog-request-params", f"database={database}")
    metadata = [*client._rpc_metadata, routing]  # noqa: SLF001 - as above

    async def once(request: Any) -> Any:
        try:
            return await stub(request, metadata=metadata, timeout=RPC["timeout"])
        except grpc.RpcError as error:
            raise from_grpc_error(error) from error  # type: ignore[no-untyped-call]

    retried: Callable[[Any], Awaitable[Any]] = RPC["retry"](once)
    return retried


async def read_fields(reference: AsyncDocumentReference) -> Mapping[str, Any] | None:
    """Read one document; return its fields as protobuf values, or None.

    Raises:
        UnavailableError: Firestore failed.
    """
    request = _GetDocumentRequest(name=reference._document_path)  # noqa: SLF001 - no public name
    try:
        with firestore_errors():
            document = await _call(reference._client, "GetDocument", _Document)(request)  # noqa: SLF001
    except NotFound:
        return None
    fields: Mapping[str, Any] = document.fields
    return fields


async def create_documents(
    documents: Mapping[AsyncDocumentReference, Mapping[str, Any]],
) -> None:
    """Create documents that must not exist, all in one commit.

    Raises:
        AlreadyExists: At least one of them does; nothing was written.
        UnavailableError: Firestore failed; nothing is known about the write.
    """
    client = next(iter(documents))._client  # noqa: SLF001 - the one that made the reference
    request = _CommitRequest(database=client._database_string)  # noqa: SLF001 - as above
    for reference, data in documents.items():
        write = request.writes.add()
        write.update.name = reference._document_path  # noqa: SLF001 - no public name
        write.current_document.exists = False
        for name, value in data.items():
            _encode(write.update.fields[name], value)
    with firestore_errors():
        await _call(client, "Commit", _CommitResponse)(request)


def _encode(target: Any, value: Any) -> None:
    """Set a protobuf value. The types are those that JSON and our records have."""
    # bool before int: True is an int.
    if value is None:
        target.null_value = 0
    elif isinstance(value, bool):
        target.boolean_value = value
    elif isinstance(value, int):
        target.integer_value = value
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, dict):
        target.map_value.SetInParent()
        for name, item in value.items():
            _encode(target.map_value.fields[name], item)
    elif isinstance(value, list):
        target.array_value.SetInParent()
        for item in value:
            _encode(target.array_value.values.add(), item)
    else:
        _encode_moment(target, value)


def _encode_moment(target: Any, value: datetime) -> None:
    target.timestamp_value.seconds = int(value.timestamp() // 1)
    target.timestamp_value.nanos = value.microsecond * _NANOS_PER_MICRO
