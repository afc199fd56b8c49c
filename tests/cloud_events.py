"""Recorded CloudEvents as requests, in the binary mode that Eventarc uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["EVENTS", "as_request", "finalized", "recorded"]

EVENTS = Path(__file__).resolve().parent / "events"


def recorded(name: str) -> dict[str, Any]:
    """Return a recorded event: its attributes and ``data``."""
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    return event


def finalized(object_name: str, generation: int = 1) -> dict[str, Any]:
    """Return the recorded finalize event, retold of another object."""
    event = recorded("storage_finalized_archive")
    event["subject"] = f"objects/{object_name}"
    event["data"] = {**event["data"], "name": object_name, "generation": str(generation)}
    event["id"] = f"{object_name}#{generation}"[-100:]
    return event


def as_request(event: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    """Return headers and body of the delivery of ``event``."""
    headers = {
        f"ce-{name}": str(value)
        for name, value in event.items()
        if name not in {"data", "datacontenttype"}
    }
    headers["content-type"] = event.get("datacontenttype", "application/json")
    data = event["data"]
    return headers, data.encode() if isinstance(data, str) else json.dumps(data).encode()
