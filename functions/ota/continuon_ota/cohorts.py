"""Which robots belong to a share of the fleet. Pure.

A robot has a position in [0, 1) for each bundle, and is in the cohort of p percent when its
position is below p / 100. The position is a hash of both ids. So a larger share only adds robots,
the same robots are in it every time, nobody has to be listed or counted, and for the next bundle
other robots go first.
"""

from __future__ import annotations

import hashlib
from typing import Final

__all__ = ["in_cohort", "position"]

_BYTES: Final = 8
_RANGE: Final = 2 ** (8 * _BYTES)


def position(bundle_id: str, robot_id: str) -> float:
    """Return the place of a robot in the order in which a bundle reaches the fleet: [0, 1)."""
    # Neither id can hold a line break, so no two pairs hash the same text.
    digest = hashlib.sha256(f"{bundle_id}\n{robot_id}".encode()).digest()
    return (int.from_bytes(digest[:_BYTES], "big") >> 11) / (_RANGE >> 11)


def in_cohort(bundle_id: str, robot_id: str, percentage: float) -> bool:
    """Say whether a robot is among the first ``percentage`` percent."""
    return position(bundle_id, robot_id) < percentage / 100
