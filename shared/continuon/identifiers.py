"""Identifiers as they appear in URLs, document paths and object names.

Every identifier here is safe in all three places: no slash, no dot-dot, no leading underscore
(Firestore reserves ``__.*__``), ASCII only, bounded length.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, StringConstraints

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["EPISODE_ID", "ROBOT_ID", "EpisodeId", "RobotId", "mint_episode_id"]

ROBOT_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
"""A robot id is the device id of its RURI: letters, digits, ``_`` and ``-``, at most 64."""

EPISODE_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")
"""An episode id: letters, digits, ``_`` and ``-``, at most 128. Robots use ``ep_{unix_ms}``."""

RobotId = Annotated[str, StringConstraints(pattern=ROBOT_ID.pattern), Field(examples=["14d4b680"])]
EpisodeId = Annotated[
    str, StringConstraints(pattern=EPISODE_ID.pattern), Field(examples=["ep_1704384000000"])
]


def mint_episode_id(now: datetime) -> str:
    """Return a fresh episode id: the moment in Unix milliseconds and 32 random bits.

    The random part keeps two robots that start in the same millisecond apart.
    """
    return f"ep_{int(now.timestamp() * 1000)}_{secrets.token_hex(4)}"
