"""The folder of the people who hold keys: private keys, and the metadata they have signed.

``keys/NAME.pem`` (owner-only) and ``metadata/N.ROLE.json``. It lives on a machine that is offline,
or on several: a key that is not here signs elsewhere, and the file travels. A file is ready when
its threshold is reached; `state` says what is missing.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from securesystemslib.signer import GCPSigner

from continuon.ota.trust import ceremony
from continuon.ota.trust.ceremony import RoleKeys, key_name, named
from continuon.ota.trust.metadata import file_name, read_root, read_targets
from continuon.ota.trust.signers import KMS_SCHEME, load_signer, new_key_pem
from continuon_cloud.errors import IdentityError
from continuon_cloud.files import private_folder, replace_private, write_new_private
from continuon_cloud.ota.errors import UpdateError
from continuon_cloud.ota.key_rules import Missing, RoleState, check_model, check_plan, swapped

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from securesystemslib.signer import Key, Signer
    from tuf.api.metadata import Root, Targets

__all__ = ["KeyFolder"]

ONLINE: Final = "online"
_FILE: Final = re.compile(r"^([1-9][0-9]*)\.(.+)\.json$")
_GENERATION: Final = re.compile(r"^(.+?)(?:\.v([0-9]+))?$")
_TOP: Final = ("root", "targets", "snapshot", "timestamp")


class KeyFolder:
    """Makes keys and signs with them.

    Args:
        folder: Made when missing.
        passphrase: Of the key files; None when they are not encrypted.
    """

    def __init__(self, folder: Path, passphrase: bytes | None) -> None:
        self._keys = folder / "keys"
        self._metadata = folder / "metadata"
        self._passphrase = passphrase

    # --- The first time -------------------------------------------------------------------------

    def init(
        self,
        models: Iterable[str],
        *,
        root_keys: int,
        root_threshold: int,
        online: str | None,
        now: datetime,
    ) -> list[str]:
        """Make all keys, and sign the first root, targets and model roles.

        Args:
            models: Robot models, each with a key of its own.
            root_keys: How many; they belong into different hands.
            root_threshold: How many of them must sign a root.
            online: ``gcpkms:projects/...``, or None for a key file.
            now: The present time.

        Returns:
            Names of the metadata files.

        Raises:
            IdentityError: The folder holds keys already.
        """
        if self._versions():
            raise IdentityError(
                f"{self._metadata} holds metadata already",
                code="identity.exists",
                hint="Use another folder. `keys rotate` replaces a key.",
            )
        models = list(dict.fromkeys(models))
        check_plan(models, root_keys, root_threshold)
        private_folder(self._keys)
        private_folder(self._metadata)
        # A key service may refuse; then no key file is left behind.
        online_key = self._online(online)
        root = tuple(self._new(f"root-{number}") for number in range(1, root_keys + 1))
        roles = {
            "root": RoleKeys(root, root_threshold),
            "targets": RoleKeys((self._new("targets"),)),
            "snapshot": RoleKeys((online_key,)),
            "timestamp": RoleKeys((online_key,)),
        }
        delegated = {model: RoleKeys((self._new(model),)) for model in models}
        self._put("root", ceremony.first_root(roles, now), roles["root"].keys)
        self._put("targets", ceremony.first_targets(delegated, now), roles["targets"].keys)
        for model, keys in delegated.items():
            self._put(model, ceremony.first_model(now), keys.keys)
        return self.files()

    def _online(self, uri: str | None) -> Key:
        if uri is None:
            # Read by the functions without a person beside them: not encrypted, owner-only.
            return self._new(ONLINE, encrypted=False)
        scheme, _, resource = uri.partition(":")
        if scheme != KMS_SCHEME:
            raise UpdateError(f"{uri!r} is not gcpkms:projects/...", code="usage")
        load_signer(uri)
        _, public = GCPSigner.import_(resource)
        return named(public, uri)

    # --- Changes --------------------------------------------------------------------------------

    def delegate(self, model: str, now: datetime) -> list[str]:
        """Add a robot model with a key of its own."""
        check_model(model)
        if model in self._delegations():
            raise UpdateError(f"{model} has a role already", code="trust.keys")
        self._try_passphrase()
        keys = RoleKeys((self._new(model),))
        changed = [self._change_targets({model: keys}, now)]
        changed.append(self._put(model, ceremony.first_model(now), keys.keys))
        return changed

    def rotate(self, name: str, now: datetime, *, online: str | None = None) -> list[str]:
        """Replace the key ``name`` by a new one wherever it is used; the old one signs no more."""
        self._find(name)
        self._try_passphrase()
        new = self._online_again(name, online) if self._is_online(name) else self._next(name)
        return self._replace(name, new, now)

    def revoke(self, name: str, now: datetime) -> list[str]:
        """Take the key ``name`` away, where enough others are left.

        Raises:
            UpdateError: There is no such key, or a role could not be signed any more.
        """
        self._find(name)
        return self._replace(name, None, now)

    def renew(self, role: str, now: datetime) -> list[str]:
        """Sign a role anew, with a new expiry and nothing else changed."""
        current = self._ready(role)
        return [self._put(role, ceremony.renew(current, role, now), self._role_keys(role).keys)]

    def put_model(self, model: str, data: bytes) -> str:
        """Sign and keep the next version of a robot model's role; return its file's name.

        Raises:
            UpdateError: More signatures are needed than keys are here.
        """
        name = self._put(model, data, self._role_keys(model).keys)
        self._ready(model)
        return name

    def require(self, model: str) -> None:
        """Check that a robot model has a role.

        Raises:
            UpdateError: It has none.
        """
        if model not in self._delegations():
            raise UpdateError(
                f"nobody signs for {model} yet",
                code="trust.not_delegated",
                hint=f"Make a key: continuon ota keys delegate {model}",
            )

    def adopt(self, role: str, data: bytes) -> None:
        """Keep a file that was signed elsewhere and is current in the cloud."""
        replace_private(self._metadata / file_name(role, read_targets(data).signed.version), data)

    def _replace(self, name: str, new: Key | None, now: datetime) -> list[str]:
        root_keys = ceremony.root_keys(self._root())
        top = swapped(root_keys, name, new)
        models = swapped(self._delegations(), name, new)
        # Read before anything is written: under the new keys the old signatures count no more.
        current = {role: self._ready(role) for role in ("root", "targets", *models)}
        changed = []
        if top:
            signers = (*root_keys["root"].keys, *top.get("root", root_keys["root"]).keys)
            root = ceremony.next_root(current["root"], top, now)
            changed.append(self._put("root", root, signers))
        if "targets" in top:
            renewed = ceremony.renew(current["targets"], "targets", now)
            changed.append(self._put("targets", renewed, top["targets"].keys))
        if models:
            changed.append(self._change_targets(models, now))
        for model, keys in models.items():
            renewed = ceremony.renew(current[model], model, now)
            changed.append(self._put(model, renewed, keys.keys))
        return changed

    def _change_targets(self, changes: dict[str, RoleKeys], now: datetime) -> str:
        following = ceremony.next_targets(self._ready("targets"), dict(changes), now)
        return self._put("targets", following, self._role_keys("targets").keys)

    # --- Signing --------------------------------------------------------------------------------

    def sign_file(self, path: Path, key: Path) -> None:
        """Add the signature of a key file to a metadata file, wherever both are."""
        signer = load_signer(f"file2:{key}", passphrase=self._passphrase)
        replace_private(path, ceremony.sign(path.read_bytes(), [signer]))

    def _put(self, role: str, data: bytes, keys: Iterable[Key]) -> str:
        signed = ceremony.sign(data, self._signers(keys))
        reader = read_root if role == "root" else read_targets
        name = file_name(role, reader(signed).signed.version)
        replace_private(self._metadata / name, signed)
        return name

    def _signers(self, keys: Iterable[Key]) -> list[Signer]:
        found = {}
        for key in keys:
            path = self._path(key_name(key))
            if path.exists():
                signer = load_signer(f"file2:{path}", passphrase=self._passphrase)
                if signer.public_key.keyid == key.keyid:
                    found[key.keyid] = signer
        return list(found.values())

    # --- Keys -----------------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        return self._keys / f"{name}.pem"

    def _new(self, name: str, *, encrypted: bool = True) -> Key:
        pem = new_key_pem(self._passphrase if encrypted else None)
        try:
            write_new_private(self._path(name), pem)
        except FileExistsError as error:
            raise IdentityError(
                f"{self._path(name)} is there already", code="identity.exists"
            ) from error
        passphrase = self._passphrase if encrypted else None
        return named(
            load_signer(f"file2:{self._path(name)}", passphrase=passphrase).public_key, name
        )

    def _next(self, name: str, *, encrypted: bool = True) -> Key:
        found = _GENERATION.fullmatch(name)
        base, generation = (found[1], int(found[2] or 1)) if found else (name, 1)
        return self._new(f"{base}.v{generation + 1}", encrypted=encrypted)

    def _is_online(self, name: str) -> bool:
        roles = ceremony.root_keys(self._root())
        return any(key_name(key) == name for key in roles["timestamp"].keys)

    def _online_again(self, name: str, uri: str | None) -> Key:
        return self._next(name, encrypted=False) if uri is None else self._online(uri)

    def _try_passphrase(self) -> None:
        """Refuse a wrong passphrase before a new key is encrypted with it."""
        groups = {**ceremony.root_keys(self._root()), **self._delegations()}
        self._signers(key for keys in groups.values() for key in keys.keys)

    def _find(self, name: str) -> None:
        groups = {**ceremony.root_keys(self._root()), **self._delegations()}
        known = {key_name(key) for keys in groups.values() for key in keys.keys}
        if name not in known:
            raise UpdateError(
                f"there is no key {name!r}; there are {', '.join(sorted(known))}",
                code="queue.not_found",
            )

    # --- Files ----------------------------------------------------------------------------------

    def files(self) -> list[str]:
        """Return the names of all metadata files, in the order in which they were made."""
        names = [path.name for path in self._metadata.glob("*.json") if _FILE.match(path.name)]
        return sorted(names, key=lambda name: (_rank(name), name.partition(".")[2], _number(name)))

    def read(self, name: str) -> bytes:
        """Return a metadata file."""
        return (self._metadata / name).read_bytes()

    def newest(self, role: str) -> bytes:
        """Return the newest file of ``role``.

        Raises:
            UpdateError: There is none.
        """
        versions = self._versions().get(role)
        if not versions:
            raise UpdateError(
                f"{self._metadata} has no metadata of {role}",
                code="trust.not_initialised",
                hint="Begin with: continuon ota keys init",
            )
        return self.read(file_name(role, max(versions)))

    def _ready(self, role: str) -> bytes:
        """Return the newest file of ``role``, which must not be a draft: successors build on it."""
        if missing := self._missing(role):
            raise UpdateError(
                f"{role}: {missing[0].count} more signatures are needed first, of "
                f"{', '.join(missing[0].keys)}",
                code="trust.unsigned",
                hint="continuon ota keys sign FILE --key KEY.pem",
            )
        return self.newest(role)

    def _versions(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        if self._metadata.is_dir():
            for path in self._metadata.iterdir():
                if match := _FILE.match(path.name):
                    found.setdefault(match[2], []).append(int(match[1]))
        return found

    def _root(self) -> Root:
        return read_root(self.newest("root")).signed

    def _targets(self) -> Targets:
        return read_targets(self.newest("targets")).signed

    def _delegations(self) -> dict[str, RoleKeys]:
        return ceremony.model_keys(self._targets())

    def _role_keys(self, role: str) -> RoleKeys:
        groups = {**self._delegations(), **ceremony.root_keys(self._root())}
        if role not in groups:
            raise UpdateError(f"there is no role {role!r}", code="trust.not_delegated")
        return groups[role]

    # --- How things stand -----------------------------------------------------------------------

    def state(self) -> list[RoleState]:
        """Return every role that is signed offline."""
        return [self._state(role) for role in ("root", "targets", *sorted(self._delegations()))]

    def online_keys(self) -> list[str]:
        """Return the names of the keys that sign snapshot and timestamp."""
        roles = ceremony.root_keys(self._root())
        both = (*roles["snapshot"].keys, *roles["timestamp"].keys)
        return sorted({key_name(key) for key in both})

    def _state(self, role: str) -> RoleState:
        data = self.newest(role)
        signed = read_root(data).signed if role == "root" else read_targets(data).signed
        keys = self._role_keys(role)
        names = []
        for key in keys.keys:
            name = key_name(key)
            names.append(name + ("*" if self._path(name).exists() else ""))
        return RoleState(
            role,
            signed.version,
            signed.expires.replace(tzinfo=UTC),
            keys.threshold,
            tuple(names),
            tuple(self._missing(role)),
        )

    def _missing(self, role: str) -> list[Missing]:
        delegators: list[Root | Targets] = [self._targets()]
        if role in _TOP:
            delegators = [self._root()]
        if role == "root" and len(self._versions()["root"]) > 1:
            before = file_name("root", self._root().version - 1)
            delegators.insert(0, read_root(self.read(before)).signed)
        found = ceremony.missing_signatures(self.newest(role), role, delegators)
        return [Missing(count, tuple(key_name(key) for key in keys)) for count, keys in found]


def _number(name: str) -> int:
    return int(name.partition(".")[0])


def _rank(name: str) -> int:
    return {"root.json": 0, "targets.json": 1}.get(name.partition(".")[2], 2)
