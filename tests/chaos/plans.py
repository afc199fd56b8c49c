"""What goes wrong with each job of a chaos run, decided by a seed. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

__all__ = ["KINDS", "Plan", "cloud_faults", "plans"]

KINDS: dict[str, dict[str, Any]] = {
    "well": {},
    "repeats": {"repeat": True},
    "half": {"half": True},
    "dies": {"die_at": 2},
    "dies_twice": {"die_at": 2, "die_attempts": 2},
    "hangs": {"hang_at": 2, "hang_attempts": 1},
    "exits": {"exit_at": 2, "exit_status": 1},
    "silent": {"silent_end": True},
    "fails": {"fail": "it was planned"},
}
"""By name: the hyperparameters of the fake trainer. Beside them every job may be cancelled, its
messages repeated, its worker killed and every process and service on its way fail."""

_WEIGHTS = (30, 12, 8, 14, 4, 8, 8, 6, 10)
_PULL_SHARE = 0.3
_CANCEL_SHARE = 0.12
_REPEAT_SHARE = 0.4


@dataclass(frozen=True)
class Plan:
    """One job's part.

    Attributes:
        number: From 0.
        kind: One of ``KINDS``.
        pull: Whether it waits for a worker of its owner.
        cancel_after_s: When its owner cancels it; None for never.
        repeats: How often its message is published again.
    """

    number: int
    kind: str
    pull: bool
    cancel_after_s: float | None
    repeats: int

    def request(self, ledger: str) -> dict[str, Any]:
        """Return the job's request."""
        hyperparams = {"steps": 3, "ledger": ledger, "kind": self.kind, **KINDS[self.kind]}
        if self.pull:
            return {"hyperparams": hyperparams, "backend": "pull", "backend_label": "chaos"}
        return {"hyperparams": hyperparams, "backend": "subprocess"}


def plans(count: int, seed: int) -> list[Plan]:
    """Return the same plans for the same seed."""
    numbers = random.Random(seed)  # noqa: S311 - reproducible, not secret
    found = []
    for number in range(count):
        (kind,) = numbers.choices(list(KINDS), _WEIGHTS)
        cancelled = numbers.random() < _CANCEL_SHARE
        found.append(
            Plan(
                number=number,
                kind=kind,
                pull=numbers.random() < _PULL_SHARE,
                cancel_after_s=numbers.uniform(0, 3) if cancelled else None,
                repeats=numbers.randint(1, 3) if numbers.random() < _REPEAT_SHARE else 0,
            )
        )
    return found


def cloud_faults(seed: int) -> dict[str, Any]:
    """Return the local cloud's fault plan: deliveries and services."""
    commit = {"kind": "error", "service": "firestore", "method": "Commit"}
    return {
        "seed": seed,
        "rules": [
            {"kind": "duplicate", "function": "training_*", "copies": 3, "probability": 0.2},
            {"kind": "reorder", "function": "training_*", "spread_ms": 500, "probability": 0.3},
            {"kind": "drop", "function": "training_*", "probability": 0.1},
            {
                "kind": "kill",
                "function": "training_dispatch",
                "wait_ms": 5,
                "spread_ms": 80,
                # One process serves eight deliveries at a time here, so one kill strikes eight.
                "probability": 0.01,
            },
            # Google's clients repeat what is UNAVAILABLE themselves; INTERNAL comes through.
            {**commit, "when": "before", "probability": 0.02},
            {**commit, "when": "after", "probability": 0.02},
            {**commit, "when": "after", "code": "INTERNAL", "probability": 0.02},
            {
                "kind": "error",
                "service": "firestore",
                "method": "BatchGetDocuments",
                "code": "INTERNAL",
                "probability": 0.005,
            },
            {"kind": "error", "service": "pubsub", "method": "Publish", "probability": 0.05},
            {
                "kind": "error",
                "service": "pubsub",
                "method": "Publish",
                "when": "after",
                "code": "INTERNAL",
                "probability": 0.05,
            },
            {"kind": "error", "service": "storage", "code": 503, "probability": 0.02},
        ],
    }
