"""What each entry point may not import: everything it does not use is paid at its cold start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FUNCTIONS = Path(__file__).resolve().parents[3] / "functions"

# By the module an entry point loads at its first call: packages that must stay out of its process
# until a request needs them. firebase_admin is for people's tokens only, which no event has.
BUDGET = {
    "training/continuon_training.api.surface": ("continuon.rlds", "firebase_admin"),
    "training/continuon_training.dispatch": (
        "continuon.rlds",
        "fastapi",
        "firebase_admin",
        "google.cloud.storage",
    ),
    "training/continuon_training.dead_letters": ("fastapi", "google.cloud.storage"),
    "training/continuon_training.slow_loop": ("fastapi", "google.cloud.storage"),
    "training/continuon_training.watchdog": ("fastapi", "firebase_admin", "google.cloud.storage"),
    "rlds/continuon_rlds.api.uploads": ("continuon.rlds", "firebase_admin", "google.pubsub_v1"),
    "rlds/continuon_rlds.api.episodes": ("continuon.rlds", "firebase_admin", "google.pubsub_v1"),
    "rlds/continuon_rlds.api.ingest": ("firebase_admin",),
    "rlds/continuon_rlds.ingest": ("fastapi", "firebase_admin"),
    "models/continuon_models.api.surface": ("continuon.rlds", "firebase_admin", "google.pubsub_v1"),
    "models/continuon_models.registration": (
        "continuon.rlds",
        "fastapi",
        "firebase_admin",
        "google.pubsub_v1",
    ),
    "ota/continuon_ota.api.surface": (
        "continuon.rlds",
        "firebase_admin",
        "google.pubsub_v1",
        "tuf",
    ),
    "ota/continuon_ota.rollout": (
        "continuon.rlds",
        "fastapi",
        "firebase_admin",
        "google.cloud.storage",
        "tuf",
    ),
    "ota/continuon_ota.ticks": ("fastapi", "firebase_admin", "google.cloud.storage", "tuf"),
    "training/continuon_training.webhooks.delivery": (
        "continuon.rlds",
        "fastapi",
        "firebase_admin",
        "google.cloud.storage",
        "google.pubsub_v1",
    ),
    "fleet/continuon_fleet.api": (
        "continuon.rlds",
        "firebase_admin",
        "google.cloud.storage",
        "google.pubsub_v1",
    ),
}


@pytest.mark.parametrize("entry", sorted(BUDGET))
def test_an_entry_point_imports_only_what_it_uses(entry: str) -> None:
    codebase, _, module = entry.partition("/")
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run(  # noqa: S603 - this interpreter, with a line of our own
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(FUNCTIONS / codebase)},
    )
    loaded = set(done.stdout.split())
    assert module in loaded
    assert loaded.isdisjoint(BUDGET[entry])
