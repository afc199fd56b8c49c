"""Faults that are injected on purpose, decided by a seed: those of event deliveries are here.

A plan is JSON::

    {"seed": 7, "rules": [{"kind": "duplicate", "function": "ingest_*", "copies": 5}]}

The same plan over the same number of deliveries to a function makes the same decisions, whatever
other functions do meanwhile. Rules of the kinds ``error`` and ``latency`` concern the Google
services; see :mod:`continuon_local.service_faults`.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from continuon_local.errors import ConfigurationError
from continuon_local.service_faults import MAX_WAIT_MS, ServiceFaultRule

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FaultInjector", "FaultPlan", "FaultRule", "Faults", "parse_plan", "read_faults"]

_MAX_COPIES = 100
_SERVICE_KINDS = frozenset({"error", "latency"})

_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_WAIT_MS)]


class FaultRule(msgspec.Struct, forbid_unknown_fields=True):
    """One fault.

    Attributes:
        kind: ``duplicate``: ``copies`` deliveries at once. ``delay``: wait first. ``reorder``: wait
            a random part of ``spread_ms``, so that later events overtake. ``drop``: the delivery is
            lost and repeated later. ``kill``: SIGKILL the function's process after the wait.
        function: Which functions, as a shell pattern.
        probability: Of each delivery to suffer the fault.
        copies: Deliveries in all, for ``duplicate``.
        wait_ms: The fixed part of the wait, for ``delay`` and ``kill``, in milliseconds.
        spread_ms: The random part of it, added; for ``reorder`` all of it.
        times: At most so often per function; None is without end.
    """

    kind: Literal["duplicate", "delay", "reorder", "drop", "kill"]
    function: str = "*"
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    copies: Annotated[int, msgspec.Meta(ge=2, le=_MAX_COPIES)] = 2
    wait_ms: _Milliseconds = 0
    spread_ms: _Milliseconds = 0
    times: Annotated[int, msgspec.Meta(ge=0)] | None = None


class FaultPlan(msgspec.Struct):
    """Rules and the seed of their chances; all rules that apply to a delivery or call add up."""

    seed: int = 0
    rules: list[FaultRule | ServiceFaultRule] = []

    @property
    def service_rules(self) -> list[tuple[int, ServiceFaultRule]]:
        """The rules about the Google services, with their places in the plan."""
        placed = enumerate(self.rules)
        return [(index, rule) for index, rule in placed if isinstance(rule, ServiceFaultRule)]


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    """A plan whose rules have not been read yet."""

    seed: int = 0
    rules: list[dict[str, Any]] = []


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What one delivery suffers."""

    copies: int = 1
    delay_ms: int = 0
    drop: bool = False
    kill_after_ms: int | None = None


def parse_plan(document: Any) -> FaultPlan:
    """Check a plan.

    Raises:
        ConfigurationError: A key or a value is wrong; the message says which.
    """
    try:
        plain = msgspec.convert(document, _Document)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"fault plan: {error}") from error
    rules = [_parse_rule(index, rule) for index, rule in enumerate(plain.rules)]
    return FaultPlan(seed=plain.seed, rules=rules)


def _parse_rule(index: int, document: dict[str, Any]) -> FaultRule | ServiceFaultRule:
    try:
        if document.get("kind") in _SERVICE_KINDS:
            return msgspec.convert(document, ServiceFaultRule)
        return msgspec.convert(document, FaultRule)
    except msgspec.ValidationError as error:
        place = f"`$.rules[{index}]"
        message = str(error).replace("`$", place)
        if place not in message:
            message += f" - at {place}`"
        raise ConfigurationError(f"fault plan: {message}") from error


def read_faults(path: Path | None) -> FaultPlan | None:
    """Read a fault plan.

    Raises:
        ConfigurationError: The file is missing or no plan.
    """
    if path is None:
        return None
    try:
        return parse_plan(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from error


class FaultInjector:
    """Decides delivery by delivery; counts deliveries per function."""

    def __init__(self, plan: FaultPlan | None = None) -> None:
        self._seen: Counter[str] = Counter()
        self._applied: Counter[tuple[int, str]] = Counter()
        self.plan = plan or FaultPlan()

    def replace(self, plan: FaultPlan) -> None:
        """Follow another plan, from the beginning."""
        self.plan = plan
        self._seen.clear()
        self._applied.clear()

    def decide(self, function: str) -> Faults:
        """Return what the next delivery to ``function`` suffers."""
        ordinal = self._seen[function]
        self._seen[function] += 1
        copies, delay_ms, drop, kill_after_ms = 1, 0, False, None
        for index, rule in enumerate(self.plan.rules):
            if isinstance(rule, ServiceFaultRule):
                continue
            chance = random.Random(f"{self.plan.seed}/{function}/{ordinal}/{index}")  # noqa: S311 - reproducible on purpose
            if not self._applies(index, rule, function, chance):
                continue
            wait_ms = rule.wait_ms + chance.randint(0, rule.spread_ms)
            if rule.kind == "duplicate":
                copies = max(copies, rule.copies)
            elif rule.kind == "drop":
                drop = True
            elif rule.kind == "kill":
                kill_after_ms = wait_ms
            else:
                delay_ms += wait_ms
        return Faults(copies=copies, delay_ms=delay_ms, drop=drop, kill_after_ms=kill_after_ms)

    def _applies(self, index: int, rule: FaultRule, function: str, chance: random.Random) -> bool:
        if not fnmatchcase(function, rule.function) or chance.random() >= rule.probability:
            return False
        if rule.times is not None and self._applied[index, function] >= rule.times:
            return False
        self._applied[index, function] += 1
        return True
