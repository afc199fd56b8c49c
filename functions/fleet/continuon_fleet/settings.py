"""Settings of the fleet codebase."""

from __future__ import annotations

from enum import StrEnum
from functools import cache

from continuon.platform.settings import PlatformSettings

__all__ = ["ClaimPolicy", "FleetSettings", "settings"]


class ClaimPolicy(StrEnum):
    """Which devices may be claimed.

    Attributes:
        PROVISIONED: Those whose key was registered when they were made: `provisioned_devices`.
        FIRST_CLAIM: Any device, by whoever claims it first. For laptops and trials.
    """

    PROVISIONED = "provisioned"
    FIRST_CLAIM = "first_claim"


class FleetSettings(PlatformSettings):
    """How robots are claimed. The safe policy is the default."""

    claim_policy: ClaimPolicy = ClaimPolicy.PROVISIONED


@cache
def settings() -> FleetSettings:
    """Return this process's settings, read at first use and not at import."""
    return FleetSettings()
