"""Settings that every codebase shares, read once from the environment."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["PlatformSettings"]

_DEMO_PREFIX = "demo-"


class PlatformSettings(BaseSettings):
    """Where this process runs.

    Attributes:
        google_cloud_project: The project; set by the platform.
        firebase_auth_emulator_host: Set by a local cloud only: ID tokens are then unsigned.
        storage_emulator_host: Set by a local cloud only; signed URLs point there.
        continuon_requests_per_minute: Of one caller at one instance; None for the product's limit.
        continuon_fault: A named crash point, for tests against a local cloud only.
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    google_cloud_project: str = Field(default="demo-continuon", min_length=1)
    firebase_auth_emulator_host: str | None = None
    storage_emulator_host: str | None = None
    continuon_requests_per_minute: int | None = Field(default=None, ge=1)
    continuon_fault: str | None = None

    @model_validator(mode="after")
    def _emulators_only_in_demo_projects(self) -> Self:
        # Firebase reserves the prefix for projects that cannot exist. An emulator variable that
        # slips into production would make it accept unsigned tokens, so refuse to start instead.
        local = (
            self.firebase_auth_emulator_host or self.storage_emulator_host or self.continuon_fault
        )
        if local and not self.google_cloud_project.startswith(_DEMO_PREFIX):
            raise ValueError(
                "emulator and fault settings are accepted in projects named demo-* only"
            )
        return self
