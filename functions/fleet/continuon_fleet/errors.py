"""Why this codebase refuses a request."""

from __future__ import annotations

from typing import Final

from continuon.errors import ProblemType

__all__ = [
    "CLAIM_REPLAYED",
    "DEVICE_NOT_PROVISIONED",
    "KEY_REVOKED",
    "QUOTA_ROBOTS",
    "ROBOT_ALREADY_CLAIMED",
    "ROBOT_CHANGED",
    "ROBOT_NOT_FOUND",
]

ROBOT_NOT_FOUND: Final = ProblemType(
    code="robot.not_found",
    status=404,
    title="You have no such robot.",
    remedy="`GET /api/v1/robots` lists yours.",
)
ROBOT_ALREADY_CLAIMED: Final = ProblemType(
    code="robot.already_claimed",
    status=409,
    title="This robot is claimed.",
    remedy="Its owner has to revoke it first.",
)
ROBOT_CHANGED: Final = ProblemType(
    code="robot.changed",
    status=409,
    title="The robot was changed by another request at the same time.",
    remedy="Read the robot again and decide anew.",
)
CLAIM_REPLAYED: Final = ProblemType(
    code="claim.replayed",
    status=409,
    title="This claim proof was used before.",
    remedy="Make a new one on the robot: `continuon robot claim` signs and sends it.",
)
KEY_REVOKED: Final = ProblemType(
    code="claim.key_revoked",
    status=409,
    title="The robot still uses a key that a former owner may know.",
    remedy="Make a new device key on the robot: `continuon robot init --rotate`.",
)
DEVICE_NOT_PROVISIONED: Final = ProblemType(
    code="claim.device_not_provisioned",
    status=403,
    title="No device with this id and key was registered by its maker.",
    remedy="Register the device's key thumbprint, or set CLAIM_POLICY=first_claim for trials.",
)
QUOTA_ROBOTS: Final = ProblemType(
    code="quota.robots",
    status=403,
    title="The plan's number of robots is used up.",
    remedy="Revoke a robot that is no longer in use, or ask for a larger plan.",
)
