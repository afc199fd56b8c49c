"""The offline half: making and signing root, targets and the roles of robot models.

Every function takes a file and returns a file; which machine it happens on, and how many people
bring their keys, is for the caller to arrange. A file is usable once its threshold is reached.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Role, Root, Targets

from continuon.ota.errors import TrustError
from continuon.ota.manifest import RESERVED_ROLES, ROBOT_MODEL, target_path
from continuon.ota.trust.metadata import (
    MODEL_PERIOD,
    ROOT_PERIOD,
    TARGETS_PERIOD,
    encode,
    ends_after,
    read_root,
    read_targets,
    successor,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from securesystemslib.signer import Key, Signer
    from tuf.api.metadata import TargetFile

__all__ = [
    "RoleKeys",
    "add_bundle",
    "first_model",
    "first_root",
    "first_targets",
    "key_name",
    "missing_signatures",
    "model_keys",
    "named",
    "next_root",
    "next_targets",
    "numbered",
    "renew",
    "root_keys",
    "sign",
    "withdraw_bundle",
]

_NAME: Final = "x-continuon-name"


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """The keys of one role, and how many of them must sign."""

    keys: tuple[Key, ...]
    threshold: int = 1

    def __post_init__(self) -> None:
        # One key under two ids would count twice towards a threshold.
        different = {str(key.keyval.get("public")) for key in self.keys}
        if len(different) != len(self.keys):
            raise TrustError("a role's keys must be different keys", code="trust.keys")
        if not 1 <= self.threshold <= len(self.keys):
            raise TrustError(
                f"a threshold of {self.threshold} cannot be reached with {len(self.keys)} keys",
                code="trust.keys",
            )


def named(key: Key, name: str) -> Key:
    """Return ``key`` with a name that people know it by; it is signed with the key."""
    copied = copy.deepcopy(key)
    copied.unrecognized_fields[_NAME] = name
    return copied


def key_name(key: Key) -> str:
    """Return the name of ``key``, or the start of its id."""
    return str(key.unrecognized_fields.get(_NAME) or key.keyid[:12])


# --- Root ---------------------------------------------------------------------------------------


def first_root(roles: dict[str, RoleKeys], now: datetime) -> bytes:
    """Return root version 1, unsigned, with the keys of ``root, targets, snapshot, timestamp``."""
    return _root(roles, 1, now)


def next_root(current: bytes, changes: dict[str, RoleKeys], now: datetime) -> bytes:
    """Return the root after ``current``, unsigned, with the keys of some roles replaced.

    It needs signatures by a threshold of the old root keys and by one of the new.
    """
    root = read_root(current).signed
    return _root(root_keys(root) | changes, root.version + 1, now)


def root_keys(root: Root) -> dict[str, RoleKeys]:
    """Return the keys of each top-level role."""
    return {
        name: RoleKeys(tuple(root.keys[keyid] for keyid in role.keyids), role.threshold)
        for name, role in root.roles.items()
    }


def _root(roles: dict[str, RoleKeys], version: int, now: datetime) -> bytes:
    root = Root(
        version=version,
        expires=ends_after(now, ROOT_PERIOD),
        keys={key.keyid: key for keys in roles.values() for key in keys.keys},
        roles={
            name: Role([key.keyid for key in keys.keys], keys.threshold)
            for name, keys in roles.items()
        },
        consistent_snapshot=True,
    )
    return encode(Metadata(root))


# --- Top-level targets --------------------------------------------------------------------------


def first_targets(models: dict[str, RoleKeys], now: datetime) -> bytes:
    """Return targets version 1, unsigned, which delegates one role for each robot model."""
    return _targets(models, 1, now)


def next_targets(current: bytes, changes: dict[str, RoleKeys | None], now: datetime) -> bytes:
    """Return the targets after ``current``, unsigned; None takes a model's delegation away."""
    targets = read_targets(current).signed
    models = {**model_keys(targets), **changes}
    kept = {name: keys for name, keys in models.items() if keys is not None}
    return _targets(kept, targets.version + 1, now)


