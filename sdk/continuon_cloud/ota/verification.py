"""What the robot may install, by signed metadata alone.

The work is done by `tuf.ngclient`, which follows the client workflow of the TUF specification.
Added here: the time by which expiry is judged (`clock`), a floor of versions that survives a
damaged cache, and the rules of this product: a target is of this robot's model, and says what it
is.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    SlowRetrievalError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp
from tuf.ngclient import Updater, UpdaterConfig

from continuon.ota.errors import TrustError
from continuon.ota.manifest import target_path
from continuon.ota.trust.bundles import claims_of
from continuon.ota.trust.metadata import issued_at
from continuon_cloud.files import private_folder, sync_folder
from continuon_cloud.ota.errors import UpdateError
from continuon_cloud.ota.faults import FaultPoint, reach

if TYPE_CHECKING:
    from pathlib import Path

    from tuf.api.metadata import Signed, TargetFile

    from continuon_cloud.ota.clock import TrustedClock
    from continuon_cloud.ota.fetcher import CappedFetcher
    from continuon_cloud.ota.state import AgentState

__all__ = ["Catalogue", "VerifiedTarget", "Verifier"]

_CONFIG: Final = UpdaterConfig(
    max_root_rotations=64,
    max_delegations=4,
    root_max_length=64 * 1024,
    timestamp_max_length=16 * 1024,
    snapshot_max_length=256 * 1024,
    targets_max_length=2 * 1024 * 1024,
)
"""Largest files, in bytes. A root of 20 keys has 8 kB, a role of 2,000 bundles under 1 MB."""

_TIME: Final = "time"
"""Kept among the floors of versions: Unix seconds, under the keys that sign timestamps."""

_CLOCK_SUSPECT_S: Final = 3600.0
"""A robot's clock that is this far ahead of the service is named as the likely cause of expiry."""


@dataclass(frozen=True, slots=True)
class VerifiedTarget:
    """A bundle that the robot may install: length and hash are signed, so are the claims."""

    path: str
    size_bytes: int
    sha256: str
    bundle_id: str
    version: str
    requires_version: str
    fallback: tuple[str, ...] = ()


