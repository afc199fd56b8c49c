"""The calls about documents by name: get, list, create, update, delete, commit, transactions."""

from __future__ import annotations

import secrets
import string
from typing import TYPE_CHECKING

from continuon_local.firestore.errors import StatusError, invalid_argument
from continuon_local.firestore.errors import not_found as not_found_error
from continuon_local.firestore.masks import masked
from continuon_local.firestore.messages import (
    BatchWriteResponse,
    BeginTransactionResponse,
    CommitResponse,
    Empty,
    Write,
    WriteResult,
)
from continuon_local.firestore.paths import check_database, parse_document_name, parse_parent
from continuon_local.firestore.times import to_timestamp
from continuon_local.firestore.wire import found_document, missing_document

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from continuon_local.firestore.access import Access, Caller
    from continuon_local.firestore.engine import Engine
    from continuon_local.firestore.messages import Message

__all__ = ["DocumentCalls"]

_AUTO_ID_ALPHABET = string.ascii_letters + string.digits
_AUTO_ID_LENGTH = 20


def _database_of(name: str) -> str:
    return parse_document_name(name).collection.database


class DocumentCalls:
    """Implements the calls on an engine; each method is one RPC and gives serialized answers.

    Args:
        engine: The database.
        access: Asked about every document that is read or written.
    """

    def __init__(self, engine: Engine, access: Access) -> None:
        self._engine = engine
        self._access = access

    async def get_document(self, request: Message, caller: Caller) -> bytes:
        """GetDocument.

        Raises:
            StatusError: NOT_FOUND when there is no such document.
        """
        reader = self._engine.reader(_database_of(request.name), request)
        _, (stored,) = await self._engine.read_documents(reader, [request.name], caller.name)
        self._access.check_reads(caller, {request.name: stored})
        if stored is None:
            raise not_found_error(f"Document ({request.name}) not found.")
        return masked(stored.data, request)

    async def batch_get_documents(self, request: Message, caller: Caller) -> AsyncGenerator[bytes]:
        """BatchGetDocuments: one answer for each distinct name, found or missing."""
        database = check_database(request.database)
        names = list(dict.fromkeys(request.documents))
        for name in names:
            if _database_of(name) != database:
                raise invalid_argument(f'Document "{name}" is not in "{database}".')
        reader = self._engine.reader(database, request)
        read_time, found = await self._engine.read_documents(reader, names, caller.name)
        self._access.check_reads(caller, dict(zip(names, found, strict=True)))
        opened = reader.opened
        for name, stored in zip(names, found, strict=True):
            if stored is None:
                yield missing_document(name, read_time, opened)
            else:
                yield found_document(masked(stored.data, request), read_time, opened)
            opened = b""

    async def create_document(self, request: Message, caller: Caller) -> bytes:
        """CreateDocument, under a given id or a new random one."""
        parse_parent(request.parent)
        document_id = request.document_id or "".join(
            secrets.choice(_AUTO_ID_ALPHABET) for _ in range(_AUTO_ID_LENGTH)
        )
        name = f"{request.parent}/{request.collection_id}/{document_id}"
        write = Write(update=request.document, current_document={"exists": False})
        write.update.name = name
        return await self._write_one(write, name, request, caller)

    async def update_document(self, request: Message, caller: Caller) -> bytes:
        """UpdateDocument: insert or update, wholly or the fields of ``update_mask``."""
        write = Write(update=request.document)
        if request.HasField("update_mask"):
            write.update_mask.CopyFrom(request.update_mask)
        if request.HasField("current_document"):
            write.current_document.CopyFrom(request.current_document)
        return await self._write_one(write, request.document.name, request, caller)

    async def _write_one(
        self, write: Message, name: str, request: Message, caller: Caller
    ) -> bytes:
        guard = self._access.guard(caller)
        await self._engine.commit(_database_of(name), [write], b"", caller.name, guard)
        self._engine.settle()
        stored = self._engine.store.get(parse_document_name(name))
        if stored is None:
            raise not_found_error(f'Document "{name}" not found.')
        return masked(stored.data, request)

    async def delete_document(self, request: Message, caller: Caller) -> bytes:
        """DeleteDocument; deleting what does not exist is no error unless asked to be."""
        write = Write(delete=request.name)
        if request.HasField("current_document"):
            write.current_document.CopyFrom(request.current_document)
        guard = self._access.guard(caller)
        await self._engine.commit(_database_of(request.name), [write], b"", caller.name, guard)
        return bytes(Empty().SerializeToString())

    async def commit(self, request: Message, caller: Caller) -> bytes:
        """Commit."""
        database = check_database(request.database)
        result = await self._engine.commit(
            database,
            request.writes,
            request.transaction,
            caller.name,
            self._access.guard(caller),
        )
        response = CommitResponse(
            write_results=result.results, commit_time=to_timestamp(result.commit_time)
        )
        return bytes(response.SerializeToString())

    async def batch_write(self, request: Message, caller: Caller) -> bytes:
        """BatchWrite: every write on its own, with a status for each."""
        database = check_database(request.database)
        response = BatchWriteResponse()
        for outcome in await self._engine.batch_write(database, request.writes, caller.name):
            if isinstance(outcome, StatusError):
                response.write_results.append(WriteResult())
                response.status.add(code=outcome.code, message=outcome.message)
            else:
                response.write_results.append(outcome)
                response.status.add()
        return bytes(response.SerializeToString())

    async def begin_transaction(self, request: Message, caller: Caller) -> bytes:  # noqa: ARG002
        """BeginTransaction."""
        database = check_database(request.database)
        transaction = self._engine.begin(database, request.options)
        return bytes(BeginTransactionResponse(transaction=transaction.id).SerializeToString())

    async def rollback(self, request: Message, caller: Caller) -> bytes:  # noqa: ARG002
        """Rollback."""
        database = check_database(request.database)
        self._engine.transactions.rollback(database, request.transaction)
        return bytes(Empty().SerializeToString())
