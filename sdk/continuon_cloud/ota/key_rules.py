"""What may be done with keys, and how things stand with them; no file is touched here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from continuon.ota.manifest import RESERVED_ROLES, ROBOT_MODEL
from continuon.ota.trust.ceremony import RoleKeys, key_name
from continuon_cloud.ota.errors import UpdateError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from securesystemslib.signer import Key

__all__ = ["Missing", "RoleState", "check_model", "check_plan", "swapped"]

_KEY_NAME: Final = re.compile(r"(?:online|targets|root-[0-9]+)(?:\.v[0-9]+)?")
"""Names of our own keys: a model of that name would share a file, and a rotation, with one."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Signatures that a file lacks: how many, and of which keys any would do."""

    count: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoleState:
    """One role as this folder knows it.

    Attributes:
        role: ``root``, ``targets``, or a robot model.
        keys: Names of its keys; a star behind those whose private half is here.
        missing: Signatures that its newest file lacks.
    """

    role: str
    version: int
    expires: datetime
    threshold: int
    keys: tuple[str, ...]
    missing: tuple[Missing, ...]


def check_plan(models: Iterable[str], root_keys: int, root_threshold: int) -> None:
    """Refuse before a key is made, so that the same folder can be used for the next attempt.

    Raises:
        UpdateError: A name or the threshold.
    """
    for model in models:
        check_model(model)
    if root_threshold > root_keys:
        raise UpdateError(
            f"a threshold of {root_threshold} cannot be reached with {root_keys} root keys",
            code="usage",
        )


def check_model(model: str) -> None:
    """Refuse a robot model that cannot name a role, or whose key would be mistaken for ours.

    Raises:
        UpdateError: The name.
    """
    taken = model.lower() in RESERVED_ROLES or _KEY_NAME.fullmatch(model.lower())
    if taken or not ROBOT_MODEL.fullmatch(model):
        raise UpdateError(f"a robot model cannot be called {model!r}", code="usage")


def swapped(groups: dict[str, RoleKeys], name: str, new: Key | None) -> dict[str, RoleKeys]:
    """Return the roles that use the key ``name``, with ``new`` in its place or without it."""
    changed = {}
    for role, keys in groups.items():
        if any(key_name(key) == name for key in keys.keys):
            kept = tuple(key for key in keys.keys if key_name(key) != name)
            changed[role] = RoleKeys((*kept, new) if new else kept, keys.threshold)
    return changed
