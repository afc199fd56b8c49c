"""Our services give the answers that Google's emulators gave when they were recorded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from conformance.areas import AREAS
from conformance.compare import compare, load
from conformance.driver import Answers, collect
from conformance.targets import ours

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.filterwarnings(
    # A pull that waits would hold a message when the case has given up on it.
    "ignore:The return_immediately flag is deprecated:DeprecationWarning"
)


RECORDED = [area for area in AREAS if area.recorded]


@pytest.fixture(scope="module")
def answers() -> Iterator[Answers]:
    with ours() as addresses:
        yield collect(addresses, recorded_only=True)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("area", [area.name for area in RECORDED])
def test_answers_are_those_of_the_reference(answers: Answers, area: str) -> None:
    recorded = load()["answers"]
    (row,) = compare({area: answers[area]}, recorded)
    shown = {
        case: {"ours": answers[area][case], "theirs": recorded[area].get(case)}
        for case in row.disagree
    }
    assert not row.disagree, json.dumps(shown, indent=1)[:20_000]
    assert not row.stale, f"listed as differences, and agree: {row.stale}"


def test_every_recorded_answer_belongs_to_a_case() -> None:
    recorded = load()["answers"]
    assert {name: set(cases) for name, cases in recorded.items()} == {
        area.name: set(area.cases) for area in RECORDED
    }
