"""The calls that look for documents: queries, aggregations, lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.firestore.aggregation import (
    INDEX_ENTRIES_PER_READ,
    aggregate,
    aggregated_fields,
    named_aggregations,
)
from continuon_local.firestore.errors import invalid_argument, unimplemented
from continuon_local.firestore.fields import DOCUMENT_ID
from continuon_local.firestore.listing import (
    list_collection_ids,
    list_documents,
    list_ordered,
    ordered_query,
)
from continuon_local.firestore.masks import masked
from continuon_local.firestore.messages import (
    ListCollectionIdsResponse,
    PartitionQueryResponse,
    RunAggregationQueryResponse,
    RunQueryResponse,
)
from continuon_local.firestore.paths import CollectionPath, parse_parent
from continuon_local.firestore.query import compile_query
from continuon_local.firestore.times import to_timestamp
from continuon_local.firestore.wire import embed, query_response
from continuon_local.meter import Operation

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from continuon_local.firestore.access import Caller
    from continuon_local.firestore.engine import Engine
    from continuon_local.firestore.indexes import IndexChecker
    from continuon_local.firestore.listing import Page
    from continuon_local.firestore.messages import Message
    from continuon_local.firestore.query import CompiledQuery
    from continuon_local.firestore.query_run import QueryResult

__all__ = ["QueryCalls"]

_MIN_PARTITION_DOCUMENTS = 128
"""Fewer documents are not worth a partition of their own."""

VECTOR_ENTRIES_PER_READ = 100
"""Google bills one read for each batch of vector index entries looked at."""


def _vector_reads(result: QueryResult) -> int:
    return -(-result.searched // VECTOR_ENTRIES_PER_READ)


class QueryCalls:
    """Implements the calls on an engine; each method is one RPC and gives serialized answers.

    Args:
        engine: The database.
        indexes: Refuses queries without an index, or None to accept all.
    """

    def __init__(self, engine: Engine, indexes: IndexChecker | None) -> None:
        self._engine = engine
        self._indexes = indexes

    def _compile(
        self, parent: str, structured_query: Message, aggregated: Sequence[str] = ()
    ) -> CompiledQuery:
        query = compile_query(parent, structured_query, aggregated)
        if self._indexes is not None:
            self._indexes.check(query.database, structured_query)
        return query

    async def run_query(self, request: Message, caller: Caller) -> AsyncGenerator[bytes]:
        """RunQuery: the documents in order; without any, one answer that has the read time."""
        if request.HasField("explain_options"):
            raise unimplemented("RunQueryRequest.explain_options")
        if not request.HasField("structured_query"):
            raise invalid_argument("only structured queries are supported")
        query = self._compile(request.parent, request.structured_query)
        reader = self._engine.reader(query.database, request)
        read_time, result = await self._engine.query(reader, query)
        billed = max(1, len(result.rows) + result.skipped + _vector_reads(result))
        self._engine.meter(Operation.FIRESTORE_READ, billed, caller.name)
        if reader.opened or result.skipped or not result.rows:
            head = RunQueryResponse(
                transaction=reader.opened,
                skipped_results=result.skipped,
                read_time=to_timestamp(read_time),
            )
            yield head.SerializeToString()
        for row in result.rows:
            if query.projection is None:
                yield query_response(row.data, read_time)
            else:
                yield query_response(query.projected(row.document).SerializeToString(), read_time)

    async def run_aggregation_query(
        self, request: Message, caller: Caller
    ) -> AsyncGenerator[bytes]:
        """RunAggregationQuery: one answer with all the aggregations."""
        if request.HasField("explain_options"):
            raise unimplemented("RunAggregationQueryRequest.explain_options")
        aggregation_query = request.structured_aggregation_query
        aggregations = named_aggregations(aggregation_query.aggregations)
        query = self._compile(
            request.parent, aggregation_query.structured_query, aggregated_fields(aggregations)
        )
        reader = self._engine.reader(query.database, request)
        read_time, result = await self._engine.query(reader, query)
        documents = result.rows
        if aggregated_fields(aggregations):
            documents = [row.document for row in result.rows]
        billed = max(1, -(-len(result.rows) // INDEX_ENTRIES_PER_READ))
        self._engine.meter(Operation.FIRESTORE_READ, billed, caller.name)
        response = RunAggregationQueryResponse(
            result=aggregate(aggregations, documents),
            read_time=to_timestamp(read_time),
            transaction=reader.opened,
        )
        yield response.SerializeToString()

    async def list_documents(self, request: Message, caller: Caller) -> bytes:
        """ListDocuments, in the order of names or as ``order_by`` says.

        Raises:
            StatusError: UNIMPLEMENTED without a collection id.
        """
        if not request.collection_id:
            raise unimplemented("ListDocumentsRequest without collection_id")
        database, parent = parse_parent(request.parent)
        reader = self._engine.reader(database, request)
        if reader.transaction is not None and not reader.transaction.read_only:
            raise unimplemented("ListDocumentsRequest.transaction for reading and writing")
        self._engine.move_up(reader)
        path = f"{parent}/{request.collection_id}" if parent else request.collection_id
        page = self._page(request, CollectionPath(database, path), reader.version)
        self._engine.meter(Operation.FIRESTORE_READ, max(1, page.found), caller.name)
        documents = b"".join([embed(1, masked(data, request)) for data in page.documents])
        if page.next_page_token:
            return documents + embed(2, page.next_page_token.encode())
        return documents

    def _page(self, request: Message, path: CollectionPath, version: int | None) -> Page:
        if request.order_by in {"", DOCUMENT_ID, f"{DOCUMENT_ID} asc"}:
            return list_documents(
                self._engine.store,
                path,
                page_size=request.page_size,
                page_token=request.page_token,
                version=version,
                show_missing=request.show_missing,
            )
        if request.show_missing:
            raise invalid_argument("show_missing cannot be combined with order_by.")
        structured = ordered_query(path.collection_id, request.order_by)
        return list_ordered(
            self._engine.store,
            self._compile(request.parent, structured),
            page_size=request.page_size,
            page_token=request.page_token,
            version=version,
        )

    async def list_collection_ids(self, request: Message, caller: Caller) -> bytes:
        """ListCollectionIds; billed as one read."""
        database, parent = parse_parent(request.parent)
        version = self._engine.reader(database, request).version
        self._engine.settle()
        ids, token = list_collection_ids(
            self._engine.store,
            database,
            parent,
            page_size=request.page_size,
            page_token=request.page_token,
            version=version,
        )
        self._engine.meter(Operation.FIRESTORE_READ, 1, caller.name)
        response = ListCollectionIdsResponse(collection_ids=ids, next_page_token=token)
        return bytes(response.SerializeToString())

    async def partition_query(self, request: Message, caller: Caller) -> bytes:
        """PartitionQuery: names that split a collection group into parts of equal size.

        Raises:
            StatusError: INVALID_ARGUMENT unless the query is over a collection group, ordered
                by name and otherwise plain.
        """
        if request.partition_count <= 0:
            raise invalid_argument("partition_count must be greater than zero.")
        query = compile_query(request.parent, request.structured_query)
        plain = [order.path for order in query.orders] == [DOCUMENT_ID]
        if not (query.all_descendants and plain and query.limit is None and not query.offset):
            raise invalid_argument(
                "PartitionQuery needs a collection group query ordered by '__name__' ascending, "
                "without filters, limits, offsets or cursors."
            )
        reader = self._engine.reader(query.database, request)
        _, result = await self._engine.query(reader, query)
        self._engine.meter(Operation.FIRESTORE_READ, 1, caller.name)
        names = [row.name for row in result.rows]
        parts = min(request.partition_count, len(names) // _MIN_PARTITION_DOCUMENTS)
        response = PartitionQueryResponse()
        for part in range(1, parts + 1):
            position = part * len(names) // (parts + 1)
            response.partitions.add(before=True).values.add(reference_value=names[position])
        return bytes(response.SerializeToString())
