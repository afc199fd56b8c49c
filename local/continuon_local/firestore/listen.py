"""The Listen stream: targets added and removed, and every commit told as a consistent snapshot.

For each target the server answers ADD, the documents, CURRENT, and then NO_CHANGE for all targets
with a read time: the client has a snapshot. After each commit follow its changes and NO_CHANGE.
A target is judged by the rules when it is added, and again before each change that it would tell;
one that they allow no longer is removed with PERMISSION_DENIED.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from continuon_local.firestore.errors import StatusError, invalid_argument
from continuon_local.firestore.limits import READ_TIME_WINDOW_S
from continuon_local.firestore.listen_target import DocumentsTarget, QueryTarget
from continuon_local.firestore.messages import ListenResponse, TargetChange
from continuon_local.firestore.paths import check_database
from continuon_local.firestore.query import compile_query
from continuon_local.firestore.times import from_timestamp, to_timestamp
from continuon_local.grpc_wire.codes import Code
from continuon_local.meter import Operation

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from continuon_local.firestore.access import Access, Caller
    from continuon_local.firestore.engine import Engine
    from continuon_local.firestore.indexes import IndexChecker
    from continuon_local.firestore.listen_target import Target
    from continuon_local.firestore.messages import Message
    from continuon_local.firestore.transactions import Change

__all__ = ["ListenCalls"]

_Kind = TargetChange.TargetChangeType
_MICROSECONDS = 1_000_000
_TOKEN = struct.Struct(">Q")
_FIRST_OWN_ID = 1 << 30
"""Ids that the server chooses are out of the way of those that clients choose."""


def _target_change(kind: int, target_ids: list[int], version: int) -> Message:
    response: Message = ListenResponse()
    change = response.target_change
    change.target_change_type = kind
    change.target_ids.extend(target_ids)
    if version:
        change.read_time.CopyFrom(to_timestamp(version))
        change.resume_token = _TOKEN.pack(version)
    # The oneof has to be set even when everything in it is zero.
    change.SetInParent()
    return response


@dataclass(frozen=True, slots=True)
class _Listened:
    """A target, and the request that it came with, which the rules judge."""

    target: Target
    request: Message


class _Stream:
    """One client's stream."""

    def __init__(
        self, engine: Engine, indexes: IndexChecker | None, access: Access, caller: Caller
    ) -> None:
        self._engine = engine
        self._indexes = indexes
        self._access = access
        self._caller = caller
        self._targets: dict[int, _Listened] = {}
        self._next_own_id = _FIRST_OWN_ID
        self.outgoing: asyncio.Queue[bytes | StatusError | None] = asyncio.Queue()

    def _send(self, response: Message) -> bool:
        """Queue an answer; return whether it carries a document, which is billed as a read."""
        self.outgoing.put_nowait(response.SerializeToString())
        return bool(response.HasField("document_change"))

    def _bill(self, reads: int) -> None:
        self._engine.meter(Operation.FIRESTORE_READ, reads, self._caller.name)

    def receive(self, request: Message) -> None:
        """Do what one request asks."""
        database = check_database(request.database)
        kind = request.WhichOneof("target_change")
        if kind == "add_target":
            self._add(database, request)
        elif kind == "remove_target":
            self._targets.pop(request.remove_target, None)
            self._send(_target_change(_Kind.REMOVE, [request.remove_target], 0))
        else:
            raise invalid_argument("A ListenRequest must add or remove a target.")

    def _add(self, database: str, request: Message) -> None:
        message = request.add_target
        target_id = message.target_id
        if not target_id:
            target_id, self._next_own_id = self._next_own_id, self._next_own_id + 1
        if target_id in self._targets:
            raise invalid_argument(f"Target id {target_id} is in use.")
        try:
            self._access.check(self._caller, "Listen", request)
            target = self._make(database, target_id, message)
        except StatusError as error:
            if error.code is Code.UNAUTHENTICATED:
                raise
            if error.code is Code.PERMISSION_DENIED:
                self._send(_target_change(_Kind.ADD, [target_id], 0))
            self._refuse(target_id, error)
            return
        self._engine.settle()
        self._send(_target_change(_Kind.ADD, [target_id], 0))
        seen, too_old = self._seen(message)
        if too_old:
            self._send(_target_change(_Kind.RESET, [target_id], 0))
        reads = sum(map(self._send, target.initial(seen)))
        self._bill(max(1, reads))
        now = self._engine.now()
        self._send(_target_change(_Kind.CURRENT, [target_id], now))
        self._send(_target_change(_Kind.NO_CHANGE, [], now))
        if message.once:
            self._send(_target_change(_Kind.REMOVE, [target_id], 0))
        else:
            self._targets[target_id] = _Listened(target, request)

    def _make(self, database: str, target_id: int, message: Message) -> Target:
        kind = message.WhichOneof("target_type")
        if kind == "documents":
            return DocumentsTarget(self._engine.store, target_id, message.documents.documents)
        if kind != "query":
            raise invalid_argument("A target must be a query or documents.")
        query = compile_query(message.query.parent, message.query.structured_query)
        if query.nearest is not None:
            raise invalid_argument("A vector search cannot be listened to.")
        if query.database != database:
            raise invalid_argument("A target must be in the database of its stream.")
        if self._indexes is not None:
            self._indexes.check(database, message.query.structured_query)
        return QueryTarget(self._engine.store, target_id, query)

    def _refuse(self, target_id: int, error: StatusError) -> None:
        response = _target_change(_Kind.REMOVE, [target_id], 0)
        response.target_change.cause.code = error.code
        response.target_change.cause.message = error.message
        self._send(response)

    def _seen(self, message: Message) -> tuple[int | None, bool]:
        """Return the version that a client resumes from, and whether it is too old for that."""
        kind = message.WhichOneof("resume_type")
        if kind == "resume_token" and len(message.resume_token) == _TOKEN.size:
            version = int(_TOKEN.unpack(message.resume_token)[0])
        elif kind == "read_time":
            version = from_timestamp(message.read_time)
        else:
            return None, kind is not None
        now = self._engine.now()
        readable = now - READ_TIME_WINDOW_S * _MICROSECONDS <= version <= now
        return (version, False) if readable else (None, True)

    def committed(self, version: int, changes: Mapping[str, Change]) -> None:
        """Tell the client what a commit changed, as far as the rules still allow it."""
        told: list[Message] = []
        try:
            for target_id, listened in tuple(self._targets.items()):
                responses = list(listened.target.changed(version, changes))
                if responses and self._may_still(target_id, listened, version):
                    told += responses
        except StatusError as error:
            # The token has expired: a client comes back with another one.
            self._targets.clear()
            self.outgoing.put_nowait(error)
            return
        if told:
            self._bill(sum(map(self._send, told)))
            self._send(_target_change(_Kind.NO_CHANGE, [], version))

    def _may_still(self, target_id: int, listened: _Listened, version: int) -> bool:
        """Judge a target again; remove it when it is refused.

        Raises:
            StatusError: UNAUTHENTICATED.
        """
        try:
            self._access.check(self._caller, "Listen", listened.request)
        except StatusError as error:
            if error.code is not Code.PERMISSION_DENIED:
                raise
            del self._targets[target_id]
            if isinstance(listened.target, QueryTarget):
                self._send(_target_change(_Kind.RESET, [target_id], version))
            self._refuse(target_id, error)
            return False
        return True


class ListenCalls:
    """Implements Listen.

    Args:
        engine: The database.
        indexes: Refuses queries without an index, or None to accept all.
        access: Asked about every target; a refused one is removed with the cause.
    """

    def __init__(self, engine: Engine, indexes: IndexChecker | None, access: Access) -> None:
        self._engine = engine
        self._indexes = indexes
        self._access = access

    async def listen(
        self, requests: AsyncIterator[Message], caller: Caller
    ) -> AsyncGenerator[bytes]:
        """Listen: answers as long as the client keeps its side open."""
        stream = _Stream(self._engine, self._indexes, self._access, caller)
        self._engine.subscribe(stream.committed)
        reading = asyncio.create_task(_receive_all(stream, requests))
        try:
            while (response := await stream.outgoing.get()) is not None:
                if isinstance(response, StatusError):
                    raise response
                yield response
        finally:
            self._engine.unsubscribe(stream.committed)
            reading.cancel()


async def _receive_all(stream: _Stream, requests: AsyncIterator[Message]) -> None:
    try:
        async for request in requests:
            stream.receive(request)
    except StatusError as error:
        stream.outgoing.put_nowait(error)
    finally:
        stream.outgoing.put_nowait(None)
