"""A loaded ruleset, and the requests it decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from continuon_local.rules.access import AccessBudget, NoDocuments
from continuon_local.rules.check import check_rules
from continuon_local.rules.errors import RulesError
from continuon_local.rules.evaluator import Evaluator
from continuon_local.rules.matching import matching_blocks
from continuon_local.rules.parser import parse_rules
from continuon_local.rules.scopes import Scope
from continuon_local.rules.symbolic import UNKNOWN
from continuon_local.rules.trace import Decision, TraceEntry
from continuon_local.rules.values import Path, Timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from continuon_local.rules.access import DocumentReader
    from continuon_local.rules.check import Issue
    from continuon_local.rules.nodes import Allow, Match, RulesFile

__all__ = ["ABSENT", "RulesRequest", "Ruleset"]

ABSENT = object()
"""A property that the request does not have."""

_METHODS = {
    "get": frozenset(("get", "read")),
    "list": frozenset(("list", "read")),
    "create": frozenset(("create", "write")),
    "update": frozenset(("update", "write")),
    "delete": frozenset(("delete", "write")),
}


@dataclass(frozen=True, kw_only=True)
class RulesRequest:
    """One operation on one document or object, or one query.

    Attributes:
        service: ``cloud.firestore`` or ``firebase.storage``.
        method: ``get``, ``list``, ``create``, ``update`` or ``delete``.
        path: The segments that ``match`` statements match: ``databases, D, documents, ...`` or
            ``b, BUCKET, o, ...``. Of a query the last is ``UNKNOWN``, and ``request.path`` is what
            comes before.
        time: When the request came.
        auth: ``{"uid": ..., "token": {...}}``, None for a caller that is not signed in.
        resource: What is there now, None for nothing.
        new_resource: What would be there afterwards, None for a deletion; ABSENT for reads.
        query: ``limit``, ``offset`` and ``orderBy`` of a query, otherwise ABSENT.
    """

    service: str = "cloud.firestore"
    method: str
    path: tuple[Any, ...]
    time: Timestamp
    auth: dict[str, Any] | None = None
    resource: Any = None
    new_resource: Any = ABSENT
    query: Any = ABSENT

    def value(self) -> dict[str, Any]:
        """Return what rules see as ``request``."""
        path = self.path[:-1] if self.method == "list" else self.path
        known = all(isinstance(segment, str) for segment in path)
        fields = {
            "auth": self.auth,
            "method": self.method,
            "path": Path(path) if known else UNKNOWN,
            "time": self.time,
            "resource": self.new_resource,
            "query": self.query,
        }
        return {name: value for name, value in fields.items() if value is not ABSENT}


@dataclass(frozen=True)
class Ruleset:
    """A ruleset that parsed and passed its checks.

    Attributes:
        rules: Its syntax tree.
        warnings: What would not stop Google from loading it, and will never grant.
    """

    rules: RulesFile
    warnings: tuple[Issue, ...] = field(default=())

    @classmethod
    def parse(cls, source: str) -> Ruleset:
        """Load a ruleset.

        Raises:
            RulesError: It does not parse or breaks a rule of the language; with line and column.
        """
        rules = parse_rules(source)
        try:
            return cls(rules, check_rules(rules))
        except RulesError as error:
            raise error.within(source) from error

    def evaluate(
        self,
        request: RulesRequest,
        reader: DocumentReader | None = None,
        budget: AccessBudget | None = None,
    ) -> Decision:
        """Decide one operation: allowed when some ``allow`` that applies is definitely true.

        Args:
            request: The operation.
            reader: Reads the documents that the rules ask for; by default there are none.
            budget: Shared by the operations of one request; by default one operation's.
        """
        budget = budget or AccessBudget()
        budget.begin()
        evaluator = Evaluator(request.service, request.path, reader or NoDocuments(), budget)
        for allow, scope in self._applying(request):
            if allow.condition is None:
                at = allow.at
                evaluator.trace.append(TraceEntry(at.line, at.column, "true", "true", failed=False))
                return Decision(allowed=True, trace=tuple(evaluator.trace))
            if evaluator.grants(allow.condition, scope):
                return Decision(allowed=True, trace=tuple(evaluator.trace))
        return Decision(allowed=False, trace=tuple(evaluator.trace))

    def _applying(self, request: RulesRequest) -> Iterator[tuple[Allow, Scope]]:
        """Yield the ``allow`` statements for a request, each with the names it sees."""
        accepted = _METHODS[request.method]
        known = {"request": request.value(), "resource": request.resource}
        root = Scope(None, known).inner({}, self.rules.functions)
        for service in self.rules.services:
            if service.name != request.service:
                continue
            outer = root.inner({}, service.functions)
            version = self.rules.version
            for chain, match in matching_blocks(service.matches, request.path, version=version):
                scope = _scope_of(chain, outer)
                for allow in match.allows:
                    if accepted.intersection(allow.methods):
                        yield allow, scope


def _scope_of(chain: list[tuple[Match, dict[str, Any]]], outer: Scope) -> Scope:
    scope = outer
    for match, captures in chain:
        scope = scope.inner(dict(captures), match.functions)
    return scope