def model_keys(targets: Targets) -> dict[str, RoleKeys]:
    """Return the keys of each robot model's role."""
    delegations = targets.delegations
    if delegations is None or delegations.roles is None:
        return {}
    return {
        name: RoleKeys(tuple(delegations.keys[keyid] for keyid in role.keyids), role.threshold)
        for name, role in delegations.roles.items()
    }


def _targets(models: dict[str, RoleKeys], version: int, now: datetime) -> bytes:
    for name in models:
        if not ROBOT_MODEL.fullmatch(name) or name.lower() in RESERVED_ROLES:
            raise TrustError(f"{name!r} cannot be a robot model's role", code="trust.scope")
    delegations = Delegations(
        keys={key.keyid: key for keys in models.values() for key in keys.keys},
        roles={
            name: DelegatedRole(
                name,
                [key.keyid for key in keys.keys],
                keys.threshold,
                terminating=True,
                paths=[f"{name}/*"],
            )
            for name, keys in sorted(models.items())
        },
    )
    expires = ends_after(now, TARGETS_PERIOD)
    return encode(Metadata(Targets(version=version, expires=expires, delegations=delegations)))


# --- The role of a robot model ------------------------------------------------------------------


def first_model(now: datetime) -> bytes:
    """Return version 1 of a robot model's role, unsigned, without bundles."""
    return encode(Metadata(Targets(version=1, expires=ends_after(now, MODEL_PERIOD))))


def add_bundle(current: bytes, target: TargetFile, now: datetime) -> bytes:
    """Return the role after ``current``, unsigned, with one more bundle.

    Raises:
        TrustError: The path is taken by other content.
    """
    following = successor(read_targets(current), now, MODEL_PERIOD)
    known = following.signed.targets.get(target.path)
    if known is not None and known != target:
        raise TrustError(
            f"{target.path} was published with other content; give it a new version",
            code="trust.immutable",
        )
    following.signed.targets[target.path] = target
    return encode(following)


def withdraw_bundle(current: bytes, robot_model: str, version: str, now: datetime) -> bytes:
    """Return the role after ``current``, unsigned, without a bundle.

    No robot installs it from then on, and one that runs it accepts a lower version.

    Raises:
        TrustError: It is not listed.
    """
    following = successor(read_targets(current), now, MODEL_PERIOD)
    path = target_path(robot_model, version)
    if following.signed.targets.pop(path, None) is None:
        raise TrustError(f"{path} is not published", code="trust.not_published")
    return encode(following)


def numbered(data: bytes, at_least: int) -> tuple[bytes, int]:
    """Return unsigned targets with a version of ``at_least``, and which it is."""
    metadata = read_targets(data)
    metadata.signed.version = max(metadata.signed.version, at_least)
    metadata.signatures.clear()
    return encode(metadata), metadata.signed.version


def renew(current: bytes, role: str, now: datetime) -> bytes:
    """Return the same metadata, unsigned, with the next version and a new expiry."""
    if role == Root.type:
        return encode(successor(read_root(current), now, ROOT_PERIOD))
    period = TARGETS_PERIOD if role == Targets.type else MODEL_PERIOD
    return encode(successor(read_targets(current), now, period))


# --- Signatures ---------------------------------------------------------------------------------


def sign(data: bytes, signers: Iterable[Signer]) -> bytes:
    """Return ``data`` with a signature of each signer added to those it has."""
    metadata: Metadata[Any] = Metadata.from_bytes(data)
    for signer in signers:
        metadata.sign(signer, append=True)
    return encode(metadata)


def missing_signatures(
    data: bytes, role: str, delegators: Sequence[Root | Targets]
) -> list[tuple[int, list[Key]]]:
    """Tell for each delegator how many signatures are missing, and whose would count.

    A root has two: its predecessor and itself. Empty when nothing is missing.
    """
    metadata: Metadata[Any] = Metadata.from_bytes(data)
    found = []
    for delegator in delegators:
        result = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        if not result:
            found.append((result.missing, list(result.unsigned.values())))
    return found
