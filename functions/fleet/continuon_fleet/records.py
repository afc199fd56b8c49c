"""The documents this codebase reads and writes."""

from __future__ import annotations

from pydantic import Field

from continuon.contracts.base import Contract, Timestamp
from continuon.contracts.robots import Robot, RobotStatus

__all__ = ["RobotRecord", "UserRecord"]


class RobotRecord(Contract):
    """``robots/{robot_id}``.

    Attributes:
        public_key: The device key that is bound now, as JWK; None while revoked.
        revoked_thumbprints: Keys of former owners; none of them is ever bound again.
    """

    robot_id: str
    owner_id: str | None
    name: str
    ruri: str
    device_id: str
    model: str
    manufacturer: str
    status: RobotStatus
    public_key: dict[str, str] | None
    key_thumbprint: str | None
    revoked_thumbprints: list[str] = Field(default_factory=list)
    claimed_at: Timestamp
    last_seen: Timestamp | None = None
    model_version: str | None = None
    desired_version: str | None = None

    def public(self) -> Robot:
        """Return what its owner sees."""
        return Robot.model_validate(self.model_dump())


class UserRecord(Contract):
    """``users/{uid}``."""

    plan: str = "free"
