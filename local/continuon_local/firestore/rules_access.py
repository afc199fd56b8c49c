"""Security rules at the database: every call of a user is judged, administrators' are not.

Queries are judged before they run, for everything they could find. Documents are judged as they
were read. Writes are judged at the moment of the commit, each document with what it was and what
the whole commit makes of it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from continuon_local.firestore.errors import StatusError
from continuon_local.firestore.filters import check_disjunctions
from continuon_local.firestore.messages import Document, StructuredQuery
from continuon_local.firestore.paths import parse_document_name, parse_parent
from continuon_local.firestore.rules_queries import queried_documents, query_value
from continuon_local.firestore.rules_users import authenticated
from continuon_local.firestore.rules_values import fields_value, timestamp_of
from continuon_local.firestore.rules_writes import planned_writes
from continuon_local.grpc_wire.codes import Code
from continuon_local.meter import Operation
from continuon_local.rules import (
    AccessBudget,
    EvaluationError,
    RulesRequest,
    resource_value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from continuon_local.firestore.access import Caller, Guard, RulesIssue
    from continuon_local.firestore.engine import Engine
    from continuon_local.firestore.messages import Message
    from continuon_local.firestore.rules_source import RulesSource
    from continuon_local.firestore.store import StoredDocument

__all__ = ["RulesAccess", "RulesDocuments"]

_LOG = logging.getLogger(__name__)
_ADMIN_ONLY = {
    "BatchWrite": "Batch writes require admin authentication.",
    "ListCollectionIds": "Metadata operations require admin authentication.",
    "PartitionQuery": "Metadata operations require admin authentication.",
}


def _denied(message: str = "Missing or insufficient permissions.") -> StatusError:
    return StatusError(Code.PERMISSION_DENIED, message)


class RulesDocuments:
    """Reads for rules: the present state, and what a commit makes of it.

    Args:
        engine: The database.
        database: ``projects/P/databases/D``.
        after: The documents a commit changes, None where it leaves none.
    """

    def __init__(
        self, engine: Engine, database: str, after: Mapping[str, Message | None] | None = None
    ) -> None:
        self._engine = engine
        self._database = database
        self._after = after or {}

    def read(self, path: Sequence[str], *, after: bool) -> Mapping[str, Any] | None:
        """Return a document's fields, None when it does not exist."""
        name = f"{self._database}/documents/{'/'.join(path)}"
        try:
            parsed = parse_document_name(name)
        except StatusError as error:
            raise EvaluationError(f"Service call error: {error.message}") from error
        if after and name in self._after:
            changed = self._after[name]
            return None if changed is None else fields_value(changed.fields)
        self._engine.settle()
        stored = self._engine.store.get(parsed)
        return None if stored is None else fields_value(Document.FromString(stored.data).fields)


@dataclass(frozen=True, slots=True)
class _Judge:
    """Decides the operations of one request, which share what may be read."""

    access: RulesAccess
    caller: Caller
    database: str
    auth: dict[str, Any] | None
    now: int
    budget: AccessBudget

    def require(
        self,
        documents: RulesDocuments,
        method: str,
        path: tuple[Any, ...],
        **seen: Any,
    ) -> None:
        """Return when the rules allow one operation.

        Raises:
            StatusError: PERMISSION_DENIED.
        """
        request = RulesRequest(
            method=method, path=path, time=timestamp_of(self.now), auth=self.auth, **seen
        )
        ruleset = self.access.source.ruleset(self.database.split("/")[1])
        if ruleset is None:
            raise _denied()
        decision = ruleset.evaluate(request, documents, self.budget)
        if not decision.allowed:
            _LOG.info("rules refused %s: %s", method, decision.explain())
            raise _denied()


