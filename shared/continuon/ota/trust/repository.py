"""The online half: taking in what was signed offline, and vouching that it is current.

`publish` verifies uploads exactly as a robot would, before any robot sees them, and adds the
snapshot and timestamp that bind them together. `refresh` renews those two before they expire. Both
read a store through a callable and return files in the order in which they must be written: what a
file refers to is there before it, and ``timestamp.json``, which makes everything current, is last.
A writer that dies in between has published nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from continuon.ota.errors import TrustError
from continuon.ota.manifest import RESERVED_ROLES, ROBOT_MODEL
from continuon.ota.trust.bundles import check_bundles
from continuon.ota.trust.metadata import (
    SNAPSHOT_PERIOD,
    TIMESTAMP_PERIOD,
    encode,
    ends_after,
    file_name,
    read_root,
    read_snapshot,
    read_targets,
    read_timestamp,
    refuse_expired,
    stamp_issued,
    verify_role,
    verify_root,
)
from continuon.ota.trust.signers import OnlineSigners

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from securesystemslib.signer import Signer

__all__ = ["OnlineSigners", "Reader", "publish", "refresh"]

Reader = Callable[[str], bytes | None]
"""Reads a metadata file by its name; None when there is none."""

_VERSIONED: Final = re.compile(r"^([1-9][0-9]{0,8})\.([A-Za-z0-9][A-Za-z0-9._-]{0,63})\.json$")
_MAX_SNAPSHOTS_LEFT_BEHIND: Final = 100
"""Snapshots that writers which died may have left without a timestamp."""


@dataclass(slots=True)
class _State:
    """What is published, and what is about to be.

    Attributes:
        root: The newest; None before the first upload.
        roles: Newest metadata of ``targets`` and of each robot model.
        files: The same, byte for byte: a snapshot names the hash of what was uploaded.
        written: Files to write, in order.
    """

    root: Metadata[Root] | None = None
    roles: dict[str, Metadata[Targets]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    snapshot: Metadata[Snapshot] | None = None
    timestamp: Metadata[Timestamp] | None = None
    written: dict[str, bytes] = field(default_factory=dict)


def publish(
    read: Reader, uploads: Mapping[str, bytes], signers: OnlineSigners, now: datetime
) -> dict[str, bytes]:
    """Take in metadata that was signed offline.

    Args:
        read: The store as it is.
        uploads: By file name, such as ``2.root.json`` or ``7.companion-v1.json``. What is there
            already in the same bytes is passed over, so that an upload can be repeated.
        signers: The online keys; after a rotation already the new ones.
        now: The present time.

    Returns:
        Files to write, in this order; nothing when there is nothing new.

    Raises:
        TrustError: A robot would refuse the result, or a published bundle would change.
    """
    state = _load(read)
    for upload in sorted(_parsed(name, data) for name, data in uploads.items()):
        if upload.role == Root.type:
            _take_root(read, state, upload)
        else:
            _take_role(read, state, upload, now)
    if state.root is None or Targets.type not in state.roles:
        raise TrustError("upload 1.root.json and 1.targets.json", code="trust.not_initialised")
    refuse_expired(state.root, "root", now)
    # A root that changes the targets keys comes together with targets signed by the new ones.
    verify_role(state.roles[Targets.type], Targets.type, state.root.signed)
    if state.written or not _is_current(state, state.root.signed, now):
        _vouch(read, state, state.root.signed, signers, now, new_snapshot=True)
    return state.written


def refresh(read: Reader, signers: OnlineSigners, now: datetime) -> dict[str, bytes]:
    """Renew snapshot and timestamp when less than half of their time is left.

    Returns:
        Files to write, in this order; nothing when nothing is due or nothing was published yet.

    Raises:
        TrustError: The online keys are not those that the root names.
    """
    state = _load(read)
    if state.root is None or Targets.type not in state.roles:
        return {}
    root = state.root.signed
    if not _is_current(state, root, now):
        _vouch(read, state, root, signers, now, new_snapshot=True)
    elif _is_due(state.timestamp, TIMESTAMP_PERIOD, now):
        _vouch(read, state, root, signers, now, new_snapshot=False)
    return state.written


def _is_current(state: _State, root: Root, now: datetime) -> bool:
    """Tell whether the snapshot stands: signed by the root's present keys, and not ending soon."""
    if state.snapshot is None or state.timestamp is None:
        return False
    if _is_due(state.snapshot, SNAPSHOT_PERIOD, now):
        return False
    return _stands(state.snapshot, Snapshot.type, root) and _stands(
        state.timestamp, Timestamp.type, root
    )


