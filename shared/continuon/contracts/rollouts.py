"""Rollouts: the plan an operator writes, the states it goes through, and how a gate reasons."""

from __future__ import annotations

import re
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from continuon import limits
from continuon.contracts.base import Contract, Timestamp

__all__ = [
    "EVERYONE",
    "CheckVerdict",
    "Decision",
    "Duration",
    "GateCheck",
    "GatePolicy",
    "GateVerdict",
    "GroupName",
    "RobotPolicy",
    "RolloutAction",
    "RolloutCounts",
    "RolloutPlan",
    "RolloutStatus",
    "RolloutTarget",
    "Stage",
    "StageCounts",
    "TaskGate",
    "Weekday",
    "Window",
]

EVERYONE = "*"
"""The key of the disruption budget that every robot of the model shares."""

_GROUP = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_BUDGET_KEY = r"^(?:\*|[A-Za-z0-9][A-Za-z0-9._-]{0,63})$"
_BUDGET = r"^(?:[1-9][0-9]{0,6}|(?:[1-9][0-9]?|100)%)$"
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

GroupName = Annotated[str, StringConstraints(pattern=_GROUP)]


class _Strict(Contract):
    """What an operator writes: a misspelt key is an error and not a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _seconds(value: object) -> object:
    if not isinstance(value, str | bool):
        return value
    # YAML reads a bare yes as true, which would be one second.
    found = _DURATION.fullmatch(str(value))
    if found is None:
        raise ValueError("a duration is a number of seconds, or a text such as 90s, 30m, 2h, 1d")
    return int(found[1]) * _UNITS[found[2]]


Duration = Annotated[
    int,
    BeforeValidator(_seconds),
    Field(
        ge=0,
        le=limits.MAX_OTA_SOAK_S,
        description="Seconds, or a text such as 90s, 30m, 2h, 1d.",
    ),
]


def _text(value: object) -> object:
    # YAML and JSON read a bare 2 as a number.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Budget = Annotated[str, BeforeValidator(_text), StringConstraints(pattern=_BUDGET)]
"""Robots that may update at once: a number, or a share such as ``10%`` (never less than one)."""


class RolloutStatus(StrEnum):
    """Where a rollout is.

    Attributes:
        STAGED: Announced; offered to nobody.
        CANARY: Offered to a share of the targeted robots.
        PRODUCTION: Offered to all of them.
        PAUSED: Offered to nobody new; robots that took it keep it.
        HALTED: Stopped by the gate or an operator; robots that took it are offered the previous.
        ROLLED_BACK: Taken back by an operator; as halted.
        SUPERSEDED: A later bundle has reached production.
    """

    STAGED = "staged"
    CANARY = "canary"
    PRODUCTION = "production"
    PAUSED = "paused"
    HALTED = "halted"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"


class RolloutAction(StrEnum):
    """What an operator, or a gate, can ask for."""

    START = "start"
    ADVANCE = "advance"
    PAUSE = "pause"
    RESUME = "resume"
    HALT = "halt"
    ROLLBACK = "rollback"


class Stage(_Strict):
    """One step of a plan: how many robots, for how long, and how many results are needed."""

    percentage: float = Field(gt=0, le=100)
    soak: Duration = Field(default=3600, validate_default=True)
    min_sample: int = Field(
        default=10, ge=0, le=1_000_000, description="Finished installations, good or bad."
    )


class TaskGate(_Strict):
    """Compare reported task success with that of the previous bundle."""

    margin: float = Field(
        default=0.05, ge=0, lt=1, description="How much worse the new version may be; 0.05 is 5 %."
    )
    min_trials: int = Field(default=100, ge=1, le=1_000_000)
    min_robots: int = Field(default=3, ge=1, le=1_000_000)


class GatePolicy(_Strict):
    """When to stop by itself."""

    max_failure_rate: float = Field(
        default=0.05, gt=0, lt=1, description="Share of installations that may fail."
    )
    min_failures: int = Field(
        default=2, ge=1, le=1_000_000, description="Fewer than this many prove nothing."
    )
    confidence: float = Field(
        default=0.99, ge=0.8, lt=1, description="One-sided, of every bound that decides."
    )
    task: TaskGate | None = None


class Weekday(StrEnum):
    """A day of the week."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