class Verifier:
    """Asks the repository anew each time; keeps what it verified below ``folder``."""

    def __init__(
        self,
        folder: Path,
        metadata_url: str,
        *,
        clock: TrustedClock,
        state: AgentState,
        robot_model: str,
    ) -> None:
        self._folder = folder
        self._url = metadata_url
        self._clock = clock
        self._state = state
        self._robot_model = robot_model

    async def catalogue(self, fetcher: CappedFetcher) -> Catalogue:
        """Fetch and verify metadata, and return what is listed for this robot.

        Raises:
            UpdateError: No root is pinned, or something is not as it must be.
        """
        return await asyncio.to_thread(self._catalogue, fetcher)

    def _catalogue(self, fetcher: CappedFetcher) -> Catalogue:
        self._clock.ask_anew()
        try:
            updater = self._updater(fetcher)
            updater.refresh()
            # Any path of the model leads through its role; it need not be listed.
            updater.get_targetinfo(target_path(self._robot_model, "0"))
        except DownloadError as error:
            raise _as_update_error(error) from error
        except (RepositoryError, ValueError, KeyError, TypeError) as error:
            raise self._refusal(error) from error
        self._make_durable()
        loaded = updater.loaded()
        self._hold_floors(loaded)
        self._refuse_expired(loaded)
        model = loaded.get(self._robot_model)
        return Catalogue(self._robot_model, model if isinstance(model, Targets) else None)

    def _updater(self, fetcher: CappedFetcher) -> _Updater:
        pinned = self._folder / "root.json"
        try:
            root = pinned.read_bytes()
        except FileNotFoundError as error:
            raise UpdateError(
                "no root of trust is pinned on this robot",
                code="trust.no_root",
                hint="Put it there: continuon ota trust ROOT.json",
            ) from error
        metadata = private_folder(self._folder / "metadata")
        return _Updater(
            str(metadata),
            self._url,
            fetcher=fetcher,
            config=_CONFIG,
            bootstrap=root,
            at=self._clock.now(),
        )

    def _make_durable(self) -> None:
        reach(FaultPoint.METADATA_WRITTEN)
        for inner, _, names in os.walk(self._folder / "metadata"):
            folder = self._folder.joinpath(inner)
            for name in names:
                descriptor = os.open(folder / name, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            sync_folder(folder)
        reach(FaultPoint.METADATA_SYNCED)

    def _hold_floors(self, loaded: dict[str, Signed]) -> None:
        """Refuse versions below those seen before under the same keys.

        tuf does so by its cache; a cache that a power cut or a bad disk damaged is treated as
        absent, and then anything signed would pass. With other keys the floor begins anew: that is
        how a repository recovers from versions that a thief drove up (TUF: fast-forward).
        """
        floors = {}
        for role, signed in loaded.items():
            keys = _keys_digest(loaded, role)
            floors[role] = (keys, signed.version)
            known = self._state.floor(role)
            if known is not None and known[0] == keys and signed.version < known[1]:
                raise UpdateError(
                    f"{role} has version {signed.version}, and {known[1]} was seen before",
                    code="trust.rollback",
                )
        self._state.raise_floors(floors | self._time_floor(loaded))

    def _time_floor(self, loaded: dict[str, Signed]) -> dict[str, tuple[str, int]]:
        """Tell the clock what is signed about the time, and return what is to be kept of it."""
        keys = _keys_digest(loaded, Timestamp.type)
        kept = self._state.floor(_TIME)
        if kept is not None and kept[0] == keys:
            self._clock.believe(datetime.fromtimestamp(kept[1], UTC), keys)
        timestamp = loaded[Timestamp.type]
        issued = issued_at(timestamp) if isinstance(timestamp, Timestamp) else None
        if issued is None:
            return {}
        self._clock.believe(issued, keys)
        return {_TIME: (keys, int(issued.timestamp()))}

    def _refuse_expired(self, loaded: dict[str, Signed]) -> None:
        """Judge once more: what came may have shown that it is later than the clock says."""
        now = self._clock.now(_keys_digest(loaded, Timestamp.type))
        for role, signed in loaded.items():
            if signed.is_expired(now):
                raise self._refusal(ExpiredMetadataError(f"{role} is expired"))

    def _refusal(self, error: Exception) -> UpdateError:
        ahead_s = self._clock.ahead_of_service_s()
        if not isinstance(error, ExpiredMetadataError):
            return _as_update_error(error)
        if ahead_s is not None and ahead_s > _CLOCK_SUSPECT_S:
            return UpdateError(
                f"{error} by this robot's clock, which is {ahead_s / 3600:.0f} hours ahead of the "
                "service's",
                code="trust.clock",
                hint="Set the robot's clock. Nothing is installed until then.",
            )
        return UpdateError(str(error), code="trust.expired")


class Catalogue:
    """What is listed for one robot model, verified at one moment."""

    def __init__(self, robot_model: str, role: Targets | None) -> None:
        self._robot_model = robot_model
        self._role = role

    @property
    def has_role(self) -> bool:
        """Somebody is named who signs for this model, and has."""
        return self._role is not None

    def lists(self, version: str) -> bool:
        """Tell whether a version is published and not withdrawn."""
        return self._role is not None and target_path(self._robot_model, version) in (
            self._role.targets
        )

    def allows_back(self, version: str, to: str) -> bool:
        """Tell whether the publisher signed that robots on ``version`` may go back ``to``."""
        path = target_path(self._robot_model, version)
        return self.lists(version) and to in self.find(path).fallback

    def find(self, path: str) -> VerifiedTarget:
        """Return the bundle at ``path``.

        Raises:
            UpdateError: It is not listed for this robot's model, or contradicts itself.
        """
        target: TargetFile | None = self._role.targets.get(path) if self._role else None
        if target is None:
            code = "trust.not_listed"
            if not path.startswith(self._robot_model + "/"):
                code = "trust.wrong_model"
            raise UpdateError(f"{path} is not signed for {self._robot_model}", code=code)
        try:
            claims = claims_of(target)
        except TrustError as error:
            raise UpdateError(str(error), code=error.code) from error
        if claims.robot_model != self._robot_model:
            raise UpdateError(f"{path} is for {claims.robot_model}", code="trust.wrong_model")
        return VerifiedTarget(
            path=path,
            size_bytes=target.length,
            sha256=target.hashes["sha256"],
            bundle_id=claims.bundle_id,
            version=claims.version,
            requires_version=claims.requires_version,
            fallback=claims.fallback,
        )


class _Updater(Updater):
    """tuf's client, told what time it is and asked what it loaded."""

    def __init__(self, *arguments: Any, at: datetime, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # "Fixed update start time" of the specification, 5.1; tuf reads the system's clock for it.
        self._trusted_set.reference_time = at

    def loaded(self) -> dict[str, Signed]:
        """Return the verified metadata by role."""
        loaded = self._trusted_set._trusted_set  # noqa: SLF001 - iterating the set yields no names
        return dict(loaded)


def _keys_digest(loaded: dict[str, Signed], role: str) -> str:
    """Return a digest of the keys that a role's version numbers depend on."""
    root, targets = loaded[Root.type], loaded[Targets.type]
    if not isinstance(root, Root) or not isinstance(targets, Targets):
        raise UpdateError("metadata is mixed up", code="trust.invalid")
    if role == Root.type:
        return ""
    own = root.roles.get(role)
    parts = [] if own is None else [own]
    if own is None:
        parts.append(targets.get_delegated_role(role))
    if role != Timestamp.type:
        # Snapshot says which versions of the others are current.
        parts.append(root.roles[Snapshot.type])
    text = ";".join(f"{part.threshold}:{','.join(sorted(part.keyids))}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()


_CODES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (SlowRetrievalError, "trust.slow"),
    (DownloadLengthMismatchError, "trust.too_long"),
    (DownloadError, "trust.unreachable"),
    (BadVersionNumberError, "trust.rollback"),
    (UnsignedMetadataError, "trust.unsigned"),
    (LengthOrHashMismatchError, "trust.mismatch"),
)


def _as_update_error(error: Exception) -> UpdateError:
    for kind, code in _CODES:
        if isinstance(error, kind):
            return UpdateError(str(error) or code, code=code)
    return UpdateError(f"signed metadata is not acceptable: {error}", code="trust.invalid")
