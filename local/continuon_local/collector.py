"""Python's garbage collector, set for a server that holds many objects and makes few cycles.

By default it looks through everything that lives whenever that has grown by a quarter: a query for
20,000 documents spent a quarter of a second in single passes, during which nobody was answered.
"""

from __future__ import annotations

import gc

__all__ = ["settle_collector"]

_YOUNG = 10_000
"""Objects made, less those freed, between two looks at the youngest; 700 by default."""

_MIDDLE = 20
_OLD = 50
"""So many passes over the next younger ones; 10 by default."""


def settle_collector() -> None:
    """Set what has been loaded aside for good, and look less often. Called once all is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
