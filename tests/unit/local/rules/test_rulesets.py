from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import REPOSITORY
from continuon_local.rules import RulesError, Ruleset
from continuon_local.rules.limits import MAX_SOURCE_BYTES
from continuon_local.rules.parser import parse_rules
from continuon_local.rules.printer import rules_text
from rules_requests import allows, firestore_rules

ALLOW = "match /x/{id} { allow get: if true; }"


def _chain(length: int) -> str:
    calls = "".join(f"function g{n}() {{ return g{n + 1}(); }}" for n in range(length))
    return f"{calls} function g{length}() {{ return true; }} {ALLOW}"


def _lets(count: int) -> str:
    lets = "".join(f"let a{n} = {n}; " for n in range(count))
    return f"function f() {{ {lets} return true; }} {ALLOW}"


@pytest.mark.parametrize(
    "body",
    [
        ALLOW,
        "match /x/{id} { allow get; }",
        "match /x/{id} { allow get: if true }",
        "match /x { allow get: if true; }",
        "match /x/{id=**}/y { allow get: if true; }",
        "match /{all=**} { match /x/{id} { allow get: if true; } }",
        "allow get: if true;",
        "match /a-b.c_d@e/(f)/{id} { allow get: if true; }",
        "match /x/{request} { allow get: if true; }",
        "match /x/{id} { allow get: if resource.data.match == 1 && resource.data['a'].if == 2; }",
        "/* one */ // two\nmatch /x/{id} { allow get: if true; /* three */ }",
        "match /x/{id} { allow get: if f(); function f() { return true } }",
        _chain(20),
        _lets(10),
        "match /x/{id} { allow get: if {'a': 1,} != [1,]; }",
        "match /x/{id} { allow get: if inside == 1; }",
    ],
)
def test_what_google_loads_is_loaded(body: str) -> None:
    assert Ruleset.parse(firestore_rules(body)).rules.version == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("match x/{id} { allow get: if true; }", "Unexpected 'x'"),
        ("match /{a=**}/x/{b=**} { allow get: if true; }", "Only one glob"),
        ("match /{a=**} { match /{b=**} { allow get: if true; } }", "Only one glob"),
        ("match /x/{id}/{id} { allow get: if true; }", "Variable id already exists"),
        ("match /x/{id} { allow get get: if true; }", "Unexpected 'get'"),
        ("match /x/{id} { allow: if true; }", "Unexpected ':'"),
        ("match /x/{id} { }", "Unexpected '}'"),
        ("match /x/{id} { allow get: true; }", "Unexpected"),
        ("match /x/{id} { allow get: if true;; }", "Unexpected ';'"),
        ("match /x/{id}/ { allow get: if true; }", "Unexpected"),
        ("match /x/{match} { allow get: if true; }", "Unexpected"),
        ("match /x/{i-d} { allow get: if true; }", "Unexpected"),
        ("match /x/é { allow get: if true; }", "Unexpected"),
        ("match /x/{id} { allow get: if not true; }", "Unexpected"),
        ("match /x/{id} { allow get: if let; }", "Unexpected 'let'"),
        ("match /x/{id} { allow get: if 'a; }", "Unexpected"),
        ("match /x/{id} { allow get: if '\\q' == ''; }", "Unexpected 'q'"),
        ("match /x/{id} { allow get: if b'é' == b''; }", "Invalid bytes literal"),
        ("match /x/{id} { allow get: if 9223372036854775808 == 1; }", "Invalid number literal"),
        ("match /x/{id} { allow get: if 1 is integer; }", "unsupported type identifier"),
        ("match /x/{id} { allow get: if 'a'.matches('('); }", "Invalid regular expression"),
        ("match /x/{id} { allow get: if 1 ina [1]; }", "Unexpected 'i"),
        (f"function f() {{ return 1; }} function f() {{ return 2; }} {ALLOW}", "already defined"),
        (f"function f(a, a) {{ return 1; }} {ALLOW}", "already defined"),
        (f"function f(a) {{ let a = 1; return a; }} {ALLOW}", "already bound"),
        (f"function f() {{ let a = 1; let a = 2; return a; }} {ALLOW}", "already bound"),
        (f"function f() {{ let a = 1; }} {ALLOW}", "Unexpected '}'"),
        (f"function f() {{ return true; return false; }} {ALLOW}", "Unexpected 'return'"),
        (f"function f() {{ }} {ALLOW}", "Unexpected '}'"),
        (f"function f() {{ return f(); }} {ALLOW}", "call cycle"),
        (f"function f() {{ return g(); }} function g() {{ return f(); }} {ALLOW}", "call cycle"),
        (f"function f(a, b, c, d, e, f, g, h) {{ return 1; }} {ALLOW}", "arguments of 7"),
        (_chain(21), "call depth of 20"),
        (_lets(11), "let bindings of 10"),
        ("match /a/{b} { " * 10 + "allow get;" + "}" * 10, "rule depth of 10"),
        (f"match /x/{{id}} {{ allow get: if {'(' * 2000}true{')' * 2000}; }}", None),
        (f"match /x/{{id}} {{ allow get: if {'!' * 200}true; }}", "too complex"),
        (f"match /x/{{id}} {{ allow get: if true{' && true' * 200}; }}", "too complex"),
        (f"match /x/{{id}} {{ allow get: if 1{' + 1' * 200} == 1; }}", "too complex"),
        (f"match /x/{{id}} {{ allow get: if {'[' * 200}{']' * 200} == 1; }}", "too complex"),
    ],
)
def test_what_google_refuses_is_refused_with_its_place(body: str, message: str | None) -> None:
    if message is None:  # parentheses alone are not nesting
        assert Ruleset.parse(firestore_rules(body)).warnings == ()
        return
    with pytest.raises(RulesError, match=re.escape(message)) as refused:
        Ruleset.parse(firestore_rules(body))
    assert refused.value.line > 0
    assert refused.value.column > 0
    assert refused.value.source_line in firestore_rules(body)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "   \n",
        "rules_version = '2';",
        "rules_version = '3'; service cloud.firestore { match /a/{b} { allow get; } }",
        "rules_version = 2; service cloud.firestore { match /a/{b} { allow get; } }",
        "service cloud.firestore { }",
        "service cloud.firestore { allow read: if true; }",
        "import './x'; service cloud.firestore { match /a/{b} { allow get; } }",
        "service cloud.firestore { match /a/{b} { allow get; } } xyz",
        "service cloud.firestore { match /a/{b} { allow get; } } " * 2,
        "x" * (MAX_SOURCE_BYTES + 1),
    ],
)
def test_a_file_that_is_no_ruleset_is_refused(source: str) -> None:
    with pytest.raises(RulesError):
        Ruleset.parse(source)


