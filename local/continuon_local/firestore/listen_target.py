"""One target of a Listen stream: what it shows now, and what a commit changes about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from continuon_local.firestore.messages import Document, ListenResponse
from continuon_local.firestore.paths import parse_document_name
from continuon_local.firestore.query_run import run_query
from continuon_local.firestore.times import to_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from continuon_local.firestore.messages import Message
    from continuon_local.firestore.query import CompiledQuery
    from continuon_local.firestore.store import DocumentStore
    from continuon_local.firestore.transactions import Change

__all__ = ["DocumentsTarget", "QueryTarget", "Target"]

State = dict[str, "Message"]
"""The documents a target shows, by name."""


class Target(Protocol):
    """What a client listens to."""

    def initial(self, version: int | None) -> Iterator[Message]:
        """Yield the answers that bring a client to the present.

        Args:
            version: The version the client has seen already, or None for nothing.
        """
        ...

    def changed(self, version: int, changes: Mapping[str, Change]) -> Iterator[Message]:
        """Yield the answers that follow from a commit."""
        ...


def _change(target_id: int, document: Message) -> Message:
    response: Message = ListenResponse()
    response.document_change.document.CopyFrom(document)
    response.document_change.target_ids.append(target_id)
    return response


def _delete(target_id: int, name: str, version: int) -> Message:
    response: Message = ListenResponse()
    response.document_delete.document = name
    response.document_delete.removed_target_ids.append(target_id)
    response.document_delete.read_time.CopyFrom(to_timestamp(version))
    return response


def _remove(target_id: int, name: str, version: int) -> Message:
    response: Message = ListenResponse()
    response.document_remove.document = name
    response.document_remove.removed_target_ids.append(target_id)
    response.document_remove.read_time.CopyFrom(to_timestamp(version))
    return response


def _same(one: Message, other: Message) -> bool:
    return bool(one.update_time == other.update_time)


class DocumentsTarget:
    """Listens to documents by name."""

    def __init__(self, store: DocumentStore, target_id: int, names: Sequence[str]) -> None:
        self._store = store
        self._target_id = target_id
        self._names = tuple(dict.fromkeys(names))
        for name in self._names:
            parse_document_name(name)

    def initial(self, version: int | None) -> Iterator[Message]:
        """Yield every document, or that it does not exist."""
        for name in self._names:
            stored = self._store.get(parse_document_name(name))
            if stored is None:
                yield _delete(self._target_id, name, self._store.last_version)
            elif version is None or stored.version > version:
                yield _change(self._target_id, Document.FromString(stored.data))

    def changed(self, version: int, changes: Mapping[str, Change]) -> Iterator[Message]:
        """Yield what happened to the documents listened to."""
        for name in self._names:
            change = changes.get(name)
            if change is None:
                continue
            if change.new is None:
                yield _delete(self._target_id, name, version)
            else:
                yield _change(self._target_id, change.new)


class QueryTarget:
    """Listens to the results of a query."""

    def __init__(self, store: DocumentStore, target_id: int, query: CompiledQuery) -> None:
        self._store = store
        self._target_id = target_id
        self._query = query
        self._shown: State = {}

    def _run(self, version: int | None) -> State:
        result = run_query(self._store, self._query, version)
        return {row.name: row.document for row in result.rows}

    def initial(self, version: int | None) -> Iterator[Message]:
        """Yield the results, or what changed about them since ``version``."""
        if version is not None:
            self._shown = self._run(version)
        yield from self._difference(self._run(None), self._store.last_version, {})

    def changed(self, version: int, changes: Mapping[str, Change]) -> Iterator[Message]:
        """Yield the documents that entered, changed within or left the results."""
        if self._query.limit is None and not self._query.offset:
            state = dict(self._shown)
            for name, change in changes.items():
                state.pop(name, None)
                if change.new is not None and self._selects(name, change.new):
                    state[name] = change.new
        elif any(map(self._query.is_in_scope, changes)):
            # What a limit cuts off moves up when something before it goes.
            state = self._run(None)
        else:
            return
        yield from self._difference(state, version, changes)

    def _selects(self, name: str, document: Message) -> bool:
        query = self._query
        if not query.is_in_scope(name) or not query.predicate(name, document.fields):
            return False
        key = query.sort_key(name, document.fields)
        return key is not None and query.is_within(key)

    def _difference(
        self, state: State, version: int, changes: Mapping[str, Change]
    ) -> Iterator[Message]:
        shown, self._shown = self._shown, state
        for name in shown:
            if name not in state:
                change = changes.get(name)
                gone = change is not None and change.new is None
                yield (_delete if gone else _remove)(self._target_id, name, version)
        for name, document in state.items():
            if name not in shown or not _same(shown[name], document):
                yield _change(self._target_id, self._query.projected(document))
