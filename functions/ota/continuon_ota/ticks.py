"""Everything that is due each minute."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from continuon.errors import ProblemError, UnavailableError
from continuon_ota import rollout
from continuon_ota.settings import settings

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["run"]

_LOGGER = logging.getLogger("continuon.ota")


async def run(now: datetime) -> dict[str, int]:
    """Step every live rollout, and renew signed metadata before it expires."""
    outcomes = await rollout.tick(now)
    if settings().continuon_ota_snapshot_key is not None:
        from continuon_ota import metadata  # noqa: PLC0415 - Storage and TUF, when there are keys

        try:
            outcomes["metadata files"] = len(await metadata.refresh(now))
        except (ProblemError, UnavailableError):
            # Half of the metadata's time is left when it is first due, and a tick comes each
            # minute: somebody has a day to read this.
            _LOGGER.exception("metadata not renewed")
    return outcomes