def test_an_error_says_where_it_is_and_shows_the_line() -> None:
    source = "rules_version = '2';\nservice cloud.firestore {\n  match /x/{id} { alow get; }\n}"
    with pytest.raises(RulesError) as refused:
        Ruleset.parse(source)
    error = refused.value
    assert (error.line, error.column) == (3, 19)
    assert error.source_line == "  match /x/{id} { alow get; }"
    assert str(error) == "L3:19 Unexpected 'alow'."


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("g()", "Invalid function name: g."),
        ("f()", "Incorrect number of arguments supplied to function: f."),
        ("f(1, 2)", "Incorrect number of arguments supplied to function: f."),
        ("missing == 1", "Invalid variable name: missing."),
        ("'a'.nothing()", "Invalid function name: nothing."),
        ("math.nothing(1)", "Invalid function name: nothing."),
        ("'a'.size(1) == 1", "Incorrect number of arguments supplied to function: size."),
        ("exists()", "Incorrect number of arguments supplied to function: exists."),
    ],
)
def test_what_google_warns_of_is_a_warning_and_never_grants(condition: str, message: str) -> None:
    body = f"function f(a) {{ return true; }} match /x/{{id}} {{ allow get: if {condition}; }}"
    (warning,) = Ruleset.parse(firestore_rules(body)).warnings
    assert warning.message == message
    assert warning.at.line == 3
    assert not allows(body)


