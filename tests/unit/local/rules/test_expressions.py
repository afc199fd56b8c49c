from __future__ import annotations

import json
from pathlib import Path

import pytest

from continuon_local.rules import RulesError
from rules_requests import outcome

# Recorded from Google's Firestore emulator 1.19.9, which reports the value of every expression it
# evaluates: "refused" when it does not load, "error" when it has no value.
RECORDED: dict[str, str] = json.loads(
    (Path(__file__).parent / "expressions.json").read_text(encoding="utf-8")
)


def test_every_recorded_expression_has_the_value_that_google_gives_it() -> None:
    different = {}
    for expression, expected in RECORDED.items():
        try:
            found = outcome(expression)
        except RulesError:
            found = "refused"
        if found != expected:
            different[expression] = (found, expected)
    assert not different
    assert len(RECORDED) > 500


@pytest.mark.parametrize(
    "expression",
    [
        f"{left} {operator} {right}"
        for operator in ("+", "-", "*", "/", "%", "<", "<=", ">", ">=")
        for left, right in [
            ("true", "false"),
            ("null", "1"),
            ("[1]", "[1]"),
            ("{}", "{}"),
            ("1", "'1'"),
            ("/a/b", "/a/b"),
            ("b'a'", "'a'"),
            ("latlng.value(1, 2)", "latlng.value(1, 2)"),
            ("request.time", "1"),
            ("[1].toSet()", "[1].toSet()"),
        ]
    ],
)
def test_an_operator_on_wrong_types_is_an_error(expression: str) -> None:
    assert outcome(expression) == "error"


@pytest.mark.parametrize(
    "value", ["1", "1.5", "'a'", "null", "[true]", "{}", "/a/b", "request.time"]
)
@pytest.mark.parametrize("operator", ["!", "true &&", "false ||"])
def test_logic_takes_booleans_only(operator: str, value: str) -> None:
    assert outcome(f"{operator} {value}") == "error"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0.0 / 0.0 == 0.0 / 0.0", "false"),
        ("0.0 / 0.0 != 0.0 / 0.0", "true"),
        ("0.0 / 0.0 < 1", "false"),
        ("0.0 / 0.0 >= 1", "false"),
        ("[0.0 / 0.0] == [0.0 / 0.0]", "false"),
        ("math.isNaN(0.0 / 0.0)", "true"),
        ("math.isInfinite(-1.0 / 0.0)", "true"),
        ("-1.0 / 0.0", "-Infinity"),
        ("math.sqrt(0.0 / 0.0)", "NaN"),
        ("math.pow(0.0 - 8.0, 0.5)", "NaN"),
        ("math.pow(10.0, 400)", "Infinity"),
        ("math.pow(0.0, -1)", "Infinity"),
        ("math.ceil(1.0 / 0.0)", "Infinity"),
        ("math.round(1.0 / 0.0)", "9223372036854775807"),
        ("int(-1.0 / 0.0)", "-9223372036854775808"),
        ("1.0 % 0.0", "NaN"),
    ],
)
def test_floats_follow_ieee_754(expression: str, expected: str) -> None:
    assert outcome(expression) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "9223372036854775807 + 1",
        "-9223372036854775808 - 1",
        "4611686018427387904 * 2",
        "-(-9223372036854775808)",
        "1 % 0",
        "1 / 0",
        "int('9223372036854775808')",
    ],
)
def test_integers_that_do_not_fit_are_errors(expression: str) -> None:
    assert outcome(expression) == "error"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (
            "{'a': 1, 'b': 2}.diff({'b': 3, 'c': 4}).affectedKeys() == ['a', 'b', 'c'].toSet()",
            "true",
        ),
        ("[1, 2].toSet().union([3].toSet()) == [3, 2, 1].toSet()", "true"),
        ("{'a': 1}.diff({'b': 2}).affectedKeys().hasOnly(['a'])", "false"),
        ("[].toSet().size()", "0"),
        ("request.auth.uid in ['alice']", "true"),
        ("'uid' in request.auth", "true"),
        ("request.auth.token.missing", "error"),
        ("request.auth.token.get('missing', 'x')", "'x'"),
        ("path('/a/{x}').bind({'x': 'b'}).x", "'b'"),
        ("path('/a/{x}').bind({'x': 'b'})[1]", "'b'"),
        ("string(path('/a/{x}').bind({'x': 'b'}))", "'/a/b'"),
        ("'\\ud83d\\ude00'.size()", "2"),
        ("'😀'[0] == '\\ud83d'", "true"),
        ("'😀'[0].matches('.')", "error"),
        ("'x'.replace('x', '$2')", "error"),
        ("'x'.replace('x', '$')", "error"),
        ("'x'.replace('x', '${y}')", "error"),
        ("'aab'.replace('a(b)?', '<$1>')", "'<><b>'"),
        ("[][:]", "[]"),
        ("''[:]", "''"),
        ("[][0:]", "error"),
        ("[1][1:]", "error"),
        ("[1, 2][null:1]", "[1]"),
        ("timestamp.value(9223372036854775807)", "error"),
        ("timestamp.date(1, 1, 1) - duration.value(1, 's')", "error"),
        ("duration.value(60, 'm') == duration.value(1, 'h')", "true"),
    ],
)
def test_values_and_methods(expression: str, expected: str) -> None:
    assert outcome(expression) == expected


def test_logic_survives_an_error_that_does_not_matter() -> None:
    assert outcome("1 / 0 == 1 || true") == "true"
    assert outcome("true || 1 / 0 == 1") == "true"
    assert outcome("1 / 0 == 1 && false") == "false"
    assert outcome("1 / 0 == 1 || false") == "error"
    assert outcome("true && missing") == "error"


def test_a_regular_expression_is_re2_and_takes_linear_time() -> None:
    hostile = "'" + "a" * 5000 + "!'.matches('(a*)*b')"
    assert outcome(hostile) == "false"
    assert outcome("'a' + request.auth.uid == '' || 'x'.matches('(?=' + 'x)')") == "error"


def test_parameters_and_bindings_are_evaluated_when_used() -> None:
    assert outcome("f(1 / 0)", "function f(a) { return true; }") == "true"
    assert outcome("f(1 / 0)", "function f(a) { return a == 1; }") == "error"
    assert outcome("f()", "function f() { let a = 1 / 0; return true; }") == "true"
    assert outcome("f(2)", "function f(a) { let b = a * a; let c = b + a; return c; }") == "6"


def test_a_function_sees_the_captures_of_the_block_that_defines_it_only() -> None:
    assert outcome("f()", "function f() { return database; }") == "'(default)'"
    assert outcome("f()", "function f() { return id; }") == "error"
    assert outcome("f(id)", "function f(id) { return id; }") == "'1'"


def test_a_function_of_the_ruleset_goes_before_a_built_in_one() -> None:
    assert outcome("exists(1)", "function exists(a) { return a == 1; }") == "true"
