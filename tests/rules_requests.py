"""Requests to put to a ruleset in unit tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from continuon_local.rules import ABSENT, Ruleset, RulesRequest, resource_value
from continuon_local.rules.values import Timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from continuon_local.rules import AccessBudget, Decision, DocumentReader

DATABASE = "(default)"
NOW = Timestamp(1_795_284_944 * 1_000_000_000)
ALICE = {"uid": "alice", "token": {"sub": "alice", "aud": "demo-continuon"}}
BOB = {"uid": "bob", "token": {"sub": "bob", "aud": "demo-continuon"}}


class Documents:
    """A reader of a few documents that counts what is read."""

    def __init__(self, documents: Mapping[str, Mapping[str, Any]]) -> None:
        self._documents = documents
        self.reads: list[str] = []

    def read(self, path: Sequence[str], *, after: bool) -> Mapping[str, Any] | None:
        name = "/".join(path) + ("@after" if after else "")
        self.reads.append(name)
        return self._documents.get(name)


def firestore_rules(body: str, version: int = 2) -> str:
    """Return a ruleset for Firestore around declarations below ``documents``."""
    return (
        f"rules_version = '{version}';\n"
        "service cloud.firestore { match /databases/{database}/documents {\n"
        f"{body}\n}} }}"
    )


def document_request(
    method: str,
    path: str,
    *,
    auth: dict[str, Any] | None = ALICE,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> RulesRequest:
    """Return a request about one document, which is ``before`` and would be ``after``."""
    segments = path.split("/")
    return RulesRequest(
        method=method,
        path=("databases", DATABASE, "documents", *segments),
        time=NOW,
        auth=auth,
        resource=None if before is None else resource_value(DATABASE, segments, before),
        new_resource=ABSENT if after is None else resource_value(DATABASE, segments, after),
    )


def decide(
    source: str,
    method: str = "get",
    path: str = "x/1",
    *,
    reader: DocumentReader | None = None,
    budget: AccessBudget | None = None,
    **request: Any,
) -> Decision:
    """Put one request to a ruleset."""
    return Ruleset.parse(source).evaluate(document_request(method, path, **request), reader, budget)


def allows(body: str, method: str = "get", path: str = "x/1", **request: Any) -> bool:
    """Tell whether declarations below ``documents`` allow a request."""
    return decide(firestore_rules(body), method, path, **request).allowed


def outcome(expression: str, functions: str = "", **request: Any) -> str:
    """Return the value of an expression as the trace writes it, or ``error``."""
    body = f"{functions} match /x/{{id}} {{ allow get: if {expression}; }}"
    last = decide(firestore_rules(body), **request).trace[-1]
    return "error" if last.failed else last.outcome
