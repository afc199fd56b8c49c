"""Security rules: the project's own, call by call; listeners whose permission ends; tokens."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import own_rules
from conformance.model import Area, FirestoreGround
from rules_project import RulesProject

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AREAS"]

own = Area("firestore", "own-rules")


@functools.cache
def _own_project(address: str) -> RulesProject:
    project = RulesProject("demo-own-rules", address)
    own_rules.seed(project)
    return project


@functools.cache
def _own_client(address: str, caller: str) -> Any:
    return own_rules.client_of(_own_project(address), caller)


def _own_case(collection: str, caller: str, call: str) -> Callable[[FirestoreGround], Any]:
    return lambda ground: own_rules.run(_own_client(ground.address, caller), collection, call)


for _case in own_rules.CASES:
    own.add("_".join(_case), _own_case(*_case))

AREAS = [own]
