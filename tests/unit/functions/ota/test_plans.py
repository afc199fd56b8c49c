"""What an operator may write in a plan."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from continuon.contracts.rollouts import RolloutPlan

DOCUMENTATION = Path(__file__).parents[4] / "docs" / "ota.md"


def plan(**fields: Any) -> RolloutPlan:
    return RolloutPlan.model_validate(fields)


def test_the_plan_in_the_documentation_is_one_and_shows_every_field() -> None:
    found = re.search(r"^```yaml\n(.*?)^```", DOCUMENTATION.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    document = yaml.safe_load(found[1])
    parsed = RolloutPlan.model_validate(document)
    for part, shown in [
        (parsed, document),
        (parsed.target, document["target"]),
        (parsed.gates, document["gates"]),
        (parsed.gates.task, document["gates"]["task"]),
        (parsed.policy, document["policy"]),
        (parsed.policy.windows[0], document["policy"]["windows"][0]),
        (parsed.stages[0], document["stages"][0]),
    ]:
        assert part is not None
        assert set(type(part).model_fields) == set(shown)


@pytest.mark.parametrize(
    ("written", "seconds"), [(90, 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400)]
)
def test_durations_are_seconds_or_texts(written: Any, seconds: int) -> None:
    assert plan(stages=[{"percentage": 5, "soak": written}]).stages[0].soak == seconds


@pytest.mark.parametrize("written", ["soon", "1 h", "h", "-1h", "1.5h", -1, "9999d", "1w", True])
def test_what_is_no_duration_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError):
        plan(stages=[{"percentage": 5, "soak": written}])


@pytest.mark.parametrize(
    "stages",
    [
        [],
        [{"percentage": 0}],
        [{"percentage": 101}],
        [{"percentage": 5}, {"percentage": 5}],
        [{"percentage": 50}, {"percentage": 5}],
        [{}],
        [{"percentage": number} for number in range(1, 23)],
    ],
    ids=str,
)
def test_stages_that_are_none_are_refused(stages: Any) -> None:
    with pytest.raises(ValidationError):
        plan(stages=stages)


@pytest.mark.parametrize("budget", [2, "2", "1%", "100%"])
def test_a_budget_is_a_number_or_a_share(budget: Any) -> None:
    assert plan(policy={"budget": {"*": budget}}).policy.budget == {"*": str(budget)}


@pytest.mark.parametrize("budget", [0, "0", "0%", "101%", "many", -1, 2.5, True, None])
def test_what_is_no_budget_is_refused(budget: Any) -> None:
    with pytest.raises(ValidationError):
        plan(policy={"budget": {"*": budget}})


@pytest.mark.parametrize(
    "fields",
    [
        {"stage": []},
        {"gates": {"max_failures": 3}},
        {"policy": {"window": []}},
        {"target": {"group": ["a"]}},
        {"stages": [{"percentage": 5, "soaks": "1h"}]},
    ],
    ids=str,
)
def test_a_misspelt_field_is_refused(fields: Any) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        plan(**fields)


@pytest.mark.parametrize(
    "window",
    [
        {"start": "24:00", "end": "05:00"},
        {"start": "1:00", "end": "05:00"},
        {"start": "01:00", "end": "01:00"},
        {"start": "01:00", "end": "05:00", "days": []},
        {"start": "01:00", "end": "05:00", "days": ["monday"]},
    ],
    ids=str,
)
def test_what_is_no_window_is_refused(window: Any) -> None:
    with pytest.raises(ValidationError):
        plan(policy={"windows": [window]})
