"""Faults come from a seed: the same plan makes the same trouble."""

from __future__ import annotations

from typing import Any

import pytest

from continuon_local.errors import ConfigurationError
from continuon_local.faults import FaultInjector, Faults, parse_plan


def injector(*rules: dict[str, Any], seed: int = 1) -> FaultInjector:
    return FaultInjector(parse_plan({"seed": seed, "rules": list(rules)}))


def test_without_a_plan_nothing_goes_wrong() -> None:
    assert FaultInjector().decide("fn") == Faults()


def test_the_same_seed_decides_the_same_whatever_other_functions_do() -> None:
    rules = (
        {"kind": "drop", "probability": 0.5},
        {"kind": "reorder", "spread_ms": 1000},
        {"kind": "kill", "probability": 0.3, "wait_ms": 5, "spread_ms": 50},
    )
    first, second = injector(*rules), injector(*rules)
    alone = [first.decide("fn") for _ in range(50)]
    mixed = [(second.decide("other"), second.decide("fn"))[1] for _ in range(50)]
    assert alone == mixed
    assert alone != [injector(*rules, seed=2).decide("fn") for _ in range(50)]
    assert 10 < sum(faults.drop for faults in alone) < 40
    assert len({faults.delay_ms for faults in alone}) > 25


def test_rules_apply_to_the_functions_they_name_and_add_up() -> None:
    faults = injector(
        {"kind": "duplicate", "function": "ingest_*", "copies": 5},
        {"kind": "delay", "wait_ms": 10},
        {"kind": "delay", "wait_ms": 20},
    )
    assert faults.decide("ingest_finalized") == Faults(copies=5, delay_ms=30)
    assert faults.decide("other") == Faults(delay_ms=30)


def test_a_rule_with_times_stops_after_them_and_a_new_plan_starts_over() -> None:
    plan = parse_plan({"rules": [{"kind": "drop", "times": 2}]})
    faults = FaultInjector(plan)
    assert [faults.decide("fn").drop for _ in range(4)] == [True, True, False, False]
    faults.replace(plan)
    assert faults.decide("fn").drop


@pytest.mark.parametrize(
    "plan",
    [
        [],
        {"rule": []},
        {"rules": [{}]},
        {"rules": [{"kind": "explode"}]},
        {"rules": [{"kind": "drop", "probability": 2}]},
        {"rules": [{"kind": "duplicate", "copies": 1}]},
        {"rules": [{"kind": "delay", "wait_ms": -1}]},
        {"rules": [{"kind": "delay", "wait": 1}]},
    ],
)
def test_a_wrong_plan_is_refused(plan: Any) -> None:
    with pytest.raises(ConfigurationError, match="fault plan"):
        parse_plan(plan)
