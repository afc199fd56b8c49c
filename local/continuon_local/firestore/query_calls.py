"""The calls that look for documents: queries, aggregations, lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.firestore.errors import unimplemented
from continuon_local.firestore.messages import RunQueryResponse
from continuon_local.firestore.paths import parse_parent
from continuon_local.firestore.query import compile_query
from continuon_local.firestore.times import to_timestamp
from continuon_local.firestore.wire import query_response
from continuon_local.meter import Operation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from continuon_local.firestore.access import Caller
    from continuon_local.firestore.engine import Engine
    from continuon_local.firestore.messages import Message

__all__ = ["QueryCalls"]


class QueryCalls:
    """Implements the calls on an engine; each method is one RPC and gives serialized answers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def run_query(self, request: Message, caller: Caller) -> AsyncIterator[bytes]:
        """RunQuery: the documents in order; without any, one answer that has the read time."""
        if request.HasField("explain_options"):
            raise unimplemented("RunQueryRequest.explain_options")
        database, _ = parse_parent(request.parent)
        query = compile_query(request.parent, request.structured_query)
        reader = self._engine.reader(database, request)
        read_time, result = await self._engine.query(reader, query)
        billed = max(1, len(result.rows) + result.skipped)
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