class RulesAccess:
    """Judges users by the rules in force.

    Args:
        engine: The database that the rules may read.
        source: Where the rules are.
        now_s: The present, in seconds since 1970.
    """

    def __init__(self, engine: Engine, source: RulesSource, now_s: Callable[[], float]) -> None:
        self.source = source
        self._engine = engine
        self._now_s = now_s
        self._checks: dict[str, Callable[[_Judge, Message], None]] = {
            "RunQuery": lambda judge, request: self._query(
                judge, request.parent, request.structured_query
            ),
            "RunAggregationQuery": lambda judge, request: self._query(
                judge, request.parent, request.structured_aggregation_query.structured_query
            ),
            "ListDocuments": self._list,
            "Listen": self._listen,
        }

    def check(self, caller: Caller, method: str, request: object) -> None:
        """Judge what can be judged before the call: who asks, and queries.

        Raises:
            StatusError: PERMISSION_DENIED by the rules, UNAUTHENTICATED for a token that is none.
        """
        if caller.is_admin:
            return
        message: Message = request
        check = self._checks.get(method)
        if check is None:
            authenticated(caller.user_token, _project_of(message), self._now_s())
        if method in _ADMIN_ONLY:
            raise _denied(_ADMIN_ONLY[method])
        if check is not None:
            parent = getattr(message, "parent", "")
            database = parse_parent(parent)[0] if parent else message.database
            self._judged(caller, database, lambda judge: check(judge, message))

    def _judged(
        self,
        caller: Caller,
        database: str,
        judge_all: Callable[[_Judge], None],
        now: int | None = None,
    ) -> None:
        """Judge one request; the documents that rules read are billed whatever comes out."""
        now = self._engine.now() if now is None else now
        project = database.split("/")[1] if database.count("/") else ""
        auth = authenticated(caller.user_token, project, self._now_s())
        judge = _Judge(self, caller, database, auth, now, AccessBudget())
        try:
            judge_all(judge)
        finally:
            self._engine.meter(Operation.FIRESTORE_READ, judge.budget.counted, caller.name)

    def _query(self, judge: _Judge, parent: str, query: Message) -> None:
        if query.HasField("where"):
            check_disjunctions(query.where)
        seen = query_value(query)
        documents = RulesDocuments(self._engine, judge.database)
        for possible in queried_documents(parent, query):
            judge.require(documents, "list", possible.path, resource=possible.resource, query=seen)

    def _list(self, judge: _Judge, request: Message) -> None:
        query = StructuredQuery(from_=[{"collection_id": request.collection_id}])
        if request.page_size:
            query.limit.value = request.page_size
        self._query(judge, request.parent, query)

    def _listen(self, judge: _Judge, request: Message) -> None:
        target = request.add_target
        if target.WhichOneof("target_type") == "query":
            self._query(judge, target.query.parent, target.query.structured_query)
            return
        for name in target.documents.documents:
            stored = self._engine.store.get(parse_document_name(name))
            self._require_get(judge, name, stored)

    def check_reads(self, caller: Caller, found: Mapping[str, StoredDocument | None]) -> None:
        """Judge documents as they were read.

        Raises:
            StatusError: PERMISSION_DENIED, or UNAUTHENTICATED.
        """
        if caller.is_admin or not found:
            return
        database = parse_document_name(next(iter(found))).collection.database

        def judge_all(judge: _Judge) -> None:
            for name, stored in found.items():
                self._require_get(judge, name, stored)

        self._judged(caller, database, judge_all)

    def _require_get(self, judge: _Judge, name: str, stored: StoredDocument | None) -> None:
        document = None if stored is None else Document.FromString(stored.data)
        path, resource = _seen(name, document)
        judge.require(RulesDocuments(self._engine, judge.database), "get", path, resource=resource)

    def guard(self, caller: Caller) -> Guard | None:
        """Return what judges a user's writes at their commit, None for an administrator."""
        if caller.is_admin:
            return None

        def judge_writes(writes: Sequence[Message], version: int) -> None:
            if writes:
                self._judge_writes(caller, writes, version)

        return judge_writes

    def _judge_writes(self, caller: Caller, writes: Sequence[Message], version: int) -> None:
        planned = planned_writes(writes, version, self._load)
        database = parse_document_name(next(iter(planned))).collection.database
        documents = RulesDocuments(
            self._engine, database, {name: plan.after for name, plan in planned.items()}
        )

        def judge_all(judge: _Judge) -> None:
            for name, plan in planned.items():
                path, before = _seen(name, plan.before)
                _, after = _seen(name, plan.after)
                judge.require(documents, plan.method, path, resource=before, new_resource=after)

        # The time of the commit, which server timestamps in it will have.
        self._judged(caller, database, judge_all, version)

    def _load(self, name: str) -> Message | None:
        stored = self._engine.store.get(parse_document_name(name))
        return None if stored is None else Document.FromString(stored.data)

    def set_rules(self, project_id: str, source: str) -> Sequence[RulesIssue]:
        """Load a ruleset for a project; return what is wrong with it."""
        return self.source.set_rules(project_id, source)


def _project_of(request: Message) -> str:
    """Return the project that a request is about; empty where its name is malformed."""
    document = getattr(request, "document", None)
    named = [getattr(request, field, "") for field in ("database", "parent", "name")]
    named.append("" if document is None else document.name)
    parts = next(filter(None, named), "").split("/")
    return str(parts[1]) if len(parts) > 1 else ""


def _seen(name: str, document: Message | None) -> tuple[tuple[str, ...], dict[str, Any] | None]:
    """Return the path to match and what rules see of a document."""
    parsed = parse_document_name(name)
    database = parsed.collection.database.rpartition("/")[2]
    segments = parsed.path.split("/")
    path = ("databases", database, "documents", *segments)
    if document is None:
        return path, None
    return path, resource_value(database, segments, fields_value(document.fields))
