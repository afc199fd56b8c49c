"""What one local cloud is told: where its data is, which ports, which project."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from continuon_local.faults import FaultPlan

__all__ = ["DEFAULT_PORTS", "Settings"]

DEFAULT_PORTS: Mapping[str, int] = {
    "auth": 9099,
    "firestore": 8080,
    "storage": 9199,
    "pubsub": 8085,
    "functions": 5001,
    "hosting": 5000,
    "hub": 4400,
}
"""The ports of the Firebase emulators, which clients and editors already know."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to run one local cloud.

    Attributes:
        root: The folder with ``firebase.json``.
        data_dir: Where data is kept; None keeps nothing after the process.
        ports: By service name; 0 is any free port.
        retry_base_s: The first delay before a failed delivery is repeated, in seconds. Production
            starts at 10 s and ends at 600 s; a developer should not have to wait for that.
        retry_cap_s: The longest delay, in seconds.
        verbose: Echo the output of the functions.
        faults: What the event router and the Google services do wrong on purpose.
    """

    root: Path
    data_dir: Path | None
    project_id: str = "demo-continuon"
    host: str = "127.0.0.1"
    ports: Mapping[str, int] = field(default_factory=lambda: dict(DEFAULT_PORTS))
    retry_base_s: float = 1.0
    retry_cap_s: float = 60.0
    verbose: bool = False
    faults: FaultPlan | None = None