def test_unknown_methods_and_services_are_warnings() -> None:
    source = "service foo.bar { match /x/{id} { allow peek: if true; } }"
    messages = [warning.message for warning in Ruleset.parse(source).warnings]
    assert messages == ["Invalid service name: foo.bar.", "Invalid method name: peek."]


def test_version_one_has_no_bindings_and_its_glob_comes_last() -> None:
    for body in (_lets(1), "match /{all=**}/x { allow get; }"):
        with pytest.raises(RulesError):
            Ruleset.parse(firestore_rules(body, version=1))
    unversioned = "service cloud.firestore { match /a/{b=**} { allow get; } }"
    assert Ruleset.parse(unversioned).rules.version == 1


def _without_positions(text: str) -> str:
    return re.sub(r"Position\(line=\d+, column=\d+\)", "", text)


@pytest.mark.parametrize("name", ["firestore.rules", "storage.rules"])
def test_the_printed_ruleset_parses_to_the_same_tree(name: str) -> None:
    tree = parse_rules((REPOSITORY / name).read_text(encoding="utf-8"))
    again = parse_rules(rules_text(tree))
    assert _without_positions(repr(again)) == _without_positions(repr(tree))


ATOMS = st.sampled_from(
    [
        "1",
        "2.5",
        "'a'",
        "b'\\x00z'",
        "null",
        "true",
        "request.auth.uid",
        "[1, 2][0]",
        "/a/$(id)/{b}",
    ]
)


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["+", "-", "*", "/", "%", "<", "==", "in", "&&", "||"])
    return st.one_of(
        st.tuples(inner, operators, inner).map(lambda parts: "(" + " ".join(parts) + ")"),
        st.tuples(inner, operators, inner).map(" ".join),
        inner.map(lambda one: f"!{one}"),
        inner.map(lambda one: f"-({one})"),
        inner.map(lambda one: f"({one}).size()"),
        inner.map(lambda one: f"[{one}][1:]"),
        inner.map(lambda one: f"({one}) is string"),
        inner.map(lambda one: f"{{'k': ({one})}}.k"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}) ? ({two[1]}) : f({two[0]})"),
    )


@given(st.recursive(ATOMS, _grown, max_leaves=8))
def test_any_ruleset_survives_printing(expression: str) -> None:
    source = firestore_rules(f"match /x/{{id}} {{ allow get: if {expression}; }}")
    try:
        tree = parse_rules(source)
    except RulesError:  # a negative literal may be more than 64 bits can hold, or a path swallow
        return
    again = parse_rules(rules_text(tree))
    assert _without_positions(repr(again)) == _without_positions(repr(tree))


SEED = (REPOSITORY / "firestore.rules").read_text(encoding="utf-8")
PIECES = st.sampled_from(
    [*"{}()[];:,./$=*'\"\\!&|?-", "\n", "//", "/*", "match", " in ", "é", "\x00"]
)


@given(st.lists(st.tuples(st.integers(0, len(SEED)), st.integers(0, 12), PIECES), max_size=6))
def test_damaged_rulesets_are_refused_or_loaded_and_nothing_else(
    edits: list[tuple[int, int, str]],
) -> None:
    text = SEED
    for start, length, piece in edits:
        text = text[:start] + piece + text[start + length :]
    try:
        Ruleset.parse(text)
    except RulesError as refused:
        assert refused.message  # noqa: PT017 - either outcome is fine, another exception is not


@given(st.text(max_size=200))
def test_noise_is_refused(text: str) -> None:
    with pytest.raises(RulesError):
        Ruleset.parse(text)