def _is_due(metadata: Metadata[Any] | None, period: timedelta, now: datetime) -> bool:
    return metadata is None or metadata.signed.expires - now < period / 2


def _stands(metadata: Metadata[Any], role: str, root: Root) -> bool:
    try:
        verify_role(metadata, role, root)
    except TrustError:
        return False
    return True


# --- What is there ------------------------------------------------------------------------------


def _load(read: Reader) -> _State:
    state = _State(root=_newest_root(read))
    stamp = read(file_name(Timestamp.type))
    if state.root is None or stamp is None:
        return state
    state.timestamp = read_timestamp(stamp)
    version = state.timestamp.signed.snapshot_meta.version
    snapshot = read(file_name(Snapshot.type, version))
    if snapshot is None:
        return state
    state.snapshot = read_snapshot(snapshot)
    for name, meta in state.snapshot.signed.meta.items():
        role = name.removesuffix(".json")
        data = read(file_name(role, meta.version))
        if data is not None:
            state.roles[role], state.files[role] = read_targets(data), data
    return state


def _newest_root(read: Reader) -> Metadata[Root] | None:
    data = read(file_name(Root.type)) or read(file_name(Root.type, 1))
    if data is None:
        return None
    root = read_root(data)
    # root.json may be behind: a numbered root counts from the moment it is there.
    while (data := read(file_name(Root.type, root.signed.version + 1))) is not None:
        following = read_root(data)
        verify_root(following, root.signed)
        root = following
    return root


# --- What comes in ------------------------------------------------------------------------------


class _Upload(NamedTuple):
    """One uploaded file; they sort into the order in which they are taken in."""

    rank: int
    version: int
    role: str
    data: bytes

    @property
    def name(self) -> str:
        return file_name(self.role, self.version)


def _parsed(name: str, data: bytes) -> _Upload:
    match = _VERSIONED.fullmatch(name)
    if match is None or match[2] in {Snapshot.type, Timestamp.type}:
        raise TrustError(
            f"{name[:100]!r} is not a file such as 2.root.json, 3.targets.json or 4.MODEL.json",
            code="trust.malformed",
        )
    rank = {Root.type: 0, Targets.type: 1}.get(match[2], 2)
    return _Upload(rank, int(match[1]), match[2], data)


def _take_root(read: Reader, state: _State, upload: _Upload) -> None:
    newest = state.root.signed.version if state.root else 0
    if upload.version <= newest:
        _refuse_other(read, upload)
        return
    root = read_root(upload.data)
    _refuse_other_version(root, upload)
    if state.root is None and upload.version != 1:
        raise TrustError("the first root has version 1", code="trust.version")
    verify_root(root, state.root.signed if state.root else None)
    state.root = root
    state.written[upload.name] = upload.data
    # Behind the numbered ones: move it to the end.
    state.written.pop(file_name(Root.type), None)
    state.written[file_name(Root.type)] = upload.data


def _take_role(read: Reader, state: _State, upload: _Upload, now: datetime) -> None:
    before = state.roles.get(upload.role)
    if before is not None and upload.version <= before.signed.version:
        _refuse_other(read, upload)
        return
    metadata = read_targets(upload.data)
    _refuse_other_version(metadata, upload)
    verify_role(metadata, upload.role, _delegator(state, upload.role))
    refuse_expired(metadata, upload.role, now)
    if upload.role == Targets.type:
        _check_delegations(metadata.signed)
    else:
        check_bundles(upload.role, metadata.signed, before.signed if before else None)
    if read(upload.name) not in {None, upload.data}:
        raise TrustError(
            f"{upload.name} was used by an upload that did not finish; sign the next version",
            code="trust.version_taken",
        )
    state.roles[upload.role], state.files[upload.role] = metadata, upload.data
    state.written[upload.name] = upload.data


def _delegator(state: _State, role: str) -> Root | Targets:
    if state.root is None:
        raise TrustError("upload 1.root.json first", code="trust.not_initialised")
    if role == Targets.type:
        return state.root.signed
    if Targets.type not in state.roles:
        raise TrustError("upload 1.targets.json first", code="trust.not_initialised")
    targets = state.roles[Targets.type]
    # The delegation may be older than the root; nobody believes it unless the root still does.
    verify_role(targets, Targets.type, state.root.signed)
    return targets.signed


