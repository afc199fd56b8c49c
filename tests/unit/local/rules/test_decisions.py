from __future__ import annotations

from typing import Any

import pytest

from continuon_local.rules import AccessBudget, Ruleset
from rules_requests import (
    ALICE,
    Documents,
    allows,
    decide,
    document_request,
    firestore_rules,
    outcome,
)

DOCUMENT = {"owner": "alice", "n": 1}


@pytest.mark.parametrize(
    ("pattern", "version", "matching", "other"),
    [
        ("/x/{id}", 2, ["x/1"], ["y/1", "x/1/z/2"]),
        ("/x/{rest=**}", 2, ["x/1", "x/1/z/2"], ["y/1"]),
        ("/x/{rest=**}", 1, ["x/1", "x/1/z/2"], ["y/1"]),
        ("/x/1/{rest=**}", 2, ["x/1", "x/1/z/2"], ["x/2"]),
        ("/x/1/{rest=**}", 1, ["x/1/z/2"], ["x/1", "x/2"]),
        ("/{all=**}", 2, ["x/1", "x/1/z/2"], []),
        ("/{all=**}", 1, ["x/1", "x/1/z/2"], []),
        ("/{path=**}/z/{id}", 2, ["z/1", "x/1/z/2", "x/1/y/2/z/3"], ["x/1", "z/1/x/2"]),
        ("/x/{a}/z/{b}", 2, ["x/1/z/2"], ["x/1", "x/1/y/2"]),
    ],
)
def test_wildcards_match_as_documented(
    pattern: str, version: int, matching: list[str], other: list[str]
) -> None:
    source = firestore_rules(f"match {pattern} {{ allow get: if true; }}", version)
    assert [path for path in matching if not decide(source, path=path).allowed] == []
    assert [path for path in other if decide(source, path=path).allowed] == []


def test_nested_blocks_join_their_paths_and_captures() -> None:
    body = """
      match /x/{a} {
        allow get: if false;
        match /z/{b} { allow get: if a == '1' && b == '2' && database == '(default)'; }
      }
    """
    assert allows(body, path="x/1/z/2")
    assert not allows(body, path="x/1")
    assert not allows(body, path="x/2/z/2")


def test_a_glob_captures_a_path() -> None:
    body = "match /x/{rest=**} { allow get: if rest == /1/z/2 && rest[1] == 'z'; }"
    assert allows(body, path="x/1/z/2")
    assert not allows(body, path="x/1/z/3")


def test_an_inner_capture_hides_an_outer_one() -> None:
    body = "match /{a} { match /{b}/z/{a} { allow get: if a == '2'; } }"
    assert allows(body, path="x/1/z/2")


@pytest.mark.parametrize(
    ("granted", "allowed"),
    [
        ("read", {"get", "list"}),
        ("write", {"create", "update", "delete"}),
        ("get", {"get"}),
        ("list", {"list"}),
        ("create", {"create"}),
        ("update", {"update"}),
        ("delete", {"delete"}),
        ("get, create", {"get", "create"}),
    ],
)
def test_methods_stand_for_operations(granted: str, allowed: set[str]) -> None:
    body = f"match /x/{{id}} {{ allow {granted}: if request.method != 'nothing'; }}"
    methods = ("get", "list", "create", "update", "delete")
    assert {method for method in methods if allows(body, method)} == allowed


def test_any_statement_that_is_true_grants_whatever_the_others_say() -> None:
    body = """
      match /x/{id} { allow get: if 1 / 0 == 1; allow get: if false; }
      match /{all=**} { allow get: if request.auth.uid == 'alice'; }
    """
    assert allows(body)
    assert not allows(body, auth=None)


def test_a_condition_that_is_no_boolean_does_not_grant() -> None:
    for value in ("1", "'true'", "null", "[true]", "request.auth"):
        assert not allows(f"match /x/{{id}} {{ allow get: if {value}; }}")


def test_a_request_of_another_service_is_refused() -> None:
    source = "service firebase.storage { match /{all=**} { allow read, write; } }"
    assert not decide(source).allowed


def test_the_request_and_the_resource_are_visible() -> None:
    document: dict[str, Any] = {"before": {"n": 1}, "after": {"n": 2}}
    for expression in (
        "request.method == 'update'",
        "request.path == /databases/(default)/documents/x/1",
        "request.auth.token.sub == 'alice'",
        "request.time.year() == 2026",
        "resource.data.n + 1 == request.resource.data.n",
        "resource.id == '1' && request.resource.id == id",
        "resource['__name__'] == request.path",
        "request.resource.data.diff(resource.data).affectedKeys().hasOnly(['n'])",
    ):
        body = f"match /x/{{id}} {{ allow update: if {expression}; }}"
        assert allows(body, "update", **document), expression


def test_properties_that_a_request_lacks_are_errors() -> None:
    assert outcome("request.resource") == "error"
    assert outcome("request.query.limit == 1") == "error"
    assert outcome("request.auth.uid", auth=None) == "error"
    assert outcome("request.auth == null", auth=None) == "true"
    assert outcome("resource == null") == "true"
    assert outcome("resource.data") == "error"


def test_documents_are_read_before_and_after_the_request() -> None:
    reader = Documents({"y/1": {"n": 1}, "y/1@after": {"n": 2}, "z/1@after": {}})
    root = "/databases/$(database)/documents"
    body = f"""
      match /x/{{id}} {{
        allow create: if get({root}/y/$(id)).data.n == 1
          && getAfter({root}/y/1).data.n == 2
          && exists({root}/y/1) && !exists({root}/z/1) && existsAfter({root}/z/1)
          && get({root}/y/1).id == '1' && get({root}/y/1)['__name__'] == {root}/y/1;
      }}
    """
    decision = decide(firestore_rules(body), "create", reader=reader)
    assert decision.allowed
    assert reader.reads == ["y/1", "y/1@after", "z/1", "z/1@after"]


