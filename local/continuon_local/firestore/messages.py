"""The raw protobuf classes of the Firestore API.

The client library ships them inside proto-plus wrappers, whose attribute access is an order of
magnitude slower. The server works on the wrapped classes, without the wrappers and the library.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from continuon_local.protos import message_class

__all__ = [
    "AggregationResult",
    "BatchGetDocumentsRequest",
    "BatchGetDocumentsResponse",
    "BatchWriteRequest",
    "BatchWriteResponse",
    "BeginTransactionRequest",
    "BeginTransactionResponse",
    "CommitRequest",
    "CommitResponse",
    "CreateDocumentRequest",
    "Cursor",
    "DeleteDocumentRequest",
    "Document",
    "DocumentMask",
    "DocumentTransform",
    "Empty",
    "GetDocumentRequest",
    "ListCollectionIdsRequest",
    "ListCollectionIdsResponse",
    "ListDocumentsRequest",
    "ListDocumentsResponse",
    "ListenRequest",
    "ListenResponse",
    "Message",
    "PartitionQueryRequest",
    "PartitionQueryResponse",
    "RollbackRequest",
    "RunAggregationQueryRequest",
    "RunAggregationQueryResponse",
    "RunQueryRequest",
    "RunQueryResponse",
    "StructuredQuery",
    "TargetChange",
    "Timestamp",
    "UpdateDocumentRequest",
    "Value",
    "Write",
    "WriteRequest",
    "WriteResponse",
    "WriteResult",
]

# The classes are made at run time from descriptors: to a type checker they are opaque.
Message: TypeAlias = Any


def _class(name: str) -> Message:
    return message_class(f"google.firestore.v1.{name}")


Empty: Message = message_class("google.protobuf.Empty")
Timestamp: Message = message_class("google.protobuf.Timestamp")

Document: Message = _class("Document")
Value: Message = _class("Value")
DocumentMask: Message = _class("DocumentMask")
StructuredQuery: Message = _class("StructuredQuery")
Cursor: Message = _class("Cursor")
AggregationResult: Message = _class("AggregationResult")
DocumentTransform: Message = _class("DocumentTransform")
Write: Message = _class("Write")
WriteResult: Message = _class("WriteResult")
TargetChange: Message = _class("TargetChange")

BatchGetDocumentsRequest: Message = _class("BatchGetDocumentsRequest")
BatchWriteRequest: Message = _class("BatchWriteRequest")
BatchWriteResponse: Message = _class("BatchWriteResponse")
BeginTransactionRequest: Message = _class("BeginTransactionRequest")
BeginTransactionResponse: Message = _class("BeginTransactionResponse")
CommitRequest: Message = _class("CommitRequest")
BatchGetDocumentsResponse: Message = _class("BatchGetDocumentsResponse")
CommitResponse: Message = _class("CommitResponse")
CreateDocumentRequest: Message = _class("CreateDocumentRequest")
DeleteDocumentRequest: Message = _class("DeleteDocumentRequest")
GetDocumentRequest: Message = _class("GetDocumentRequest")
ListCollectionIdsRequest: Message = _class("ListCollectionIdsRequest")
ListCollectionIdsResponse: Message = _class("ListCollectionIdsResponse")
ListDocumentsRequest: Message = _class("ListDocumentsRequest")
ListDocumentsResponse: Message = _class("ListDocumentsResponse")
ListenRequest: Message = _class("ListenRequest")
ListenResponse: Message = _class("ListenResponse")
PartitionQueryRequest: Message = _class("PartitionQueryRequest")
PartitionQueryResponse: Message = _class("PartitionQueryResponse")
RollbackRequest: Message = _class("RollbackRequest")
RunAggregationQueryRequest: Message = _class("RunAggregationQueryRequest")
RunAggregationQueryResponse: Message = _class("RunAggregationQueryResponse")
RunQueryRequest: Message = _class("RunQueryRequest")
RunQueryResponse: Message = _class("RunQueryResponse")
UpdateDocumentRequest: Message = _class("UpdateDocumentRequest")
WriteRequest: Message = _class("WriteRequest")
WriteResponse: Message = _class("WriteResponse")
