"""The raw protobuf classes of the Firestore API.

The client library ships them inside proto-plus wrappers, whose attribute access is an order of
magnitude slower. The server works on the wrapped classes directly.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from google.cloud.firestore_v1.types import (
    aggregation_result,
    common,
    document,
    firestore,
    query,
    write,
)
from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp

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

Document: Message = document.Document.pb()
Value: Message = document.Value.pb()
DocumentMask: Message = common.DocumentMask.pb()
StructuredQuery: Message = query.StructuredQuery.pb()
Cursor: Message = query.Cursor.pb()
AggregationResult: Message = aggregation_result.AggregationResult.pb()
DocumentTransform: Message = write.DocumentTransform.pb()
Write: Message = write.Write.pb()
WriteResult: Message = write.WriteResult.pb()
TargetChange: Message = firestore.TargetChange.pb()

BatchGetDocumentsRequest: Message = firestore.BatchGetDocumentsRequest.pb()
BatchWriteRequest: Message = firestore.BatchWriteRequest.pb()
BatchWriteResponse: Message = firestore.BatchWriteResponse.pb()
BeginTransactionRequest: Message = firestore.BeginTransactionRequest.pb()
BeginTransactionResponse: Message = firestore.BeginTransactionResponse.pb()
CommitRequest: Message = firestore.CommitRequest.pb()
BatchGetDocumentsResponse: Message = firestore.BatchGetDocumentsResponse.pb()
CommitResponse: Message = firestore.CommitResponse.pb()
CreateDocumentRequest: Message = firestore.CreateDocumentRequest.pb()
DeleteDocumentRequest: Message = firestore.DeleteDocumentRequest.pb()
GetDocumentRequest: Message = firestore.GetDocumentRequest.pb()
ListCollectionIdsRequest: Message = firestore.ListCollectionIdsRequest.pb()
ListCollectionIdsResponse: Message = firestore.ListCollectionIdsResponse.pb()
ListDocumentsRequest: Message = firestore.ListDocumentsRequest.pb()
ListDocumentsResponse: Message = firestore.ListDocumentsResponse.pb()
ListenRequest: Message = firestore.ListenRequest.pb()
ListenResponse: Message = firestore.ListenResponse.pb()
PartitionQueryRequest: Message = firestore.PartitionQueryRequest.pb()
PartitionQueryResponse: Message = firestore.PartitionQueryResponse.pb()
RollbackRequest: Message = firestore.RollbackRequest.pb()
RunAggregationQueryRequest: Message = firestore.RunAggregationQueryRequest.pb()
RunAggregationQueryResponse: Message = firestore.RunAggregationQueryResponse.pb()
RunQueryRequest: Message = firestore.RunQueryRequest.pb()
RunQueryResponse: Message = firestore.RunQueryResponse.pb()
UpdateDocumentRequest: Message = firestore.UpdateDocumentRequest.pb()
WriteRequest: Message = firestore.WriteRequest.pb()
WriteResponse: Message = firestore.WriteResponse.pb()
