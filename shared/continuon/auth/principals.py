"""Who is calling, once it is proven."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Principal", "RobotPrincipal", "Role", "UserPrincipal"]


class Role(StrEnum):
    """What an account may do; carried as custom claims of its ID token."""

    USER = "user"
    OPERATOR = "operator"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class UserPrincipal:
    """A person, proven by a Firebase ID token."""

    uid: str
    email: str | None = None
    roles: frozenset[Role] = field(default_factory=lambda: frozenset({Role.USER}))


@dataclass(frozen=True, slots=True)
class RobotPrincipal:
    """A claimed robot, proven by a request signature with its device key."""

    robot_id: str
    owner_id: str
    robot_model: str


Principal = UserPrincipal | RobotPrincipal
