"""Messages of Google's client as the local cloud's own classes."""

from __future__ import annotations

from typing import Any

from continuon_local.protos import message_class

__all__ = ["own"]


def own(message: Any) -> Any:
    """Return a client's message, wrapped or not, as an instance of the local cloud's class."""
    raw = getattr(message, "_pb", message)
    return message_class(raw.DESCRIPTOR.full_name).FromString(raw.SerializeToString())