def _refuse_other(read: Reader, upload: _Upload) -> None:
    if read(upload.name) != upload.data:
        raise TrustError(
            f"{upload.role} version {upload.version} was published before; sign a higher version",
            code="trust.version",
        )


def _refuse_other_version(metadata: Metadata[Any], upload: _Upload) -> None:
    if metadata.signed.version != upload.version:
        raise TrustError(
            f"{upload.name} holds version {metadata.signed.version}", code="trust.malformed"
        )


def _check_delegations(targets: Targets) -> None:
    """Top-level targets name robot models and their keys, and nothing to install."""
    if targets.targets:
        raise TrustError("targets: bundles are listed by their model's role", code="trust.scope")
    roles = (targets.delegations.roles if targets.delegations else None) or {}
    if targets.delegations is not None and targets.delegations.succinct_roles is not None:
        raise TrustError("targets: hash bins are not used", code="trust.scope")
    for name, role in roles.items():
        named = ROBOT_MODEL.fullmatch(name) and name.lower() not in RESERVED_ROLES
        if not named or role.paths != [f"{name}/*"] or not role.terminating:
            raise TrustError(
                f"targets: {name!r} must be a robot model with the paths {name}/*, terminating",
                code="trust.scope",
            )


# --- What goes out ------------------------------------------------------------------------------


def _vouch(
    read: Reader,
    state: _State,
    root: Root,
    signers: OnlineSigners,
    now: datetime,
    *,
    new_snapshot: bool,
) -> None:
    if new_snapshot or state.snapshot is None:
        state.snapshot = _signed_snapshot(read, state, signers.snapshot, now)
        _refuse_foreign_key(state.snapshot, Snapshot.type, root)
        name = file_name(Snapshot.type, state.snapshot.signed.version)
        state.written[name] = encode(state.snapshot)
    state.timestamp = _signed_timestamp(state, state.snapshot, signers.timestamp, now)
    _refuse_foreign_key(state.timestamp, Timestamp.type, root)
    state.written[file_name(Timestamp.type)] = encode(state.timestamp)


def _signed_snapshot(
    read: Reader, state: _State, signer: Signer, now: datetime
) -> Metadata[Snapshot]:
    if Targets.type not in state.roles:
        raise TrustError("upload 1.targets.json first", code="trust.not_initialised")
    meta = {
        file_name(role): MetaFile.from_data(metadata.signed.version, state.files[role], ["sha256"])
        for role, metadata in sorted(state.roles.items())
    }
    version = state.snapshot.signed.version if state.snapshot else 0
    snapshot = Snapshot(
        version=_free_version(read, version + 1),
        expires=ends_after(now, SNAPSHOT_PERIOD),
        meta=meta,
    )
    return _signed(Metadata(snapshot), signer)


def _free_version(read: Reader, first: int) -> int:
    """Pass over snapshots of writers that died before their timestamp: nobody refers to them."""
    for version in range(first, first + _MAX_SNAPSHOTS_LEFT_BEHIND):
        if read(file_name(Snapshot.type, version)) is None:
            return version
    raise TrustError("too many snapshots without a timestamp", code="trust.version_taken")


def _signed_timestamp(
    state: _State, snapshot: Metadata[Snapshot], signer: Signer, now: datetime
) -> Metadata[Timestamp]:
    meta = MetaFile.from_data(snapshot.signed.version, encode(snapshot), ["sha256"])
    version = state.timestamp.signed.version if state.timestamp else 0
    timestamp = Timestamp(
        version=version + 1, expires=ends_after(now, TIMESTAMP_PERIOD), snapshot_meta=meta
    )
    stamp_issued(timestamp, now)
    return _signed(Metadata(timestamp), signer)


def _signed(metadata: Metadata[Any], signer: Signer) -> Metadata[Any]:
    metadata.sign(signer)
    return metadata


def _refuse_foreign_key(metadata: Metadata[Any], role: str, root: Root) -> None:
    if not _stands(metadata, role, root):
        raise TrustError(
            f"the configured {role} key is not the one that root version {root.version} names",
            code="trust.online_key",
        )
