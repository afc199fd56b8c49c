"""Robots and the people who own them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from continuon.contracts.base import Contract, Page, Timestamp
from continuon.identifiers import RobotId

__all__ = [
    "ClaimRequest",
    "Quota",
    "Robot",
    "RobotPage",
    "RobotStatus",
    "UserProfile",
]


class RobotStatus(StrEnum):
    """Whether a robot may act for its owner."""

    CLAIMED = "claimed"
    REVOKED = "revoked"


class ClaimRequest(Contract):
    """Bind a robot to the signed-in user."""

    proof: Annotated[str, StringConstraints(min_length=16, max_length=8192)] = Field(
        description="The JWS that the robot signed with its device key on the local network."
    )
    name: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(
        default=None, description="What its owner calls it; the device id when left out."
    )


class Robot(Contract):
    """A robot as its owner sees it."""

    robot_id: RobotId
    owner_id: str | None
    name: str
    ruri: str
    device_id: str
    model: str
    status: RobotStatus
    key_thumbprint: str | None = Field(
        default=None, description="RFC 7638 thumbprint of the device key that is bound now."
    )
    claimed_at: Timestamp
    last_seen: Timestamp | None = None
    model_version: str | None = None
    desired_version: str | None = None


class RobotPage(Page):
    """The caller's robots, newest first."""

    robots: list[Robot]


class Quota(Contract):
    """What a plan allows and what is used."""

    robots_used: int
    robots_limit: int
    episodes_used: int
    episodes_limit: int = Field(description="What the plan is meant for; not enforced yet.")


class UserProfile(Contract):
    """The signed-in user."""

    uid: str
    email: str | None = None
    roles: list[str]
    plan: str
    quota: Quota
    claims: dict[str, Any] = Field(default_factory=dict, exclude=True)
