"""Settings of the rlds codebase."""

from __future__ import annotations

from functools import cache

from pydantic import Field

from continuon import limits
from continuon.platform.settings import PlatformSettings

__all__ = ["RldsSettings", "settings"]


class RldsSettings(PlatformSettings):
    """Where episodes live and how long a worker owns one.

    Attributes:
        continuon_rlds_bucket: The bucket of raw and validated episodes.
        continuon_validated_topic: Pub/Sub topic of `episode-validated` messages.
        continuon_ingest_lease_s: Seconds a worker owns an ingest; see ``limits.INGEST_LEASE_S``.
            A local cloud sets it low, so that a killed worker's episode is taken over quickly.
    """

    continuon_rlds_bucket: str = "continuon-rlds"
    continuon_validated_topic: str = "episode-validated"
    continuon_ingest_lease_s: int = Field(default=limits.INGEST_LEASE_S, ge=1)


@cache
def settings() -> RldsSettings:
    """Return this process's settings, read at first use and not at import."""
    return RldsSettings()
