"""Signed metadata in the bucket: served as it is, published in an order that is safe to break off.

Numbered files are written once and never change. ``timestamp.json`` makes a publication current:
it is written last, on the condition that nobody else published meanwhile.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from google.api_core import exceptions

from continuon.errors import ProblemError, UnavailableError
from continuon.ota.errors import TrustError
from continuon.platform.storage import STORAGE, storage_client, storage_errors
from continuon_ota.errors import METADATA_CONFLICT, METADATA_INVALID, METADATA_NO_KEY
from continuon_ota.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from google.cloud.storage import Bucket

    from continuon.contracts.ota import Archive
    from continuon.ota.trust.signers import OnlineSigners

__all__ = ["lists", "publish", "read", "refresh"]

PREFIX: Final = "bundles/ota/metadata"
_MUTABLE: Final = frozenset({"root.json", "timestamp.json"})
_CURRENT: Final = "timestamp.json"
_CONFLICTS: Final = frozenset({"trust.version", "trust.version_taken"})
_TRIES: Final = 5
"""Publications by others that one publication gives way to."""


def _bucket() -> Bucket:
    return storage_client().bucket(settings().continuon_rlds_bucket)


def _read(name: str) -> bytes | None:
    try:
        with storage_errors():
            data: bytes = _bucket().blob(f"{PREFIX}/{name}").download_as_bytes(**STORAGE)
    except exceptions.NotFound:
        return None
    return data


async def lists(robot_model: str, target_path: str, archive: Archive) -> bool | None:
    """Say whether the published metadata of a robot model lists an archive, by length and hash.

    It is asked before a rollout starts, to spare robots what they would refuse. Nobody relies on
    the answer: a robot verifies every signature itself.

    Returns:
        None when this deployment has published no metadata yet.
    """
    return await asyncio.to_thread(_lists, robot_model, target_path, archive)


def _lists(robot_model: str, target_path: str, archive: Archive) -> bool | None:
    stamp = _read(_CURRENT)
    if stamp is None:
        return None
    snapshot = _read(f"{_meta(stamp, 'snapshot.json')}.snapshot.json") or b"{}"
    role = _read(f"{_meta(snapshot, f'{robot_model}.json')}.{robot_model}.json") or b"{}"
    target = json.loads(role).get("signed", {}).get("targets", {}).get(target_path)
    wanted = {"length": archive.size_bytes, "hashes": {"sha256": archive.sha256}}
    return target is not None and wanted.items() <= target.items()


def _meta(data: bytes, name: str) -> int | None:
    """Return the version that one metadata file gives another."""
    meta = json.loads(data).get("signed", {}).get("meta", {})
    version: int | None = meta.get(name, {}).get("version")
    return version


async def read(name: str) -> bytes | None:
    """Return a metadata file, or None."""
    return await asyncio.to_thread(_read, name)


def _signers() -> OnlineSigners:
    from continuon.ota.trust.signers import (  # noqa: PLC0415 - no other request needs the library
        OnlineSigners,
        load_signer,
    )

    own = settings()
    if own.continuon_ota_snapshot_key is None:
        raise ProblemError(METADATA_NO_KEY)
    secret = own.continuon_ota_key_passphrase
    passphrase = secret.get_secret_value().encode() if secret else None
    snapshot = load_signer(own.continuon_ota_snapshot_key, passphrase=passphrase)
    uri = own.continuon_ota_timestamp_key
    return OnlineSigners(snapshot, load_signer(uri, passphrase=passphrase) if uri else snapshot)


async def publish(uploads: Mapping[str, bytes], now: datetime) -> list[str]:
    """Verify uploaded metadata as a robot would, add snapshot and timestamp, and store all.

    Returns:
        Names of the files that were written; none when everything was there already.

    Raises:
        ProblemError: ``metadata.invalid``, ``metadata.conflict`` or ``metadata.no_key``.
        UnavailableError: The store failed, or others kept publishing.
    """
    from continuon.ota.trust import repository  # noqa: PLC0415 - see above

    def decide() -> dict[str, bytes]:
        return repository.publish(_read, uploads, _signers(), now)

    return await asyncio.to_thread(_store, decide)


async def refresh(now: datetime) -> list[str]:
    """Renew snapshot and timestamp before they expire; the tick calls it.

    Returns:
        Names of the files that were written; none when nothing was due.

    Raises:
        ProblemError: ``metadata.invalid``: the online keys are not those that the root names.
        UnavailableError: The store failed.
    """
    from continuon.ota.trust import repository  # noqa: PLC0415 - see above

    def decide() -> dict[str, bytes]:
        return repository.refresh(_read, _signers(), now)

    return await asyncio.to_thread(_store, decide)


def _store(decide: Callable[[], dict[str, bytes]]) -> list[str]:
    for _ in range(_TRIES):
        current = _generation(_CURRENT)
        try:
            files = decide()
        except TrustError as error:
            kind = METADATA_CONFLICT if error.code in _CONFLICTS else METADATA_INVALID
            raise ProblemError(kind, f"{error} ({error.code})") from error
        if all(_write(name, data, current) for name, data in files.items()):
            return list(files)
    raise UnavailableError("The metadata store")


def _generation(name: str) -> int:
    with storage_errors():
        blob = _bucket().get_blob(f"{PREFIX}/{name}", **STORAGE)
    return int(blob.generation or 0) if blob else 0


def _write(name: str, data: bytes, current: int) -> bool:
    """Write one file; False when somebody else has published since ``current`` was read."""
    condition = {"if_generation_match": current if name == _CURRENT else 0}
    if name in _MUTABLE - {_CURRENT}:
        condition = {}
    blob = _bucket().blob(f"{PREFIX}/{name}")
    try:
        with storage_errors():
            blob.upload_from_string(data, content_type="application/json", **condition, **STORAGE)
    except exceptions.PreconditionFailed:
        return name != _CURRENT and _read(name) == data
    return True
