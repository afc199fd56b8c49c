"""Which class implements which RPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.firestore import messages
from continuon_local.firestore.calls import Method
from continuon_local.firestore.document_calls import DocumentCalls
from continuon_local.firestore.listen import ListenCalls
from continuon_local.firestore.query_calls import QueryCalls
from continuon_local.firestore.write_stream import WriteStreamCalls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from continuon_local.firestore.access import Access
    from continuon_local.firestore.calls import Bidi, Stream, Unary
    from continuon_local.firestore.engine import Engine
    from continuon_local.firestore.indexes import IndexChecker

__all__ = ["method_table"]

_RESPONSES = {
    "GetDocument": "Document",
    "CreateDocument": "Document",
    "UpdateDocument": "Document",
    "DeleteDocument": "Empty",
    "Rollback": "Empty",
}
"""Where the answer is not called after the method."""


def _method(
    name: str, unary: Unary | None = None, stream: Stream | None = None, bidi: Bidi | None = None
) -> Method:
    response = _RESPONSES.get(name, f"{name}Response")
    return Method(
        getattr(messages, f"{name}Request"),
        getattr(messages, response),
        unary=unary,
        stream=stream,
        bidi=bidi,
    )


def method_table(
    engine: Engine, indexes: IndexChecker | None, access: Access
) -> Mapping[str, Method]:
    """Return all methods by the names of their RPCs.

    Args:
        engine: The database.
        indexes: Refuses queries without an index, or None to accept all.
        access: Asked about documents and about each message of a stream.
    """
    documents, queries = DocumentCalls(engine, access), QueryCalls(engine, indexes)
    listening, writing = ListenCalls(engine, indexes, access), WriteStreamCalls(engine, access)
    unary: dict[str, Unary] = {
        "GetDocument": documents.get_document,
        "CreateDocument": documents.create_document,
        "UpdateDocument": documents.update_document,
        "DeleteDocument": documents.delete_document,
        "Commit": documents.commit,
        "BatchWrite": documents.batch_write,
        "BeginTransaction": documents.begin_transaction,
        "Rollback": documents.rollback,
        "ListDocuments": queries.list_documents,
        "PartitionQuery": queries.partition_query,
        "ListCollectionIds": queries.list_collection_ids,
    }
    stream: dict[str, Stream] = {
        "BatchGetDocuments": documents.batch_get_documents,
        "RunQuery": queries.run_query,
        "RunAggregationQuery": queries.run_aggregation_query,
    }
    return {
        **{name: _method(name, unary=each) for name, each in unary.items()},
        **{name: _method(name, stream=each) for name, each in stream.items()},
        "Listen": _method("Listen", bidi=listening.listen),
        "Write": _method("Write", bidi=writing.write),
    }