ClockTime = Annotated[str, StringConstraints(pattern=r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]$")]


class Window(_Strict):
    """A window in the robot's time zone; one that ends before it begins spans midnight."""

    days: list[Weekday] = Field(
        default_factory=lambda: list(Weekday), min_length=1, description="On which it begins."
    )
    start: ClockTime = Field(examples=["01:00"])
    end: ClockTime = Field(examples=["05:00"])

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if self.start == self.end:
            raise ValueError("a window that ends when it begins is empty; leave it out instead")
        return self


class RobotPolicy(_Strict):
    """When a robot may be disturbed."""

    windows: list[Window] = Field(default_factory=list, max_length=21)
    require_idle: bool = True
    require_docked: bool = False
    min_battery_percent: float = Field(default=30.0, ge=0, le=100)
    budget: dict[Annotated[str, StringConstraints(pattern=_BUDGET_KEY)], Budget] = Field(
        default_factory=dict,
        max_length=16,
        description="How many robots of a group (`*`: of all) may update at once.",
    )
    lease: Duration = Field(
        default=limits.OTA_LEASE_S,
        validate_default=True,
        description="How long a robot that says nothing keeps its place in the budget.",
    )


class RolloutTarget(_Strict):
    """Which robots. Membership is looked up at every check, so it follows the robot's document."""

    groups: list[GroupName] = Field(
        default_factory=list, max_length=32, description="In any of them; empty means all robots."
    )
    tags: list[GroupName] = Field(
        default_factory=list, max_length=32, description="Having all of them."
    )
    exclude_tags: list[GroupName] = Field(
        default_factory=list, max_length=32, description="Having none of them."
    )


class RolloutPlan(_Strict):
    """What an operator starts a rollout with."""

    stages: list[Stage] = Field(
        default_factory=lambda: [
            Stage(percentage=percentage) for percentage in (1.0, 10.0, 50.0, 100.0)
        ],
        min_length=1,
        max_length=20,
    )
    target: RolloutTarget = Field(default_factory=RolloutTarget)
    priority: int = Field(
        default=0, ge=-100, le=100, description="Of two rollouts, a robot takes the higher one."
    )
    gates: GatePolicy = Field(default_factory=GatePolicy)
    policy: RobotPolicy = Field(default_factory=RobotPolicy)

    @model_validator(mode="after")
    def _stages_grow(self) -> Self:
        shares = [stage.percentage for stage in self.stages]
        if any(later <= earlier for earlier, later in pairwise(shares)):
            raise ValueError("stages: every percentage has to be larger than the one before")
        return self


class RolloutCounts(Contract):
    """What robots have reported, by aggregation over their own documents.

    Attributes:
        fleet: Claimed robots of the model.
        succeeded: Robots whose last installation ended healthy.
        failed: Robots whose last installation failed or was undone.
        pending: Robots that hold an offer and have not finished.
        silent: Robots that installed it, and whose lease ran out without a word. They count as
            failed in the gate: a robot that a bundle has broken reports nothing.
    """

    fleet: int = 0
    succeeded: int = 0
    failed: int = 0
    pending: int = 0
    silent: int = 0
    task_successes: int = 0
    task_trials: int = 0
    task_robots: int = 0
    baseline_successes: int = 0
    baseline_trials: int = 0


class StageCounts(Contract):
    """The cohort that one stage adds: robots whose position is in the part that is new."""

    percentage: float
    succeeded: int = 0
    failed: int = 0
    pending: int = 0


class CheckVerdict(StrEnum):
    """What one check of a gate says."""

    OK = "ok"
    WAIT = "wait"
    BAD = "bad"


class GateCheck(Contract):
    """One reason of a decision: the name, what it says, the sentence and the numbers."""

    name: Literal["failures", "tasks", "sample", "soak", "stages"]
    verdict: CheckVerdict
    sentence: str
    numbers: dict[str, float] = Field(default_factory=dict)


class GateVerdict(StrEnum):
    """What a gate decides.

    Attributes:
        HALT: Proven bad: stop and go back.
        WAIT: Not proven either way, or not long enough.
        PASS: Go on to the next stage.
        STAY: There is no next stage; keep watching.
    """

    HALT = "halt"
    WAIT = "wait"
    PASS = "pass"  # noqa: S105 - no password
    STAY = "stay"


class Decision(Contract):
    """A gate's decision with its reasoning."""

    verdict: GateVerdict
    sentence: str
    checks: list[GateCheck]
    counts: RolloutCounts
    decided_at: Timestamp
