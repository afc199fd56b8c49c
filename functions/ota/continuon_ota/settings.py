"""Settings of the ota codebase."""

from __future__ import annotations

from functools import cache

from pydantic import Field, SecretStr

from continuon.platform.settings import PlatformSettings

__all__ = ["OtaSettings", "settings"]


class OtaSettings(PlatformSettings):
    """Where bundles live, and which keys say that metadata is current.

    Attributes:
        continuon_rlds_bucket: The bucket of bundles and of signed metadata.
        continuon_ota_rollouts_cache_s: Seconds for which one process remembers the live rollouts
            of a robot model. Only a "no" is answered from memory: an offer reads the bundle again.
        continuon_ota_snapshot_key: URI of the online key that signs snapshots; see docs/ota-trust.
        continuon_ota_timestamp_key: The same for timestamps; the snapshot's key when absent.
        continuon_ota_key_passphrase: Of key files that are encrypted.
    """

    continuon_rlds_bucket: str = "continuon-rlds"
    continuon_ota_rollouts_cache_s: float = Field(default=2.0, ge=0, le=60)
    continuon_ota_snapshot_key: str | None = None
    continuon_ota_timestamp_key: str | None = None
    continuon_ota_key_passphrase: SecretStr | None = None


@cache
def settings() -> OtaSettings:
    """Return this process's settings, read at first use and not at import."""
    return OtaSettings()
