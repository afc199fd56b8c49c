from __future__ import annotations

from typing import Any

import pytest

from continuon_local.rules import Ruleset, RulesRequest
from continuon_local.rules.symbolic import UNKNOWN, UNKNOWN_SEGMENTS, Fact, SymbolicMap, Unknown
from rules_requests import ALICE, DATABASE, NOW, firestore_rules

OWN = {"owner": "alice"}


def _list(condition: str, fields: dict[str, Any] | None = None, **request: Any) -> bool:
    return _list_body(f"match /x/{{id}} {{ allow list: if {condition}; }}", fields, **request)


def _list_body(body: str, fields: dict[str, Any] | None = None, **request: Any) -> bool:
    segments = request.pop("segments", ("x", UNKNOWN))
    resource = SymbolicMap({"data": SymbolicMap(fields or {}), "id": UNKNOWN, "__name__": UNKNOWN})
    asked = RulesRequest(
        method="list",
        path=("databases", DATABASE, "documents", *segments),
        time=NOW,
        auth=ALICE,
        resource=resource,
        query=request.pop("query", {"limit": 10, "offset": 0}),
    )
    return Ruleset.parse(firestore_rules(body)).evaluate(asked).allowed


def test_a_filter_that_implies_the_rule_is_allowed() -> None:
    condition = "resource.data.owner == request.auth.uid"
    assert _list(condition, OWN)
    assert not _list(condition)
    assert not _list(condition, {"owner": "bob"})


@pytest.mark.parametrize(
    "condition",
    [
        "resource.data.other == 1",
        "resource.data.other != 1",
        "!(resource.data.other == 1)",
        "resource.data.other == resource.data.other",
        "resource.data.other is string",
        "resource.data.other in [1, 2]",
        "'other' in resource.data",
        "!('other' in resource.data)",
        "resource.data.keys().hasAll(['owner', 'other'])",
        "resource.data.keys().hasOnly(['owner'])",
        "resource.data.keys().size() == 1",
        "!('other' in resource.data.keys())",
        "resource.data == {'owner': 'alice'}",
        "resource.data.get('other', 'alice') == 'alice'",
        "[resource.data.other] == [resource.data.other]",
        "{'a': resource.data.other} != {}",
        "resource.data.other == 1 ? true : true",
        "resource.data.other.matches('.*')",
        "exists(/databases/(default)/documents/x/$(id)) == true",
        "id == 'alice' || id != 'alice'",
        "resource.id == id",
        "resource.data.other && false || resource.data.other",
        "-resource.data.other < 1 || true && resource.data.other",
        "resource.data[1] == 1",
        "resource.data.other[0:1] == []",
        "int(resource.data.other) == 1",
    ],
)
def test_what_is_not_known_of_every_result_does_not_grant(condition: str) -> None:
    assert not _list(condition, OWN)


@pytest.mark.parametrize(
    "condition",
    [
        "true",
        "resource.data.other == 1 || true",
        "!(resource.data.other == 1 && false)",
        "resource != null && resource.data != null",
        "'owner' in resource.data",
        "resource.data.owner is string",
        "resource.data is map",
        "resource.data['owner'] == 'alice'",
        "resource.data.get('owner', '') == 'alice'",
        "resource.data.owner.size() == 5",
        "resource.data.keys().hasAll(['owner'])",
        "'owner' in resource.data.keys()",
        "request.query.limit <= 10 && request.query.offset == 0",
        "request.auth.uid == 'alice'",
        "request.path == /databases/(default)/documents/x",
    ],
)
def test_what_is_known_of_every_result_grants(condition: str) -> None:
    assert _list(condition, OWN)


def _fact(operator: str, value: Any) -> dict[str, Any]:
    return {"n": Unknown((Fact(operator, value),))}


@pytest.mark.parametrize(
    ("fields", "proven", "not_proven"),
    [
        (
            _fact(">", 5),
            ["n > 5", "n >= 5", "n > 4", "n != 5", "n != 3", "5 < n"],
            ["n > 6", "n < 10", "n == 6", "n is number", "n != 7", "!(n < 5)", "!(n == 2)"],
        ),
        (_fact(">=", 5), ["n >= 5", "n > 4.5", "n != 4"], ["n > 5", "n != 5"]),
        (_fact("<", 5), ["n < 5", "n <= 5", "n < 6", "n != 5"], ["n < 4", "n > 0"]),
        (_fact("<=", 5), ["n <= 5", "n < 6", "5 >= n"], ["n < 5", "n != 5"]),
        (_fact("!=", "a"), ["n != 'a'"], ["!(n == 'a')", "n != 'b'", "n == 'b'", "n is string"]),
        (_fact(">", "b"), ["n > 'a'", "n != 'a'"], ["n > 'c'", "n > 5", "n != 5", "n is string"]),
        (
            _fact("contains", "a"),
            ["'a' in n", "n.hasAny(['a', 'b'])"],
            ["'b' in n", "n == ['a']", "n.hasAll(['a'])"],
        ),
    ],
)
def test_facts_prove_what_follows_from_them(
    fields: dict[str, Any], proven: list[str], not_proven: list[str]
) -> None:
    def holds(condition: str) -> bool:
        function = f"function f(n) {{ return {condition}; }}"
        return _list_body(
            f"{function} match /x/{{id}} {{ allow list: if f(resource.data.n); }}", fields
        )

    assert [condition for condition in proven if not holds(condition)] == []
    assert [condition for condition in not_proven if holds(condition)] == []


def test_a_query_matches_patterns_that_hold_for_every_document() -> None:
    anything = "{ allow list: if true; }"
    assert _list_body(f"match /x/{{id}} {anything}")
    assert _list_body(f"match /{{all=**}} {anything}")
    assert not _list_body(f"match /x/1 {anything}")
    assert not _list_body(f"match /y/{{id}} {anything}")


def test_a_collection_group_needs_a_glob_before_its_collection() -> None:
    group = (UNKNOWN_SEGMENTS, "z", UNKNOWN)
    anything = "{ allow list: if true; }"
    assert _list_body(f"match /{{path=**}}/z/{{id}} {anything}", segments=group)
    assert _list_body(f"match /{{path=**}} {anything}", segments=group)
    assert not _list_body(f"match /z/{{id}} {anything}", segments=group)
    assert not _list_body(f"match /x/{{a}}/z/{{id}} {anything}", segments=group)
    assert not _list_body(f"match /{{path=**}}/y/{{id}} {anything}", segments=group)
