"""A FastAPI dependency that lets operators pass."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from continuon.auth.principals import Role, UserPrincipal
from continuon.errors import ProblemError
from continuon.platform.identity import CurrentUser
from continuon_ota.errors import OPERATOR_REQUIRED

__all__ = ["CurrentOperator", "is_operator"]


def is_operator(user: UserPrincipal) -> bool:
    """Say whether an account's claims let it publish and roll out."""
    return bool(user.roles & {Role.OPERATOR, Role.ADMIN})


async def _operator(user: CurrentUser) -> UserPrincipal:
    if not is_operator(user):
        raise ProblemError(OPERATOR_REQUIRED)
    return user


CurrentOperator = Annotated[UserPrincipal, Depends(_operator)]