@pytest.mark.parametrize(
    "path",
    [
        "/x/1",
        "/databases/$(database)/documents",
        "/databases/$(database)/documents/y",
        "/databases/other/documents/y/1",
        "/databases/$(database)/documents/y/$('a/b')",
        "/databases/$(database)/documents/y/{open}",
        "'/databases/(default)/documents/y/1'",
    ],
)
def test_what_names_no_document_of_this_database_cannot_be_read(path: str) -> None:
    assert outcome(f"exists({path})".replace("database)", "d)"), auth=ALICE) == "error"
    body = f"match /x/{{id}} {{ allow get: if exists({path}) || !exists({path}); }}"
    assert not allows(body)


def test_getting_a_missing_document_is_an_error_and_its_existence_is_not() -> None:
    missing = "(/databases/(default)/documents/y/1)"
    assert outcome(f"get{missing} == null") == "error"
    assert outcome(f"exists{missing}") == "false"


def _exists(count: int, start: int = 0) -> str:
    one = "exists(/databases/(default)/documents/y/{})"
    return " || ".join(one.format(number) for number in range(start, start + count))


def test_ten_documents_may_be_read_for_one_operation() -> None:
    assert outcome(_exists(10)) == "false"
    assert outcome(_exists(11)) == "error"


def test_a_document_read_again_and_the_requests_own_are_not_counted() -> None:
    own = "exists(/databases/(default)/documents/x/1)"
    assert outcome(f"{_exists(10)} || {_exists(10)} || {own}") == "false"


def test_twenty_documents_may_be_read_for_a_batch() -> None:
    budget = AccessBudget()
    allowed = []
    for start in (0, 10, 20):
        condition = f"!({_exists(10, start)})"
        source = firestore_rules(f"match /x/{{id}} {{ allow get: if {condition}; }}")
        allowed.append(decide(source, budget=budget).allowed)
    assert allowed == [True, True, False]


def test_a_thousand_expressions_may_be_evaluated() -> None:
    functions = "function f(a) { return " + " && ".join(["a == 1"] * 45) + "; }"
    cheap, dear = (" && ".join(["f(1)"] * count) for count in (20, 22))
    assert outcome(cheap, functions) == "true"
    assert outcome(dear, functions) == "error"


def test_the_trace_says_which_condition_refused() -> None:
    source = firestore_rules(
        "function owns(data) { return request.auth != null && data.owner == request.auth.uid; }\n"
        "match /x/{id} {\n  allow get: if owns(resource.data) || resource.data.missing;\n}"
    )
    decision = decide(source, before={"owner": "bob"})
    shown = [(one.line, one.column, one.expression, one.outcome) for one in decision.trace]
    assert shown == [
        (3, 30, "request.auth != null", "true"),
        (3, 54, "data.owner == request.auth.uid", "false"),
        (5, 17, "owns(resource.data)", "false"),
        (5, 40, "resource.data.missing", "Property missing is undefined on object."),
        (
            5,
            17,
            "owns(resource.data) || resource.data.missing",
            "Property missing is undefined on object.",
        ),
    ]
    assert "L5:40 resource.data.missing -> error: Property" in decision.explain()
    assert decide(source, path="y/1").explain() == "No match and allow statement applies."


def test_storage_rules_see_objects_and_may_read_firestore() -> None:
    source = """
      rules_version = '2';
      service firebase.storage { match /b/{bucket}/o {
        match /images/{name} {
          allow create: if request.resource.size < 5 * 1024 * 1024
            && request.resource.contentType.matches('image/.*')
            && firestore.exists(/databases/(default)/documents/users/$(request.auth.uid))
            && firestore.get(/databases/(default)/documents/users/alice).data.plan == 'pro';
        }
      } }
    """
    rules = Ruleset.parse(source)
    assert rules.warnings == ()
    upload = {"size": 1000, "contentType": "image/png"}
    base = document_request("create", "x/1")
    request = type(base)(
        service="firebase.storage",
        method="create",
        path=("b", "bucket", "o", "images", "a.png"),
        time=base.time,
        auth=ALICE,
        new_resource=upload,
    )
    reader = Documents({"users/alice": {"plan": "pro"}})
    assert rules.evaluate(request, reader).allowed
    assert not rules.evaluate(request).allowed
    assert outcome("firestore.exists(/databases/(default)/documents/y/1)") == "error"


def test_values_do_not_grow_without_bound() -> None:
    doubled = "".join(f"function f{n}(a) {{ return f{n + 1}({{}}); }}" for n in range(19))
    for grown, start in (
        ("a + a", "'xxxxxxxxxxxxxxxx'"),
        ("a.concat(a)", "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]"),
        ("[a, a].join('')", "'xxxxxxxxxxxxxxxx'"),
        ("a.replace('x+', '$0$0')", "'xxxxxxxxxxxxxxxx'"),
    ):
        functions = doubled.replace("{}", grown) + "function f19(a) { return a.size(); }"
        assert outcome("f0(a())", f"{functions} function a() {{ return {start}; }}") == "error"


def test_deep_calls_end_in_an_error_not_in_a_crash() -> None:
    deep = "".join(
        f"function f{n}(a) {{ return {'[' * 90}f{n + 1}(a){']' * 90}; }}" for n in range(19)
    )
    assert outcome("f0(1)", f"{deep} function f19(a) {{ return a; }}") == "error"
