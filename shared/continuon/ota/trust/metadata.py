"""Reading and verifying signed metadata, as the robots do, with one family of errors."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from continuon.ota.errors import TrustError

__all__ = [
    "MODEL_PERIOD",
    "ROOT_PERIOD",
    "SNAPSHOT_PERIOD",
    "TARGETS_PERIOD",
    "TIMESTAMP_PERIOD",
    "encode",
    "ends_after",
    "file_name",
    "issued_at",
    "read_root",
    "read_snapshot",
    "read_targets",
    "read_timestamp",
    "refuse_expired",
    "stamp_issued",
    "successor",
    "verify_role",
    "verify_root",
]

ROOT_PERIOD: Final = timedelta(days=365)
"""The people who hold root keys meet once a year."""

TARGETS_PERIOD: Final = timedelta(days=365)
"""The list of robot models and their keys changes rarely; it is signed when the root is."""

MODEL_PERIOD: Final = timedelta(days=180)
"""Each release renews it; a team that publishes twice a year needs nothing else."""

SNAPSHOT_PERIOD: Final = timedelta(days=14)
"""Renewed by the tick long before; covers an outage of two weeks."""

TIMESTAMP_PERIOD: Final = timedelta(days=1)
"""How long a frozen mirror can keep a robot from noticing (TUF: indefinite freeze)."""

MAX_METADATA_BYTES: Final = 2 * 1024 * 1024
"""Of one file, in bytes: a role with 5,000 bundles."""

_ISSUED: Final = "x-continuon-issued"
_SIGNED = TypeVar("_SIGNED", Root, Snapshot, Targets, Timestamp)


def file_name(role: str, version: int | None = None) -> str:
    """Return the name of a role's file; ``version`` is in front of it for consistent snapshots."""
    return f"{role}.json" if version is None else f"{version}.{role}.json"


def encode(metadata: Metadata[Any]) -> bytes:
    """Return the file of ``metadata``."""
    return metadata.to_bytes(JSONSerializer(compact=True))


def ends_after(now: datetime, period: timedelta) -> datetime:
    """Return when metadata signed ``now`` expires; whole seconds, as the format has them."""
    return now.astimezone(UTC).replace(microsecond=0) + period


def read_root(data: bytes) -> Metadata[Root]:
    """Read root metadata; it is not verified."""
    return _read(data, Root)


def read_targets(data: bytes) -> Metadata[Targets]:
    """Read targets metadata, top-level or delegated; it is not verified."""
    return _read(data, Targets)


def read_snapshot(data: bytes) -> Metadata[Snapshot]:
    """Read snapshot metadata; it is not verified."""
    return _read(data, Snapshot)


def read_timestamp(data: bytes) -> Metadata[Timestamp]:
    """Read timestamp metadata; it is not verified."""
    return _read(data, Timestamp)


def _read(data: bytes, kind: type[_SIGNED]) -> Metadata[_SIGNED]:
    if len(data) > MAX_METADATA_BYTES:
        raise TrustError("a metadata file is too large", code="trust.malformed")
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
    except (DeserializationError, RecursionError) as error:
        raise TrustError("a file is not TUF metadata", code="trust.malformed") from error
    if not isinstance(metadata.signed, kind):
        raise TrustError(
            f"metadata of {metadata.signed.type} where {kind.type} was expected",
            code="trust.malformed",
        )
    return metadata


def verify_root(new: Metadata[Root], previous: Root | None) -> None:
    """Check that ``new`` is signed by a threshold of its own keys and of its predecessor's.

    Args:
        new: The root to judge.
        previous: The root before; None for the very first, which vouches for itself.

    Raises:
        TrustError: A threshold is not reached, or a version was left out.
    """
    if previous is not None and new.signed.version != previous.version + 1:
        raise TrustError(
            f"root version {previous.version + 1} is due, not {new.signed.version}",
            code="trust.version",
        )
    for judge in (previous, new.signed):
        if judge is not None:
            verify_role(new, Root.type, judge)
    if not new.signed.consistent_snapshot:
        raise TrustError("root: consistent_snapshot must be on", code="trust.malformed")


def verify_role(metadata: Metadata[Any], role: str, delegator: Root | Targets) -> None:
    """Check that ``metadata`` is signed by a threshold of the keys that ``delegator`` names.

    Raises:
        TrustError: It is not, or ``delegator`` knows no such role.
    """
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise TrustError(str(error), code="trust.unsigned") from error
    except ValueError as error:
        raise TrustError(f"nobody delegates to {role!r}", code="trust.not_delegated") from error


def refuse_expired(metadata: Metadata[Any], role: str, now: datetime) -> None:
    """Refuse metadata that no robot would accept now.

    Raises:
        TrustError: It has expired.
    """
    if metadata.signed.is_expired(now):
        raise TrustError(
            f"{role} expired at {metadata.signed.expires:%Y-%m-%d %H:%M} UTC",
            code="trust.expired",
        )


def successor(metadata: Metadata[_SIGNED], now: datetime, period: timedelta) -> Metadata[_SIGNED]:
    """Return an unsigned copy of ``metadata`` with the next version and a new expiry."""
    signed = copy.deepcopy(metadata.signed)
    signed.version += 1
    signed.expires = ends_after(now, period)
    return Metadata(signed)


def stamp_issued(signed: Timestamp, now: datetime) -> None:
    """Write into ``signed`` when it was made: a signed lower bound of the present time."""
    signed.unrecognized_fields[_ISSUED] = f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def issued_at(signed: Timestamp) -> datetime | None:
    """Return when ``signed`` was made, or None when it does not say."""
    text = signed.unrecognized_fields.get(_ISSUED)
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
