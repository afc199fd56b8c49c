"""A whole TUF repository in memory, with real keys and real signatures."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from continuon.ota.bundle import write_bundle
from continuon.ota.manifest import BundleFile, FileRole, new_manifest, target_path
from continuon.ota.trust import ceremony, repository
from continuon.ota.trust.bundles import new_target
from continuon.ota.trust.ceremony import RoleKeys, named
from continuon.ota.trust.signers import OnlineSigners, new_key_pem, signer_from_pem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from securesystemslib.signer import Signer

__all__ = ["MODEL", "NOW", "Keyring", "TrustBench", "bundle_bytes"]

MODEL = "companion-v1"
NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def bundle_bytes(
    version: str,
    *,
    model: str = MODEL,
    content: bytes = b"weights",
    requires_version: str = "",
) -> bytes:
    """Return a bundle with one model file."""
    data = content + version.encode()
    file = BundleFile(
        path="model.bin",
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        role=FileRole.MODEL,
    )
    manifest = new_manifest(
        version=version, robot_model=model, files=[file], requires_version=requires_version
    )
    out = io.BytesIO()
    write_bundle(manifest, lambda _: io.BytesIO(data), out)
    return out.getvalue()


class Keyring:
    """Named Ed25519 signers, made when they are first asked for."""

    def __init__(self) -> None:
        self._signers: dict[str, Signer] = {}

    def __call__(self, name: str) -> Signer:
        if name not in self._signers:
            self._signers[name] = signer_from_pem(new_key_pem(None))
        return self._signers[name]

    def role(self, *names: str, threshold: int = 1) -> RoleKeys:
        """Return the public halves of keys as one role."""
        keys = tuple(named(self(name).public_key, name) for name in names)
        return RoleKeys(keys, threshold)


class TrustBench:
    """The people with the keys and the store they publish into.

    Attributes:
        files: The store: metadata by file name.
        bundles: Archives by target path.
        now: The time at which everything happens; move it by hand.
    """

    def __init__(self, now: datetime = NOW) -> None:
        self.keys = Keyring()
        self.files: dict[str, bytes] = {}
        self.bundles: dict[str, bytes] = {}
        self.now = now
        self.online = ("snapshot", "timestamp")
        self.root_signers = ["root-1", "root-2"]
        root = ceremony.first_root(
            {
                "root": self.keys.role("root-1", "root-2", "root-3", threshold=2),
                "targets": self.keys.role("targets"),
                "snapshot": self.keys.role("snapshot"),
                "timestamp": self.keys.role("timestamp"),
            },
            now,
        )
        targets = ceremony.first_targets({MODEL: self.keys.role("model")}, now)
        self.initial_root = self.signed(root, *self.root_signers)
        self.publish(
            {
                "1.root.json": self.initial_root,
                "1.targets.json": self.signed(targets, "targets"),
                f"1.{MODEL}.json": self.signed(ceremony.first_model(now), "model"),
            }
        )

    # --- Signing --------------------------------------------------------------------------------

    def signed(self, data: bytes, *names: str) -> bytes:
        """Return ``data`` signed with the keys of these names."""
        return ceremony.sign(data, [self.keys(name) for name in names])

    def signers(self) -> OnlineSigners:
        """Return the online keys that the functions use now."""
        return OnlineSigners(*(self.keys(name) for name in self.online))

    def latest(self, role: str) -> tuple[int, bytes]:
        """Return version and content of the newest numbered file of ``role``."""
        versions = [
            int(name.split(".")[0])
            for name in self.files
            if name.endswith(f".{role}.json") and name != f"{role}.json"
        ]
        return max(versions), self.files[f"{max(versions)}.{role}.json"]

    # --- Publishing -----------------------------------------------------------------------------

    def publish(self, uploads: Mapping[str, bytes]) -> dict[str, bytes]:
        """Take uploads in, as the cloud does."""
        written = repository.publish(self.files.get, uploads, self.signers(), self.now)
        self.files.update(written)
        return written

    def refresh(self) -> dict[str, bytes]:
        """Renew what is due, as the tick does."""
        written = repository.refresh(self.files.get, self.signers(), self.now)
        self.files.update(written)
        return written

    def release(
        self,
        version: str,
        *,
        content: bytes = b"weights",
        requires_version: str = "",
        fallback: Sequence[str] = (),
    ) -> str:
        """Publish a bundle of `MODEL`; return its target path."""
        data = bundle_bytes(version, content=content, requires_version=requires_version)
        target = new_target(
            MODEL,
            version,
            requires_version,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            fallback=fallback,
        )
        number, current = self.latest(MODEL)
        role = self.signed(ceremony.add_bundle(current, target, self.now), "model")
        self.publish({f"{number + 1}.{MODEL}.json": role})
        self.bundles[target.path] = data
        return target.path

    def withdraw(self, version: str) -> None:
        """Take a bundle of `MODEL` back."""
        number, current = self.latest(MODEL)
        role = ceremony.withdraw_bundle(current, MODEL, version, self.now)
        self.publish({f"{number + 1}.{MODEL}.json": self.signed(role, "model")})
        self.bundles.pop(target_path(MODEL, version))

    def rotate(self, changes: dict[str, RoleKeys], *signers: str) -> bytes:
        """Publish the next root with other keys for some roles; return it."""
        number, current = self.latest("root")
        root = self.signed(
            ceremony.next_root(current, changes, self.now), *(signers or self.root_signers)
        )
        self.publish({f"{number + 1}.root.json": root})
        return root

    def wait(self, time: timedelta) -> None:
        """Let time pass."""
        self.now += time
