"""Settings of the models codebase."""

from __future__ import annotations

from functools import cache

from continuon.platform.settings import PlatformSettings

__all__ = ["ModelsSettings", "settings"]


class ModelsSettings(PlatformSettings):
    """Where artifacts live.

    Attributes:
        continuon_rlds_bucket: The bucket of the artifacts; training writes its results to the same.
    """

    continuon_rlds_bucket: str = "continuon-rlds"


@cache
def settings() -> ModelsSettings:
    """Return this process's settings, read at first use and not at import."""
    return ModelsSettings()
