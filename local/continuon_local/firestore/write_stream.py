"""The Write stream: a handshake, then commits in the order of their requests."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from continuon_local.firestore.errors import invalid_argument
from continuon_local.firestore.messages import WriteResponse
from continuon_local.firestore.paths import check_database
from continuon_local.firestore.times import to_timestamp

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from continuon_local.firestore.access import Access, Caller
    from continuon_local.firestore.engine import Engine
    from continuon_local.firestore.messages import Message

__all__ = ["WriteStreamCalls"]


class WriteStreamCalls:
    """Implements Write on an engine.

    Args:
        engine: The database.
        access: Asked who calls, and about every commit; a refusal ends the stream.
    """

    def __init__(self, engine: Engine, access: Access) -> None:
        self._engine = engine
        self._access = access

    async def write(
        self, requests: AsyncIterator[Message], caller: Caller
    ) -> AsyncGenerator[bytes]:
        """Write: the first request names the database; each later one is an atomic commit.

        Raises:
            StatusError: As Commit; it ends the stream. INVALID_ARGUMENT for a bad handshake.
        """
        database = ""
        position = 0
        async for request in requests:
            if not position:
                database = check_database(request.database)
                self._access.check(caller, "Write", request)
                if request.writes:
                    raise invalid_argument("The first WriteRequest must not contain writes.")
            elif request.database not in {"", database}:
                raise invalid_argument("A Write stream has one database.")
            response = WriteResponse(stream_token=str(position).encode())
            if not position:
                response.stream_id = secrets.token_hex(8)
            elif request.writes:
                await self._commit(database, request, caller, response)
            position += 1
            yield response.SerializeToString()

    async def _commit(
        self, database: str, request: Message, caller: Caller, response: Message
    ) -> None:
        guard = self._access.guard(caller)
        result = await self._engine.commit(database, request.writes, b"", caller.name, guard)
        response.write_results.extend(result.results)
        response.commit_time.CopyFrom(to_timestamp(result.commit_time))
