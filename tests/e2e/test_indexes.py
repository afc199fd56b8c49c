"""Every list that can be asked for has its index, and a query without one would fail here."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from google.api_core import exceptions
from google.cloud.firestore import FieldFilter

if TYPE_CHECKING:
    from product import Product, Robot

_FILTERS = {"status": "raw", "robot_id": "robot-1"}


@pytest.mark.parametrize(
    "chosen", [c for n in range(3) for c in itertools.combinations(_FILTERS, n)], ids=str
)
def test_episodes_are_listed_by_any_filters_over_pages(
    chosen: tuple[str, ...], robot: Robot
) -> None:
    for _ in range(3):
        robot.grant(metadata={})
    query = {name: _FILTERS[name] for name in chosen} | {"page_size": "2"}
    if "robot_id" in query:
        query["robot_id"] = robot.id
    first = robot.owner.call("GET", "/api/v1/episodes", params=query)
    assert first.status_code == 200, first.text
    token = first.json()["next_page_token"]
    rest = robot.owner.call("GET", "/api/v1/episodes", params={**query, "page_token": token})
    assert rest.status_code == 200, rest.text
    assert len(first.json()["episodes"] + rest.json()["episodes"]) == 3


def test_robots_are_listed_over_pages(robot: Robot) -> None:
    others = [robot.owner.robot() for _ in range(2)]
    first = robot.owner.call("GET", "/api/v1/robots", params={"page_size": "2"}).json()
    query = {"page_size": "2", "page_token": first["next_page_token"]}
    rest = robot.owner.call("GET", "/api/v1/robots", params=query).json()
    listed = [entry["robot_id"] for entry in first["robots"] + rest["robots"]]
    assert listed == [others[1].id, others[0].id, robot.id]


def test_a_query_without_its_index_fails_as_in_production(product: Product) -> None:
    query = (
        product.firestore.collection("rlds_episodes")
        .where(filter=FieldFilter("owner_id", "==", "x"))
        .order_by("steps")
    )
    with pytest.raises(exceptions.FailedPrecondition, match="index"):
        query.get()
