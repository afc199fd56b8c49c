"""What the agent knows about bundles: an offer, what is in a slot, an attempt."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SLOTS", "Installed", "Trial", "other_slot"]

SLOTS = ("a", "b")


@dataclass(frozen=True, slots=True)
class Installed:
    """A bundle in a slot.

    Attributes:
        slot: ``a`` or ``b``.
        sha256: Of the archive it was unpacked from, as signed metadata had it.
    """

    slot: str
    bundle_id: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Trial:
    """A bundle that ``current`` points to, or is about to, and that has not proven itself."""

    installed: Installed


def other_slot(slot: str | None) -> str:
    """Return the slot that is not ``slot``."""
    return "b" if slot == "a" else "a"
