"""A service's faults come from a seed too, and rules that make no sense are refused."""

from __future__ import annotations

from typing import Any

import pytest

from continuon_local.auth.faults import _name as auth_name
from continuon_local.errors import ConfigurationError
from continuon_local.faults import FaultInjector, Faults, parse_plan
from continuon_local.firestore.faults import _name as firestore_name
from continuon_local.service_faults import (
    NO_FAULT,
    ServiceFault,
    ServiceFaults,
    canonical_code,
    http_status,
)
from continuon_local.storage.faults import _name as storage_name


def faults(*rules: dict[str, Any], seed: int = 1) -> ServiceFaults:
    plan = parse_plan({"seed": seed, "rules": list(rules)})
    return ServiceFaults(plan.seed, plan.service_rules)


def test_without_rules_no_service_is_concerned() -> None:
    assert not ServiceFaults().concerns("firestore")
    assert ServiceFaults().decide("firestore", "Commit") == NO_FAULT


def test_a_rule_concerns_only_its_service_and_method() -> None:
    some = faults({"kind": "error", "service": "firestore", "method": "Commit"})
    assert (some.concerns("firestore"), some.concerns("storage")) == (True, False)
    assert some.decide("firestore", "Commit") == ServiceFault(code_before="UNAVAILABLE")
    assert some.decide("firestore", "RunQuery") == NO_FAULT
    assert some.decide("storage", "Commit") == NO_FAULT


def test_a_pattern_matches_the_name_or_method_and_path() -> None:
    some = faults(
        {"kind": "error", "service": "storage", "method": "storage.objects.*", "code": 429},
        {"kind": "error", "service": "storage", "method": "PUT /b/*", "code": 503},
    )
    insert = some.decide("storage", "storage.objects.insert", "POST /upload/storage/v1/b/b/o")
    assert insert == ServiceFault(code_before=429)
    assert some.decide("storage", "PUT", "PUT /b/a/c") == ServiceFault(code_before=503)
    assert some.decide("storage", "GET", "GET /b/a/c") == NO_FAULT


def test_the_same_seed_decides_the_same_whatever_else_is_called() -> None:
    rule = {"kind": "error", "service": "firestore", "probability": 0.5, "spread_ms": 1000}
    first, second = faults(rule), faults(rule)
    alone = [first.decide("firestore", "Commit") for _ in range(50)]
    mixed = []
    for _ in range(50):
        second.decide("firestore", "GetDocument")
        mixed.append(second.decide("firestore", "Commit"))
    assert alone == mixed
    other = faults(rule, seed=2)
    assert alone != [other.decide("firestore", "Commit") for _ in range(50)]
    assert 10 < sum(fault.code_before is not None for fault in alone) < 40


def test_waits_add_up_and_the_first_error_of_each_side_counts() -> None:
    base = {"service": "pubsub"}
    some = faults(
        {"kind": "latency", "wait_ms": 10, **base},
        {"kind": "error", "code": "ABORTED", "wait_ms": 5, **base},
        {"kind": "error", "code": "INTERNAL", **base},
        {"kind": "latency", "when": "after", "wait_ms": 7, **base},
        {"kind": "error", "when": "after", "code": 503, **base},
    )
    assert some.decide("pubsub", "Publish") == ServiceFault(
        wait_before_ms=15, code_before="ABORTED", wait_after_ms=7, code_after=503
    )


def test_a_rule_with_times_stops_after_them_and_a_new_plan_starts_over() -> None:
    plan = parse_plan({"rules": [{"kind": "error", "service": "auth", "times": 2}]})
    some = ServiceFaults(plan.seed, plan.service_rules)
    codes = [some.decide("auth", "token").code_before for _ in range(3)]
    assert codes == ["UNAVAILABLE", "UNAVAILABLE", None]
    some.replace(plan.seed, plan.service_rules)
    assert some.decide("auth", "token").code_before == "UNAVAILABLE"


def test_one_plan_holds_rules_for_deliveries_and_for_services() -> None:
    service = {"kind": "latency", "service": "auth", "wait_ms": 9}
    plan = parse_plan({"rules": [service, {"kind": "delay", "wait_ms": 3}]})
    assert FaultInjector(plan).decide("fn") == Faults(delay_ms=3)
    assert [index for index, _ in plan.service_rules] == [0]


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "error"},
        {"kind": "error", "service": "hub"},
        {"kind": "error", "service": "auth", "code": "OK"},
        {"kind": "error", "service": "auth", "code": "Unavailable"},
        {"kind": "error", "service": "auth", "code": 200},
        {"kind": "error", "service": "auth", "code": 503.5},
        {"kind": "error", "service": "auth", "when": "during"},
        {"kind": "latency", "service": "auth", "wait_ms": 600_001},
        {"kind": "latency", "service": "auth", "probability": -0.1},
        {"kind": "latency", "service": "auth", "copies": 2},
        {"kind": "drop", "service": "auth"},
    ],
)
def test_a_wrong_rule_is_refused_by_its_place(rule: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"fault plan: .*`\$\.rules\[1\]"):
        parse_plan({"rules": [{"kind": "drop"}, rule]})


def test_codes_translate_as_googles_table_says() -> None:
    assert [http_status(code) for code in ("UNAVAILABLE", "ABORTED", 418)] == [503, 409, 418]
    assert [canonical_code(code) for code in (429, 503, 418)] == [
        "RESOURCE_EXHAUSTED",
        "UNAVAILABLE",
        "UNKNOWN",
    ]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("POST /upload/storage/v1/b/b/o", "storage.objects.insert"),
        ("PUT /upload/storage/v1/b/b/o", "storage.objects.insert"),
        ("PUT /resumable/upload/storage/v1/b/b/o", "storage.objects.insert"),
        ("GET /storage/v1/b", "storage.buckets.list"),
        ("GET /storage/v1/b/b", "storage.buckets.get"),
        ("GET /storage/v1/b/b/o", "storage.objects.list"),
        ("GET /storage/v1/b/b/o/a%2Fb", "storage.objects.get"),
        ("GET /download/storage/v1/b/b/o/a", "storage.objects.get"),
        ("DELETE /storage/v1/b/b/o/a", "storage.objects.delete"),
        ("POST /storage/v1/b/b/o/a/rewriteTo/b/c/o/d", "storage.objects.rewrite"),
        ("POST /storage/v1/b/b/o/a/compose", "storage.objects.compose"),
        ("GET /storage/v1/b/b/acl", "GET"),
        ("GET /storage/v1/projects/p/hmacKeys", "GET"),
        ("PUT /bucket/object", "PUT"),
    ],
)
def test_calls_of_storage_have_the_names_of_its_reference(call: str, name: str) -> None:
    assert storage_name(*call.split()) == name


def test_calls_of_auth_and_of_firestores_rest_have_names() -> None:
    toolkit = "/identitytoolkit.googleapis.com/v1"
    assert auth_name("POST", f"{toolkit}/accounts:signUp") == "accounts.signUp"
    assert auth_name("POST", f"{toolkit}/projects/p/accounts:lookup") == "accounts.lookup"
    assert auth_name("POST", "/securetoken.googleapis.com/v1/token") == "token"
    root = "/v1/projects/p/databases/(default)/documents"
    assert firestore_name("POST", f"{root}:commit") == "Commit"
    assert firestore_name("POST", f"{root}/a/b:runQuery") == "RunQuery"
    assert firestore_name("GET", f"{root}/a/b") == "GetDocument"
    assert firestore_name("POST", "/google.firestore.v1.Firestore/Listen/channel") == "POST"
